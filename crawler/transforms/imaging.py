"""One image transformed: read, turned upright, scaled, its colours made sRGB, laid on its background, encoded.

Pillow does it all. Beside OpenCV and libvips (images per CPU second, `border` to 256 and JPEG 95 from JPEGs of 110 kB,
1024 x 768; one thread; medians of 3): OpenCV 250, where libjpeg reads a quarter 480; Pillow 166, where its `draft`
reads a quarter 438; libvips 135. So the others gain little, and Pillow also knows profiles, EXIF and animations.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from crawler.errors import FetchError
from crawler.outcomes import Outcome
from crawler.transforms.colours import alike, plain, srgb, upon
from crawler.transforms.layout import Layout, layout_of
from crawler.transforms.transform import TRANSPARENT, Transform, check_size

if TYPE_CHECKING:
    from PIL import Image

#: What is read, by Pillow's names, with ours: its other plugins run programs, or read what is no image of the web.
READ = {
    "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "GIF": "gif", "WEBP": "webp", "AVIF": "avif", "BMP": "bmp",
    "TIFF": "tiff", "ICO": "ico",
}  # fmt: skip
#: What is written where the format is to stay; all else becomes PNG.
_KEPT = frozenset({"jpeg", "png", "gif", "webp", "avif"})
#: Pixels of all frames of an animation, in images of the largest size.
_MOST_FRAMES = 100
#: A JPEG is read at 1/2, 1/4 or 1/8 where that leaves so many times the size that is wanted: at 1.5, photographs have
#: a PSNR of 38 to 46 dB to INTER_AREA of all their pixels; at 1 it was 32 to 45, from all pixels it is 41 to 47.
_MARGIN = 1.5
_ORIENTATION = 0x0112


class Transformed(msgspec.Struct, frozen=True):
    """An image as it came out; dimensions in pixels, of what is shown: after EXIF's orientation.

    `body` is the one that went in, itself, where nothing was to be done.
    """

    body: bytes
    format: str
    width: int
    height: int
    original_width: int
    original_height: int


def transformed(body: bytes, transform: Transform, max_pixels: int) -> Transformed:
    """Return an image as `transform` says; `max_pixels` (0: without limit) holds before it is decoded, and after.

    Raises FetchError: TOO_SMALL, TOO_LARGE and UNWANTED_SHAPE by its size, TRANSFORM_FAILED by a defect of it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(body), formats=_readable()) as image:
            return _Work(image, body, transform, max_pixels).result()
    except UnidentifiedImageError as error:
        why = f"it is, or begins as, none of what can be transformed: {', '.join(sorted({*READ.values()}))}"
        raise FetchError(Outcome.TRANSFORM_FAILED, why) from error
    except FetchError:
        raise
    except MemoryError as error:
        raise FetchError(Outcome.TRANSFORM_FAILED, "it needs more memory than it may have") from error
    # Told: Pillow's plugins raise whatever they meet, and each of them means that the image is broken.
    except Exception as error:
        raise FetchError(Outcome.TRANSFORM_FAILED, f"{type(error).__name__}: {error}"[:300]) from error


