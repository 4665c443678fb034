"""JPEG XL: the codestream's size (ISO/IEC 18181-1, annex D) and the boxes of a container (18181-2)."""

from __future__ import annotations

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.iso import Box, boxes
from crawler.images.verify.picture import Picture, steps

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
#: Width to height, by the code of the size header.
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_LAST_PART = 0x8000_0000


def recognises(body: bytes) -> bool:
    return body.startswith((_CODESTREAM, _CONTAINER))


def walk(body: bytes) -> Picture:
    """Return the dimensions; of a container all boxes are walked, of a codestream only its size header is read."""
    if body.startswith(_CODESTREAM):
        return _dimensions(body[2:14])
    left = steps()
    found = list(boxes(body, 0, len(body), left))
    whole = [box for box in found if box.kind == b"jxlc"]
    parts = [box for box in found if box.kind == b"jxlp"]
    if not whole and not (parts and _place(body, parts[-1]) & _LAST_PART):
        raise Truncated(f"the JPEG XL ends at byte {len(body)} before its last part")
    if not whole and [_place(body, part) & ~_LAST_PART for part in parts] != list(range(len(parts))):
        raise NotAnImage("a JPEG XL whose parts are not in order")
    start = whole[0].start if whole else parts[0].start + 4
    if body[start : start + 2] != _CODESTREAM:
        raise NotAnImage("a JPEG XL without a codestream")
    return _dimensions(body[start + 2 : start + 14])


def _place(body: bytes, part: Box) -> int:
    """Return the number of a part of the codestream, with _LAST_PART in the last."""
    return int.from_bytes(body[part.start : part.start + 4], "big")


def _dimensions(header: bytes) -> Picture:
    if len(header) < 2:
        raise Truncated("the JPEG XL ends inside its size header")
    bits = _Bits(int.from_bytes(header, "little"))
    small = bits.take(1)
    height = bits.side(small)
    across, down = _RATIOS[bits.take(3)]
    width = height * across // down if across else bits.side(small)
    return Picture("jxl", width, height)


class _Bits:
    """Takes bits from the lowest on."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def take(self, count: int) -> int:
        value = self._bits & (1 << count) - 1
        self._bits >>= count
        return value

    def side(self, small: int) -> int:
        """Return a height or a width (D.2)."""
        return 8 * (self.take(5) + 1) if small else 1 + self.take((9, 13, 18, 30)[self.take(2)])
