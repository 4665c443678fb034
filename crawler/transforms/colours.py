"""Pixels of any kind as 8 bits of grey or sRGB, with or without alpha."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from crawler.transforms.transform import TRANSPARENT

if TYPE_CHECKING:
    from PIL import Image, ImageCms


class UnknownPixels(ValueError):
    """Of what kind the pixels are; it is not known how bright they are."""


def plain(image: Image.Image) -> Image.Image:
    """Return an image in mode L, RGB, RGBA or CMYK: no palette, no more than 8 bits; raises UnknownPixels."""
    if image.mode.startswith("I;16"):  # the upper byte, as Pillow reads 16 bits of colour
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("I", "F"):
        raise UnknownPixels(f"a pixel is a number of 32 bits (mode {image.mode}) whose range is not known")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture of mode L, RGB, RGBA or CMYK without CMYK, its colours in sRGB.

    Without a profile, and with one that is broken or for other pixels, values are sRGB's, as in browsers.
    """
    conversion = _conversion(profile, "RGB" if picture.mode == "RGBA" else picture.mode) if profile else None
    if conversion is None:
        return picture.convert("RGB") if picture.mode == "CMYK" else picture
    from PIL import ImageCms

    if picture.mode != "RGBA":
        done = ImageCms.applyTransform(picture, conversion)
        assert done is not None
        return done.convert("L") if picture.mode == "L" else done
    done = ImageCms.applyTransform(picture.convert("RGB"), conversion)
    assert done is not None
    done.putalpha(picture.getchannel("A"))
    return done


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what makes sRGB of pixels with this profile; None where they are, or it cannot."""
    from PIL import ImageCms

    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and ImageCms.getProfileDescription(theirs).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(theirs, _srgb_profile(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def upon(background: str, picture: Image.Image) -> Image.Image:
    """Return a picture with its alpha on a background."""
    if picture.mode != "RGBA" or background == TRANSPARENT:
        return picture
    from PIL import Image

    canvas = Image.new("RGB", picture.size, colour(background))
    canvas.paste(picture, mask=picture.getchannel("A"))
    return canvas


def alike(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Return pictures in one mode: that of those with alpha, or of those with colour."""
    modes = {picture.mode for picture in pictures}
    mode = "RGBA" if "RGBA" in modes else "RGB" if "RGB" in modes else "L"
    return [picture.convert(mode) for picture in pictures]


@lru_cache(maxsize=16)
def colour(name: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    red, green, blue, *_ = ImageColor.getrgb(name)
    return red, green, blue
