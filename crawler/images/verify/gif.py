"""GIF (GIF89a specification)."""

from __future__ import annotations

from collections.abc import Iterator

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, check_frames, steps

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B


def recognises(body: bytes) -> bool:
    return body.startswith((b"GIF87a", b"GIF89a"))


def walk(body: bytes) -> Picture:
    """Return the dimensions of the logical screen after walking from block to block to the trailer."""
    try:
        at, images = 13 + _table(body[10]), 0
        left = steps(4)  # a block has 255 bytes at most
        while (kind := body[at]) != _TRAILER:
            if kind == _IMAGE:
                at = _past_blocks(body, at + 11 + _table(body[at + 9]), left)
                images += 1
                check_frames(images)
            elif kind == _EXTENSION:
                at = _past_blocks(body, at + 2, left)
            else:
                raise NotAnImage(f"no GIF block at byte {at}")
    except IndexError:
        raise Truncated(f"the GIF ends at byte {len(body)} before its trailer") from None
    if not images:
        raise NotAnImage("a GIF without image data")
    return Picture("gif", int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little"))


def _table(packed: int) -> int:
    """Return the bytes of the colour table that `packed` announces."""
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _past_blocks(body: bytes, at: int, left: Iterator[None]) -> int:
    for _ in left:
        length = body[at]
        if not length:
            break
        at += length + 1
    return at + 1
