"""JPEG (ITU-T T.81, annex B)."""

from __future__ import annotations

import re

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, steps

# In entropy-coded data FF is followed by 00 or a restart marker (B.1.1.5); FF FF is fill. Anything else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_EOI, _SOS = 0xD9, 0xDA


def recognises(body: bytes) -> bool:
    return body.startswith(b"\xff\xd8\xff")


def walk(body: bytes) -> Picture:
    """Return the dimensions after walking from marker to marker to EOI; bytes after it are let be."""
    at, width, height, scanned = 2, 0, 0, False
    size = len(body)
    for _ in steps():
        if at + 1 >= size:
            break
        if body[at] != 0xFF:
            raise NotAnImage(f"no JPEG marker at byte {at}")
        marker = body[at + 1]
        if marker == 0xFF:
            at = _FILL.match(body, at).end() - 1  # type: ignore[union-attr]
            continue
        at += 2
        if marker == _EOI:
            if not scanned or not width:
                raise NotAnImage("a JPEG without image data")
            return Picture("jpeg", width, height)
        if marker in _STANDALONE:
            continue
        if at + 2 > size:
            break
        length = body[at] << 8 | body[at + 1]
        if length < 2:
            raise NotAnImage(f"a JPEG segment of length {length} at byte {at}")
        if marker in _FRAMES and at + 7 <= size:
            height, width = body[at + 3] << 8 | body[at + 4], body[at + 5] << 8 | body[at + 6]
        at += length
        if marker == _SOS:
            scanned = True
            end = _END_OF_SCAN.search(body, at)
            if end is None:
                break
            at = end.start()
    raise Truncated(f"the JPEG ends at byte {size} before its end marker")
