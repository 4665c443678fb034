from __future__ import annotations

import io
import struct

import pytest

from crawler.errors import FetchError

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
ImageCms = pytest.importorskip("PIL.ImageCms")

from transforms.pictures import array, encoded, gradient, made, result  # noqa: E402


def swapped_profile() -> bytes:
    """sRGB's profile with red and green exchanged, which no eye could miss."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for number in range(count):
        at = 132 + 12 * number
        names = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}
        name = bytes(profile[at : at + 4])
        profile[at : at + 4] = names.get(name, name)
    return bytes(profile).replace(b"s\0R\0G\0B", b"o\0d\0d\0s")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_is_applied_and_left_out(format: str) -> None:
    red = Image.new("RGB", (64, 64), (200, 0, 0))
    image = made(encoded(red, format, icc_profile=swapped_profile()), resize="border", image_size=32)
    assert "icc_profile" not in image.info
    assert abs(array(image)[16, 16] - [0, 200, 0]).max() <= 6


def test_srgb_says_so_and_stays() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = gradient(64, 64)
    assert (array(made(encoded(picture, icc_profile=srgb))) == array(picture)).all()


def test_alpha_is_no_colour() -> None:
    picture = Image.new("RGBA", (8, 8), (200, 0, 0, 100))
    image = made(encoded(picture, icc_profile=swapped_profile()), background="transparent")
    assert image.mode == "RGBA" and abs(array(image, "RGBA")[0, 0] - [0, 200, 0, 100]).max() <= 2


def test_grey_stays_grey_under_a_profile_of_its_own() -> None:
    curve = struct.pack(">4sIIH", b"curv", 0, 1, 0x0100) + b"\0\0"  # gamma 1
    white = struct.pack(">4sIIII", b"XYZ ", 0, 0xF6D6, 0x10000, 0xD32D)
    tags = [(b"kTRC", curve), (b"wtpt", white)]
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, body in tags:
        table += struct.pack(">4sII", name, at + len(data), len(body))
        data += body
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(
        ">I4sI4s4s4s12s4s", 128 + len(body), b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp"
    )
    profile = head + bytes(28) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D) + bytes(48) + body
    assert len(profile) == 128 + len(body)
    image = made(encoded(Image.new("L", (8, 8), 128), icc_profile=profile))
    assert image.mode == "L"
    assert abs(image.getpixel((0, 0)) - 188) <= 2  # linear 0.5 as sRGB


@pytest.mark.parametrize("profile", [b"no profile", swapped_profile()[:200]])
def test_a_broken_profile_is_none(profile: bytes) -> None:
    assert (array(made(encoded(gradient(8, 8), icc_profile=profile))) == array(gradient(8, 8))).all()


def test_a_profile_for_other_pixels_is_none() -> None:
    picture = gradient(8, 8).convert("L")
    assert (array(made(encoded(picture, icc_profile=swapped_profile()))) == array(picture)).all()


def test_cmyk_becomes_colours() -> None:
    ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    image = made(encoded(ink, "JPEG", quality=95))
    assert image.mode == "RGB" and abs(array(image)[5, 5] - [255, 0, 0]).max() <= 3


def test_of_16_bits_the_upper_eight_are_kept() -> None:
    values = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    image = made(Image.fromarray(values))
    assert image.mode == "L" and array(image, "L").tolist() == [[0, 0, 1, 0x7F, 0x80, 0xFF]]


def test_numbers_whose_range_is_not_known_fail() -> None:
    body = encoded(Image.new("F", (8, 8), 0.5), "TIFF")
    with pytest.raises(FetchError, match="32 bits"):
        result(body, encode="png")


def test_a_palette_becomes_colours() -> None:
    picture = gradient(40, 40).quantize(16)
    assert (array(made(picture)) == array(picture)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_clear_shows_the_background(mode: str) -> None:
    options = {}
    if mode in ("RGBA", "LA"):
        picture = Image.new("RGBA", (20, 20), (255, 255, 255, 0)).convert(mode)
        picture.paste(Image.new("RGBA", (10, 20), (0, 0, 0, 255)).convert(mode))
    else:
        picture = Image.new("RGB", (20, 20), (1, 2, 3))
        picture.paste((0, 0, 0), (0, 0, 10, 20))
        options["transparency"] = (1, 2, 3)
        if mode == "P":
            picture = picture.quantize(2)
            options["transparency"] = picture.getpixel((15, 5))
    image = array(made(encoded(picture, **options), background="#0080ff"))
    assert (image[:, :10] == 0).all() and (image[:, 10:] == [0, 0x80, 0xFF]).all()


def test_half_clear_is_half_of_each() -> None:
    image = made(Image.new("RGBA", (8, 8), (255, 0, 0, 128)))
    assert image.mode == "RGB" and abs(array(image)[0, 0] - [255, 127, 127]).max() <= 1


def test_clear_pixels_lend_no_colour_to_their_neighbours() -> None:
    """What is scaled is alpha times colour: the green that nobody sees comes in nowhere."""
    picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 31, 64))
    image = array(made(picture, resize="border", image_size=16))
    assert (image[..., 1] == image[..., 2]).all()


def test_alpha_stays_on_a_transparent_background() -> None:
    picture = Image.new("RGBA", (40, 20), (10, 20, 30, 128))
    for encode in ("png", "webp", "avif"):
        image = made(picture, resize="border", image_size=40, encode=encode, background="transparent")
        assert image.mode == "RGBA"
        assert array(image, "RGBA")[0, 0, 3] <= 1 and abs(array(image, "RGBA")[20, 20, 3] - 128) <= 2


def test_one_bit_becomes_grey() -> None:
    picture = Image.fromarray(np.eye(16) > 0)
    assert picture.mode == "1"
    image = made(picture, resize="keep_ratio", image_size=4)
    assert image.mode == "L" and image.getpixel((0, 0)) == pytest.approx(64, abs=1)


def test_profiles_are_looked_at_in_bytes() -> None:
    assert swapped_profile() != ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert "sRGB" not in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(swapped_profile())))
