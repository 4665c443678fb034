"""JPEG (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from struct import Struct, error

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, steps

# In entropy-coded data FF is followed by 00 or a restart marker (B.1.1.5); FF FF is fill. Anything else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")
_FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_STANDALONE = frozenset({0xFF01, *range(0xFFD0, 0xFFD8)})
_EOI, _SOS, _FILLED = 0xFFD9, 0xFFDA, 0xFFFF
# Tables, applications' data, comments: most of the segments of an image.
_PASSED_OVER = frozenset({0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)})
# A marker and the length behind it, in one call: byte by byte took twice as many steps of the interpreter.
_segment = Struct(">HH").unpack_from


def recognises(body: bytes) -> bool:
    return body.startswith(b"\xff\xd8\xff")


def walk(body: bytes) -> Picture:
    """Return the dimensions after walking from marker to marker to EOI; bytes after it are let be."""
    try:
        return _walk(body)
    except (IndexError, error):
        raise Truncated(f"the JPEG ends at byte {len(body)} before its end marker") from None


def _walk(body: bytes) -> Picture:
    """Raises IndexError, or the error of `struct`, where the bytes end before the image does."""
    at, width, height, scanned = 2, 0, 0, False
    for _ in steps():
        try:
            marker, length = _segment(body, at)
        except error:
            marker, length = _last_marker(body, at), 0
        if marker in _PASSED_OVER:
            if length < 2:
                raise _short(length, at)
            at += 2 + length
        elif marker == _FILLED:
            at = _FILL.match(body, at).end() - 1  # type: ignore[union-attr]
        elif marker in _STANDALONE:
            at += 2
        elif marker == _EOI:
            if not (scanned and width):
                raise NotAnImage("a JPEG without image data")
            break
        elif marker < 0xFF00:
            raise NotAnImage(f"no JPEG marker at byte {at}")
        elif length < 2:
            raise _short(length, at)
        elif marker != _SOS:
            if marker in _FRAMES:
                height, width = _segment(body, at + 5)
            at += 2 + length
        else:
            scanned = True
            end = _END_OF_SCAN.search(body, at + 2 + length)
            if end is None:
                raise IndexError
            if end[0] == b"\xff\xd9" and width:
                break  # as most images end
            at = end.start()
    return Picture("jpeg", width, height)


def _last_marker(body: bytes, at: int) -> int:
    """Return the marker at `at`, behind which there is no room for a length; raises IndexError where it has one."""
    marker = body[at] << 8 | body[at + 1]
    if marker in (_EOI, _FILLED) or marker in _STANDALONE or marker < 0xFF00:
        return marker
    raise IndexError


def _short(length: int, at: int) -> NotAnImage:
    return NotAnImage(f"a JPEG segment of length {length} at byte {at + 2}")
