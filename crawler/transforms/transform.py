"""What is to be done with images on their way into a dataset, and which of them are left out."""

from __future__ import annotations

import importlib.util

import msgspec

from crawler.errors import FetchError, UsageError
from crawler.outcomes import Outcome

RESIZES = ("no", "border", "keep_ratio", "keep_ratio_largest", "center_crop")
INTERPOLATIONS = ("nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4")
ANIMATIONS = ("first", "keep")
#: By the names of `encode`, what the quality is where none is given, and the range that it may have.
QUALITIES = {"jpg": (95, 0, 100), "png": (9, 0, 9), "webp": (95, 0, 100), "avif": (75, 0, 100)}
ENCODES = tuple(QUALITIES)
#: The background with which alpha stays alpha.
TRANSPARENT = "transparent"


class Transform(msgspec.Struct, frozen=True, kw_only=True):
    """What is done with each image; lengths in pixels, 0 for no limit. Names are those of img2dataset."""

    resize: str = "no"
    image_size: int = 256
    resize_only_if_bigger: bool = False
    upscale_interpolation: str = "lanczos"
    downscale_interpolation: str = "area"
    encode: str = ""  #: `""`: the format it has, or PNG where that is none that is written
    encode_quality: int | None = None  #: of PNG the compression level; None is what QUALITIES has
    skip_reencode: bool = False  #: keep the bytes of what has the format already, and needs nothing else
    animation: str = "first"
    background: str = "white"  #: what alpha and the border of `border` become, `#rrggbb`, a name of CSS or TRANSPARENT
    min_image_size: int = 0  #: of the shorter side
    max_image_area: int = 0
    max_aspect_ratio: float = 0.0

    @property
    def is_nothing(self) -> bool:
        return not self.changes_pixels and not self.limits_size

    @property
    def changes_pixels(self) -> bool:
        """Tell whether images are decoded at all; without that `check_size` is all there is to do."""
        return self.resize != "no" or bool(self.encode)

    @property
    def limits_size(self) -> bool:
        return bool(self.min_image_size or self.max_image_area or self.max_aspect_ratio)


def check_size(width: int, height: int, transform: Transform) -> None:
    """Raise FetchError where an image of these dimensions is one that the dataset does not want; 0 is not known."""
    if not width or not height:
        return
    size = f"{width} x {height} pixels"
    if min(width, height) < transform.min_image_size:
        raise FetchError(Outcome.TOO_SMALL, f"{size}, the shorter side below {transform.min_image_size}")
    if 0 < transform.max_image_area < width * height:
        raise FetchError(Outcome.TOO_LARGE, f"{size}, more than {transform.max_image_area:,} in all")
    if 0 < transform.max_aspect_ratio * min(width, height) < max(width, height):
        raise FetchError(Outcome.UNWANTED_SHAPE, f"{size}, one side more than {transform.max_aspect_ratio:g} times")


def check_transform(transform: Transform) -> None:
    """Raise UsageError where images cannot be transformed so: options that exclude each other, a missing library."""
    _check_names(transform)
    _check_numbers(transform)
    if transform.changes_pixels:
        _check_library(transform)


def _check_names(transform: Transform) -> None:
    for flag, value, allowed in (
        ("resize", transform.resize, RESIZES),
        ("upscale-interpolation", transform.upscale_interpolation, INTERPOLATIONS),
        ("downscale-interpolation", transform.downscale_interpolation, INTERPOLATIONS),
        ("encode", transform.encode, ("", *ENCODES)),
        ("animation", transform.animation, ANIMATIONS),
    ):
        if value not in allowed:
            raise UsageError(f"--{flag} {value}: allowed are {', '.join(filter(None, allowed))}")
    if transform.encode == "jpg" and transform.animation == "keep":
        raise UsageError("--animation keep: a JPEG has one picture; take --encode webp, png or avif")
    if transform.encode == "jpg" and transform.background == TRANSPARENT:
        raise UsageError("--background transparent: a JPEG has no alpha; name a colour, or --encode webp, png or avif")


def _check_numbers(transform: Transform) -> None:
    if transform.image_size < 1:
        raise UsageError(f"--image-size {transform.image_size}: at least 1 pixel")
    for flag in ("min_image_size", "max_image_area", "max_aspect_ratio"):
        value = getattr(transform, flag)
        if not 0 <= value < float("inf"):
            raise UsageError(f"--{flag.replace('_', '-')} {value}: a positive number, or 0 for no limit")
    if 0 < transform.max_aspect_ratio < 1:
        raise UsageError(f"--max-aspect-ratio {transform.max_aspect_ratio}: the longer side by the shorter, at least 1")
    if (quality := transform.encode_quality) is not None:
        if not transform.encode:
            raise UsageError("--encode-quality is that of a format: name it with --encode")
        _, least, most = QUALITIES[transform.encode]
        if not least <= quality <= most:
            raise UsageError(f"--encode-quality {quality}: of {transform.encode} it is {least} to {most}")


def _check_library(transform: Transform) -> None:
    if importlib.util.find_spec("PIL") is None:
        raise UsageError("images are transformed by Pillow: pip install 'distributed-image-crawler[datasets]'")
    from PIL import ImageColor, features

    for module, name in (("webp", "webp"), ("avif", "avif")):
        if transform.encode == name and not features.check_module(module):
            raise UsageError(f"--encode {name}: this Pillow was built without it; install Pillow's own wheel by pip")
    if transform.background != TRANSPARENT:
        try:
            ImageColor.getrgb(transform.background)
        except ValueError as error:
            raise UsageError(f"--background {transform.background}: a colour as #ffffff or white") from error
