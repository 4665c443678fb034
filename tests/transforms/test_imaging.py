from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.errors import FetchError
from crawler.outcomes import Outcome
from crawler.transforms.imaging import transformed
from crawler.transforms.transform import INTERPOLATIONS, RESIZES, Transform

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from transforms.pictures import MOST, array, decoded, encoded, gradient, made, result  # noqa: E402


@given(st.integers(1, 160), st.integers(1, 160), st.integers(1, 70), st.sampled_from(RESIZES), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_the_size_is_what_the_mode_says(width: int, height: int, size: int, mode: str, jpeg: bool) -> None:
    body = encoded(Image.new("RGB", (width, height), "red"), "JPEG" if jpeg else "PNG")
    done = result(body, resize=mode, image_size=size, encode="png")
    image = decoded(done.body)
    assert (image.format, image.size) == ("PNG", (done.width, done.height))
    assert (done.original_width, done.original_height) == (width, height)
    short, long = sorted(image.size)
    if mode in ("border", "center_crop"):
        assert short == long == size
    elif mode != "no":
        assert (short if mode == "keep_ratio" else long) == size
    else:
        assert image.size == (width, height)


def test_a_border_is_of_the_background_and_the_image_in_its_middle() -> None:
    image = array(made(gradient(200, 100), resize="border", image_size=50))
    assert (image[:12] == 255).all() and (image[37:] == 255).all()
    assert (image[12:37, :, 2] == 90).all()
    coloured = array(made(gradient(100, 200), resize="border", image_size=50, background="#102030"))
    assert (coloured[:, :12] == [0x10, 0x20, 0x30]).all() and (coloured[:, 37:] == [0x10, 0x20, 0x30]).all()


def test_the_border_of_grey_stays_grey() -> None:
    image = made(gradient(200, 100).convert("L"), resize="border", image_size=50)
    assert image.mode == "L" and image.getpixel((0, 0)) == 255


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (301, 100)])
def test_a_crop_is_the_middle_of_what_is_scaled(size: tuple[int, int]) -> None:
    whole = array(made(gradient(*size), resize="keep_ratio", image_size=50))
    part = array(made(gradient(*size), resize="center_crop", image_size=50))
    top, left = (whole.shape[0] - 50) // 2, (whole.shape[1] - 50) // 2
    assert abs(part - whole[top : top + 50, left : left + 50]).max() <= 2


def test_area_is_the_mean_of_what_becomes_one_pixel() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    means = noise.reshape(30, 4, 40, 4, 3).mean(axis=(1, 3))
    image = array(made(Image.fromarray(noise), resize="keep_ratio_largest", image_size=40))
    assert abs(image - means).max() <= 1


def test_a_jpeg_that_is_read_at_a_fraction_is_what_all_of_it_is() -> None:
    """The sizes are such that the last column and row of what is read stand for less than the others."""
    for size in ((801, 533), (1100, 825), (1001, 1001), (513, 257)):
        picture = gradient(*size)
        read, whole = (
            array(made(encoded(picture, format, **options), resize="keep_ratio", image_size=100))
            for format, options in (("JPEG", {"quality": 97, "subsampling": 0}), ("PNG", {}))
        )
        assert abs(read - whole).max() <= 6 and abs(read - whole).mean() < 1.0


@pytest.mark.parametrize("name", INTERPOLATIONS)
@pytest.mark.parametrize("size", [20, 200])
def test_every_interpolation_keeps_a_gradient(name: str, size: int) -> None:
    options = {"upscale_interpolation": name, "downscale_interpolation": name}
    image = array(made(gradient(80, 80), resize="keep_ratio", image_size=size, **options))
    expected = array(gradient(80, 80).resize((size, size), Image.Resampling.BILINEAR))
    assert abs(image - expected)[2:-2, 2:-2].max() <= 5


def test_nearest_makes_no_new_colours() -> None:
    noise = Image.fromarray(np.random.default_rng(2).choice([0, 255], (90, 90)).astype(np.uint8))
    for size in (50, 130):
        options = {"upscale_interpolation": "nearest", "downscale_interpolation": "nearest"}
        assert set(array(made(noise, resize="keep_ratio", image_size=size, **options)).flat) == {0, 255}


def test_up_and_down_have_their_own() -> None:
    noise = Image.fromarray(np.random.default_rng(3).choice([0, 255], (90, 90)).astype(np.uint8))
    options = {"upscale_interpolation": "nearest", "downscale_interpolation": "area"}
    assert set(array(made(noise, resize="border", image_size=130, **options)).flat) == {0, 255}
    assert len(set(array(made(noise, resize="border", image_size=30, **options)).flat)) > 2


