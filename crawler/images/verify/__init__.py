"""What the bytes are: the format by its structure, walked to the end, never by a name."""

from __future__ import annotations

from collections.abc import Callable

from crawler.errors import NotAnImage
from crawler.images.verify import bmp, gif, ico, iso, jpeg, jxl, png, svg, tiff, webp
from crawler.images.verify.picture import Picture

_WALKERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Picture]], ...] = tuple(
    (module.recognises, module.walk) for module in (jpeg, png, gif, webp, bmp, iso, jxl, tiff, ico, svg)
)
#: The formats that `verify` tells apart.
FORMATS = ("jpeg", "png", "gif", "webp", "bmp", "avif", "heic", "jxl", "tiff", "ico", "svg")


def verify(body: bytes) -> Picture:
    """Return the format and the dimensions (pixels, 0 for unknown) of a whole image.

    Raises NotAnImage, or Truncated where the bytes end before the image does.
    """
    for recognises, walk in _WALKERS:
        if recognises(body):
            return walk(body)
    raise NotAnImage(f"the bytes are {_describe(body)}")


def _describe(body: bytes) -> str:
    start = body[:512].lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "HTML"
    if start.startswith((b"{", b"[")):
        return "JSON"
    return "of no known image format"


__all__ = ["FORMATS", "Picture", "verify"]