@lru_cache(maxsize=1)
def _readable() -> tuple[str, ...]:
    """Return which of the formats this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in READ if name in Image.OPEN)


class _Work:
    """An image that is open, and what becomes of it."""

    def __init__(self, image: Image.Image, body: bytes, transform: Transform, max_pixels: int) -> None:
        self._image = image
        self._body = body
        self._transform = transform
        self._max_pixels = max_pixels
        self._format = READ[image.format or ""]
        width, height = image.size
        self._check(width, height)
        check_size(width, height, transform)
        self._orientation = _orientation(image)  # which may read pixels
        self._size = (height, width) if self._orientation >= 5 else (width, height)
        self._layout = layout_of(*self._size, transform)

    def result(self) -> Transformed:
        if self._stays():
            return Transformed(self._body, self._format, *self._size, *self._size)
        from crawler.transforms.encoding import encoded

        format = self._target()
        width, height = self._layout.canvas if self._layout else self._size
        self._check(width, height)
        keeps_all = self._transform.animation == "keep" and format != "jpeg" and _is_animated(self._image)
        if keeps_all:
            frames, durations = zip(*self._frames(), strict=True)
            body = encoded(alike(frames), format, self._transform, durations, self._image.info)
        else:
            body = encoded([self._worked(self._first())], format, self._transform)
        return Transformed(body, format, width, height, *self._size)

    def _target(self) -> str:
        if self._transform.encode:
            return self._transform.encode.replace("jpg", "jpeg")
        return self._format if self._format in _KEPT else "png"

    def _stays(self) -> bool:
        """Tell whether the bytes are what is wanted as they are."""
        if self._transform.resize == "no" and not self._transform.encode:
            return True
        reencodes = bool(self._transform.encode) and not self._transform.skip_reencode
        if reencodes or self._layout is not None or self._format != self._target() or self._orientation != 1:
            return False
        if _is_animated(self._image) and self._transform.animation == "first":
            return False
        shows_through = self._image.has_transparency_data and self._transform.background != TRANSPARENT
        return not shows_through and not self._image.info.get("icc_profile")

    def _check(self, width: int, height: int, images: int = 1) -> None:
        if 0 < self._max_pixels * images < width * height:
            raise FetchError(Outcome.TOO_LARGE, f"{width} x {height} pixels are more than --max-pixels")

    def _first(self) -> Image.Image:
        """Return the first picture, of a JPEG with as few pixels as are needed."""
        image, layout = self._image, self._layout
        if image.format in ("JPEG", "MPO") and layout is not None and layout.shrinks:
            wanted = (layout.width, layout.height) if self._orientation < 5 else (layout.height, layout.width)
            factor = image.width // wanted[0]
            exact = image.size == (factor * wanted[0], factor * wanted[1]) and factor in (1, 2, 4, 8)
            margin = 1.0 if exact else _MARGIN
            if self._transform.downscale_interpolation != "nearest":
                image.draft(None, (round(wanted[0] * margin), round(wanted[1] * margin)))
        return image

    def _frames(self) -> Iterator[tuple[Image.Image, int]]:
        """Yield the frames of an animation with their durations in milliseconds."""
        image, pixels = self._image, 0
        begin = 1 if image.info.get("default_image") else 0
        for number in range(begin, image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            pixels += image.width * image.height
            self._check(pixels, 1, _MOST_FRAMES)
            image.load()
            yield self._worked(image.copy()), round(image.info.get("duration", 0))

    def _worked(self, image: Image.Image) -> Image.Image:
        """Return a picture as it is to be encoded."""
        from PIL import Image

        image.load()
        profile = image.info.get("icc_profile")
        picture = plain(image)
        if self._orientation != 1:
            picture = picture.transpose(Image.Transpose[_TURNS[self._orientation]])
        if self._layout is not None:
            picture = _scaled(picture, self._size, self._layout, self._transform)
        # Colours after the size: a profile costs as much for each pixel as all else together.
        picture = upon(self._transform.background, srgb(picture, profile))
        if self._layout is not None and self._layout.canvas != picture.size:
            picture = _on_canvas(picture, self._layout, self._transform.background)
        return picture


#: Image.Transpose by EXIF's orientation: what is done to a picture to show it upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation; 1 where there is none, or none that can be read, as browsers do."""
    if image.format == "TIFF":  # Pillow turns it
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        image.load()  # as it may stand behind the pixels; what is wrong with those is told once, and not below
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1
    return orientation if orientation in _TURNS else 1


def _is_animated(image: Image.Image) -> bool:
    return image.format in ("GIF", "WEBP", "PNG", "AVIF") and getattr(image, "n_frames", 1) > 1


def _scaled(picture: Image.Image, size: tuple[int, int], layout: Layout, transform: Transform) -> Image.Image:
    """Return the part that is kept, scaled, of a picture that was read of `size`, or at a fraction of it."""
    from PIL import Image

    # One that was read at a fraction has its last column and row only in part.
    fraction = next((n for n in (1, 2, 4, 8) if picture.size == (-(-size[0] // n), -(-size[1] // n))), 1)
    across, down = size[0] / fraction / layout.width, size[1] / fraction / layout.height
    right, bottom = layout.left + layout.kept[0], layout.top + layout.kept[1]
    box = (
        layout.left * across, layout.top * down, min(right * across, picture.width), min(bottom * down, picture.height)
    )  # fmt: skip
    name = transform.downscale_interpolation if layout.shrinks else transform.upscale_interpolation
    return picture.resize(layout.kept, Image.Resampling[_filter(name, layout.shrinks, across, down)], box)


def _filter(name: str, shrinks: bool, across: float, down: float) -> str:
    """Return Pillow's name for an interpolation of OpenCV.

    BOX takes whole pixels only, so it is the mean of an area just where the scale is a whole number; elsewhere HAMMING
    is nearest (PSNR to INTER_AREA of photographs from 400 to 3,000 pixels: 41 to 47 dB; BOX 32 to 47, BILINEAR 36 to
    43). What is enlarged by area is by its neighbours' mean in OpenCV also.
    """
    if name == "area" and not shrinks:
        return "BILINEAR"
    if name == "area":
        return "BOX" if across == int(across) and down == int(down) else "HAMMING"
    return {"nearest": "NEAREST", "linear": "BILINEAR", "bilinear": "BILINEAR", "cubic": "BICUBIC"}.get(
        name, "BICUBIC" if name == "bicubic" else "LANCZOS"
    )


def _on_canvas(picture: Image.Image, layout: Layout, background: str) -> Image.Image:
    from PIL import Image

    if background == TRANSPARENT:
        canvas = Image.new("RGBA", layout.canvas, (255, 255, 255, 0))
        canvas.paste(picture.convert("RGBA"), layout.at)
        return canvas
    from crawler.transforms.colours import colour

    red, green, blue = colour(background)
    if picture.mode == "L" and red == green == blue:
        canvas = Image.new("L", layout.canvas, red)
    else:
        canvas = Image.new("RGB", layout.canvas, (red, green, blue))
    canvas.paste(picture, layout.at)
    return canvas
