"""JPEG XL: a bare codestream, or one in boxes (ISO/IEC 18181-2)."""

from __future__ import annotations

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.iso import Box, boxes
from crawler.images.verify.jxl import codestream
from crawler.images.verify.picture import Picture, steps

_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_LAST_PART = 0x8000_0000


def recognises(body: bytes) -> bool:
    return body.startswith((codestream.SIGNATURE, _CONTAINER))


def walk(body: bytes) -> Picture:
    """Return the dimensions after walking all boxes and the codestream's frames; bytes after the last are let be."""
    data = body if body.startswith(codestream.SIGNATURE) else _unboxed(body)
    if not data.startswith(codestream.SIGNATURE):
        raise NotAnImage("a JPEG XL without a codestream")
    return codestream.walk(data)


def _unboxed(body: bytes) -> bytes:
    found = list(boxes(body, 0, len(body), steps()))
    whole = [box for box in found if box.kind == b"jxlc"]
    if whole:
        return body[whole[0].start : whole[0].end]
    parts = [box for box in found if box.kind == b"jxlp"]
    if not parts or not _number(body, parts[-1]) & _LAST_PART:
        raise Truncated(f"the JPEG XL ends at byte {len(body)} before its last part")
    if [_number(body, part) & ~_LAST_PART for part in parts] != list(range(len(parts))):
        raise NotAnImage("a JPEG XL whose parts are not in order")
    return b"".join(body[part.start + 4 : part.end] for part in parts)


def _number(body: bytes, part: Box) -> int:
    """Return the number of a part of the codestream, with _LAST_PART in the last."""
    return int.from_bytes(body[part.start : part.start + 4], "big")
