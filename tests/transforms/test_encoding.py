from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from transforms.pictures import array, decoded, encoded, gradient, made, result  # noqa: E402

COLOURS = ("red", "lime", "blue")


def moving(format: str, **options: object) -> bytes:
    frames = [Image.new("RGB", (60, 30), colour) for colour in COLOURS]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=[100, 200, 300], **options)


@pytest.mark.parametrize(("encode", "format"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("avif", "AVIF")])
def test_every_format_is_written(encode: str, format: str) -> None:
    done = result(gradient(90, 60), encode=encode)
    image = decoded(done.body)
    assert image.format == format and done.format == format.lower()
    assert abs(array(image) - array(gradient(90, 60))).mean() < 3
    assert {"exif", "icc_profile", "comment", "xmp"}.isdisjoint(image.info)


@pytest.mark.parametrize(
    ("encode", "low", "high"), [("jpg", 20, 95), ("webp", 20, 95), ("avif", 20, 90), ("png", 9, 0)]
)
def test_quality_is_asked_for(encode: str, low: int, high: int) -> None:
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 9, (90, 90, 3), np.uint8) * 20)
    sizes = [len(result(noise, encode=encode, encode_quality=quality).body) for quality in (low, high)]
    assert sizes[0] < sizes[1]


def test_quality_is_that_of_img2dataset_by_default() -> None:
    for encode, quality in (("jpg", 95), ("webp", 95), ("png", 9)):
        body = encoded(gradient(90, 60))
        assert result(body, encode=encode) == result(body, encode=encode, encode_quality=quality)


@pytest.mark.parametrize(
    ("format", "stays"),
    [("JPEG", "jpeg"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp"), ("AVIF", "avif"), ("BMP", "png"),
     ("TIFF", "png")],
)  # fmt: skip
def test_without_a_format_it_keeps_its_own(format: str, stays: str) -> None:
    done = result(encoded(gradient(90, 60), format), resize="border", image_size=32)
    assert done.format == stays and decoded(done.body).size == (32, 32)


def test_nothing_of_the_metadata_stays() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    for format in ("JPEG", "PNG", "WEBP"):
        options = {"comment": b"a comment"} if format == "JPEG" else {}
        body = encoded(gradient(90, 60), format, exif=exif, **options)
        for encode in ("jpg", "png", "webp", "avif"):
            done = result(body, encode=encode).body
            assert b"a description" not in done and b"a comment" not in done


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_picture_is_taken(format: str) -> None:
    for encode in ("jpg", "png", "webp", "avif", ""):
        image = made(moving(format), encode=encode, resize="keep_ratio", image_size=15)
        assert getattr(image, "n_frames", 1) == 1 and image.size == (30, 15)
        assert abs(array(image)[5, 5] - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("encode", ["webp", "png", "avif", ""])
def test_an_animation_is_kept(format: str, encode: str) -> None:
    image = made(moving(format, loop=0), encode=encode, resize="border", image_size=20, animation="keep")
    assert image.n_frames == len(COLOURS)
    for number, expected in enumerate(([255, 0, 0], [0, 255, 0], [0, 0, 255])):
        image.seek(number)
        image.load()
        assert image.size == (20, 20) and image.info["duration"] == 100 * (number + 1)
        assert abs(array(image)[10, 10] - expected).max() <= 6
        assert abs(array(image)[1, 1] - 255).max() <= 6
    if image.format != "AVIF" and format != "AVIF":
        assert image.info["loop"] == 0


def test_what_is_shown_once_is_shown_once() -> None:
    assert made(moving("GIF"), encode="webp", animation="keep").info["loop"] == 1
    assert "loop" not in made(moving("GIF"), encode="", resize="border", animation="keep").info


def half_clear(format: str) -> bytes:
    """Two frames, red at the left and then at the right."""
    frames = [Image.new("RGBA", (20, 20), (0, 0, 0, 0)) for _ in range(2)]
    for number, frame in enumerate(frames):
        frame.paste((255, 0, 0, 255), (10 * number, 0, 10 * number + 10, 20))
    options = {"GIF": {"disposal": 2}, "WEBP": {"kmax": 1}}.get(format, {})
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100, **options)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_a_clear_animation_shows_the_background_in_every_frame(format: str) -> None:
    image = made(half_clear(format), encode="png", animation="keep", background="blue")
    for number in range(2):
        image.seek(number)
        assert abs(array(image)[5, 5 + 10 * number] - [255, 0, 0]).max() <= 6
        assert abs(array(image)[5, 15 - 10 * number] - [0, 0, 255]).max() <= 6


@pytest.mark.parametrize("encode", ["webp", "png", "avif", ""])
def test_an_animation_stays_clear_on_a_transparent_background(encode: str) -> None:
    image = made(half_clear("GIF"), encode=encode, resize="border", animation="keep", background="transparent")
    for number in range(2):
        image.seek(number)
        pixels = array(image, "RGBA")
        assert pixels[128, 64 + 128 * number, 3] == 255 and pixels[128, 192 - 128 * number, 3] == 0


def test_a_still_picture_needs_no_animation() -> None:
    for format in ("GIF", "PNG", "JPEG", "WEBP"):
        image = made(encoded(gradient(40, 20), format), encode="webp", animation="keep")
        assert getattr(image, "n_frames", 1) == 1


def test_a_picture_for_those_who_show_no_animation_is_no_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in COLOURS]
    body = encoded(frames[0], save_all=True, append_images=frames[1:], duration=100, default_image=True)
    image = made(body, encode="webp", animation="keep")
    assert image.n_frames == 2
    assert abs(array(image)[5, 5] - [0, 255, 0]).max() <= 6
    assert (array(made(body))[5, 5] == [255, 0, 0]).all()