#: What EXIF's orientations say of the picture that is stored: where its columns and rows run.
STORED: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],  # shown turned right by 90 degrees: stored turned left
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(orientation: int, format: str) -> None:
    shown = gradient(320, 160)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(shown))))
    body = encoded(stored, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    done = result(body, resize="keep_ratio", image_size=40, encode="png")
    image = decoded(done.body)
    assert image.size == (80, 40) and (done.original_width, done.original_height) == (320, 160)
    assert not image.getexif()
    expected = array(shown.resize((80, 40), Image.Resampling.BOX))
    assert abs(array(image) - expected).max() <= (8 if format == "JPEG" else 1)


def test_broken_exif_is_none() -> None:
    picture = encoded(gradient(30, 20), "JPEG")
    data = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"
    body = picture[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + picture[2:]
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        assert made(body).size == (30, 20)


def test_originals_are_untouched_unless_something_is_asked() -> None:
    body = encoded(gradient(300, 200), "JPEG")
    assert result(body).body is body
    assert result(body, min_image_size=200).body is body
    assert result(body, resize="border", image_size=300, resize_only_if_bigger=True).body is body
    assert result(body, resize="border", image_size=300).body != body
    assert result(body, encode="jpg").body != body
    kept = result(body, encode="jpg", skip_reencode=True)
    assert kept.body is body and (kept.format, kept.width, kept.height) == ("jpeg", 300, 200)
    assert result(body, encode="png", skip_reencode=True).format == "png"
    assert result(body, encode="jpg", skip_reencode=True, resize="border").body != body


def test_pixels_that_are_damaged_are_not_made_up_where_exif_is_looked_for_behind_them() -> None:
    body = bytearray(encoded(gradient(90, 60)))
    body[body.index(b"IDAT") + 6] ^= 0xFF
    with pytest.raises(FetchError) as caught:
        transformed(bytes(body), Transform(encode="png"), MOST)
    assert caught.value.outcome == Outcome.TRANSFORM_FAILED


def test_what_must_be_encoded_is_though_it_might_stay() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(gradient(30, 20), "JPEG", exif=exif)
    clear = encoded(Image.new("RGBA", (30, 20), (9, 9, 9, 99)))
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    moving = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert result(turned, encode="jpg", skip_reencode=True).body is not turned
    assert result(clear, encode="png", skip_reencode=True).body is not clear
    assert result(clear, encode="png", skip_reencode=True, background="transparent").body is clear
    assert result(moving, encode="webp", skip_reencode=True).body is not moving
    assert result(moving, encode="webp", skip_reencode=True, animation="keep").body is moving


def failure(body: bytes, most: int = MOST, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        transformed(body, Transform(**{"encode": "jpg", **options}), most)
    return caught.value


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF"])
def test_cut_off_images_fail(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(4).integers(0, 256, (90, 90, 3), np.uint8))
    body = encoded(noise, format)
    for length in (len(body) // 2, 30):
        assert failure(body[:length]).outcome == Outcome.TRANSFORM_FAILED


@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "ICO"]))
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_damaged_images_fail_or_come_out(place: int, change: int, format: str) -> None:
    body = bytearray(encoded(gradient(32, 32), format))
    body[place % len(body)] ^= change
    try:
        done = transformed(bytes(body), Transform(resize="border", image_size=16, encode="png"), MOST)
    except FetchError as error:
        assert error.outcome in (Outcome.TRANSFORM_FAILED, Outcome.TOO_LARGE)
    else:
        assert decoded(done.body).size == (16, 16)


@pytest.mark.parametrize(
    "body",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"",
        b"\0" * 50,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_what_is_not_read_is_told(body: bytes) -> None:
    error = failure(body)
    assert error.outcome == Outcome.TRANSFORM_FAILED
    assert "what can be transformed: avif, bmp, gif, ico, jpeg, png, tiff, webp" in str(error)


def test_a_bomb_is_known_by_its_header() -> None:
    body = encoded(Image.new("1", (3000, 3000)))
    assert failure(body, most=8_999_999).outcome == Outcome.TOO_LARGE
    assert transformed(body, Transform(resize="border", encode="jpg"), 9_000_000).width == 256
    assert transformed(body, Transform(resize="border", encode="jpg"), 0).width == 256


def test_what_would_grow_too_large_is_not_made() -> None:
    body = encoded(Image.new("L", (1, 5000)))
    assert failure(body, resize="keep_ratio").outcome == Outcome.TOO_LARGE  # 256 x 1,280,000
    assert made(body, resize="center_crop").size == (256, 256)


def test_filters_come_before_the_pixels() -> None:
    body = encoded(gradient(300, 100), "JPEG")[:700]  # its header, and no more
    assert failure(body, max_aspect_ratio=2.0).outcome == Outcome.UNWANTED_SHAPE
    assert failure(body, min_image_size=101).outcome == Outcome.TOO_SMALL
    assert failure(body, max_image_area=29_999).outcome == Outcome.TOO_LARGE
    assert failure(body).outcome == Outcome.TRANSFORM_FAILED


def test_of_an_icon_the_largest_is_taken() -> None:
    out = io.BytesIO()
    gradient(64, 64).save(out, "ICO", sizes=[(16, 16), (64, 64)])
    assert made(out.getvalue()).size == (64, 64)
