from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from crawler.errors import BadImage, Undecodable, UsageError
from servers.pictures import gif, jpeg, png

Image = pytest.importorskip("PIL.Image")
numpy = pytest.importorskip("numpy")

from PIL import ImageDraw, ImageOps  # noqa: E402

from crawler.similarity.groups import DISTANCE, Row, groups  # noqa: E402
from crawler.similarity.hashing import DIGITS, perceptual_hash  # noqa: E402


def drawn(seed: int, size: tuple[int, int] = (320, 240)) -> Any:
    """A soft ground with shapes on it."""
    chance = random.Random(seed)
    picture = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        corners = [(chance.uniform(0, size[0]), chance.uniform(0, size[1])) for _ in range(3)]
        draw.polygon(corners, fill=tuple(chance.randbytes(3)))
    return picture


def encoded(picture: Any, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def bits_between(one: str, other: str) -> int:
    """Of the two whole pictures."""
    half = DIGITS // 2
    return (int(one[:half], 16) ^ int(other[:half], 16)).bit_count()


def alike(one: str, other: str) -> bool:
    return bool(groups([Row(1, one, 1, 1), Row(2, other, 1, 1)]))


def cropped(picture: Any, left: float, top: float, right: float, bottom: float) -> Any:
    width, height = picture.size
    return picture.crop((left * width, top * height, (1 - right) * width, (1 - bottom) * height))


CHANGES: dict[str, Callable[[Any], bytes]] = {
    "half its size": lambda picture: encoded(picture.resize((160, 120))),
    "larger": lambda picture: encoded(picture.resize((480, 360)), "JPEG"),
    "JPEG": lambda picture: encoded(picture, "JPEG", quality=50),
    "progressive": lambda picture: encoded(picture, "JPEG", quality=80, progressive=True),
    "WebP": lambda picture: encoded(picture, "WEBP", quality=60),
    "GIF": lambda picture: encoded(picture, "GIF"),
    "grey": lambda picture: encoded(picture.convert("L")),
    "CMYK": lambda picture: encoded(picture.convert("CMYK"), "JPEG", quality=85),
    "cropped": lambda picture: encoded(cropped(picture, 0.03, 0.04, 0.03, 0.04)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_without_being_seen_is_alike(change: str) -> None:
    for seed in range(8):
        picture = drawn(seed)
        assert alike(perceptual_hash(encoded(picture)), perceptual_hash(CHANGES[change](picture))), seed


def test_different_pictures_are_not_alike() -> None:
    hashes = [perceptual_hash(encoded(drawn(seed))) for seed in range(60)]
    assert not groups([Row(number, digits, 1, 1) for number, digits in enumerate(hashes)])
    assert min(bits_between(one, other) for at, one in enumerate(hashes) for other in hashes[:at]) > DISTANCE


def test_a_hash_is_of_64_digits_and_the_same_each_time() -> None:
    body = encoded(drawn(1), "JPEG")
    digits = perceptual_hash(body)
    assert len(digits) == DIGITS == 64 and int(digits, 16)
    assert perceptual_hash(body) == digits


@pytest.mark.parametrize("colour", ["white", "black", (255, 0, 0), (12, 200, 40)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF"])
def test_a_blank_image_has_no_hash(colour: Any, format: str) -> None:
    assert perceptual_hash(encoded(Image.new("RGB", (200, 100), colour), format)) == ""


def test_neither_have_a_gradient_and_what_is_too_faint() -> None:
    assert perceptual_hash(encoded(Image.linear_gradient("L"), "JPEG", quality=75)) == ""
    faint = Image.blend(Image.new("RGB", (320, 240), "grey"), drawn(3), 0.01)
    assert perceptual_hash(encoded(faint)) == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2), (16, 16), (33, 7)])
def test_small_and_narrow_ones_have_a_hash_or_none(size: tuple[int, int]) -> None:
    for body in (encoded(drawn(1, size)), encoded(drawn(1, size), "JPEG")):
        assert len(perceptual_hash(body)) in (0, DIGITS)


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [drawn(seed) for seed in range(3)]
    for format in ("GIF", "WEBP", "PNG"):
        moving = perceptual_hash(encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100))
        assert bits_between(moving, perceptual_hash(encoded(frames[0]))) <= DISTANCE
        assert bits_between(moving, perceptual_hash(encoded(frames[1]))) > DISTANCE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_exif_says(orientation: int) -> None:
    picture = drawn(5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("JPEG", "PNG", "WEBP"):
        body = encoded(picture, format, exif=exif)
        with Image.open(io.BytesIO(body)) as image:
            upright = encoded(ImageOps.exif_transpose(image))
        assert bits_between(perceptual_hash(body), perceptual_hash(upright)) <= 8
    sideways = perceptual_hash(encoded(picture, "JPEG", exif=exif))
    assert alike(sideways, perceptual_hash(encoded(picture))) == (orientation == 1)


def test_transparency_is_white() -> None:
    shape = Image.new("L", (320, 240), 0)
    ImageDraw.Draw(shape).polygon([(20, 30), (300, 60), (200, 230), (90, 130)], fill=255)
    picture = drawn(6)
    picture.putalpha(shape)
    onto_white = Image.new("RGB", picture.size, "white")
    onto_white.paste(picture, mask=shape)
    expected = perceptual_hash(encoded(onto_white))
    for body in (encoded(picture), encoded(picture, "WEBP", lossless=True)):
        assert bits_between(perceptual_hash(body), expected) <= 4
    see_through = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert perceptual_hash(encoded(see_through)) == ""


def test_a_palette_with_a_transparent_colour() -> None:
    picture = drawn(7).quantize(16)
    assert len(perceptual_hash(encoded(picture, transparency=3))) == DIGITS


def test_sixteen_bits_a_pixel_are_not_cut_off() -> None:
    picture = drawn(8).convert("L")
    deep = Image.fromarray(numpy.asarray(picture).astype(numpy.uint16) * 257)
    assert deep.mode == "I;16"
    assert bits_between(perceptual_hash(encoded(deep)), perceptual_hash(encoded(picture))) <= 4
    assert bits_between(perceptual_hash(encoded(deep, "TIFF")), perceptual_hash(encoded(picture))) <= 4


@pytest.mark.parametrize(
    "body", [b"", b"GIF89a", b"no image", jpeg(1)[:300], png(1)[:80], gif(1)[:20], encoded(drawn(1), "JPEG")[:-2000]]
)
def test_what_cannot_be_decoded_is_told(body: bytes) -> None:
    with pytest.raises(BadImage, match="cannot be decoded"):
        perceptual_hash(body)


def test_any_damage_is_told_or_hashed() -> None:
    chance = random.Random(9)
    for format in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        whole = encoded(drawn(1, (64, 48)), format)
        for _ in range(30):
            body = bytearray(whole)
            for _ in range(3):
                body[chance.randrange(len(body))] = chance.randrange(256)
            try:
                assert len(perceptual_hash(bytes(body), 100_000)) in (0, DIGITS)
            except Undecodable:
                continue


def test_more_pixels_than_allowed_are_not_decoded() -> None:
    body = encoded(drawn(1))
    assert perceptual_hash(body, 320 * 240)
    with pytest.raises(Undecodable, match="320 x 240 are more than 76,799 pixels"):
        perceptual_hash(body, 320 * 240 - 1)


@pytest.mark.parametrize("missing", ["numpy", "PIL"])
def test_what_is_not_installed_is_told(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install 'distributed-image-crawler\[datasets\]'"):
        perceptual_hash(png(1))
    if missing == "numpy":
        with pytest.raises(UsageError, match=r"pip install 'distributed-image-crawler\[datasets\]'"):
            groups([])
