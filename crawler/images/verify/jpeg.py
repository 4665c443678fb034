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
# Tables, applications' data, comments: most of the segments of an image.
_PASSED_OVER = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})


def recognises(body: bytes) -> bool:
    return body.startswith(b"\xff\xd8\xff")


def walk(body: bytes) -> Picture:
    """Return the dimensions after walking from marker to marker to EOI; bytes after it are let be."""
    try:
        return _walk(body)
    except IndexError:
        raise Truncated(f"the JPEG ends at byte {len(body)} before its end marker") from None


def _walk(body: bytes) -> Picture:
    """Raises IndexError where the bytes end before the image does."""
    at, width, height, scanned = 2, 0, 0, False
    left = steps()
    while True:
        next(left)
        marker = body[at + 1]
        if body[at] != 0xFF:
            raise NotAnImage(f"no JPEG marker at byte {at}")
        if marker in _PASSED_OVER:
            length = body[at + 2] << 8 | body[at + 3]
            if length < 2:
                raise _short(length, at)
            at += 2 + length
        elif marker == _EOI:
            if not scanned or not width:
                raise NotAnImage("a JPEG without image data")
            return Picture("jpeg", width, height)
        elif marker == 0xFF:
            at = _FILL.match(body, at).end() - 1  # type: ignore[union-attr]
        elif marker in _STANDALONE:
            at += 2
        else:
            length = body[at + 2] << 8 | body[at + 3]
            if length < 2:
                raise _short(length, at)
            if marker in _FRAMES:
                height, width = body[at + 5] << 8 | body[at + 6], body[at + 7] << 8 | body[at + 8]
            at += 2 + length
            if marker == _SOS:
                scanned = True
                end = _END_OF_SCAN.search(body, at)
                if end is None:
                    raise IndexError
                at = end.start()


def _short(length: int, at: int) -> NotAnImage:
    return NotAnImage(f"a JPEG segment of length {length} at byte {at + 2}")
