"""BMP (Windows bitmap headers: BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER and its successors)."""

from __future__ import annotations

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture

_UNCOMPRESSED = (0, 3, 6)


def recognises(body: bytes) -> bool:
    return (
        body.startswith(b"BM")
        and len(body) > 18
        and int.from_bytes(body[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    )


def walk(body: bytes) -> Picture:
    """Return the dimensions after checking that pixels are there for all of them."""
    header = int.from_bytes(body[14:18], "little")
    if len(body) < 14 + header:
        raise Truncated(f"the BMP ends at byte {len(body)} inside its header")
    if header == 12:
        width, height = int.from_bytes(body[18:20], "little"), int.from_bytes(body[20:22], "little")
        depth, compression, stored = int.from_bytes(body[24:26], "little"), 0, 0
    else:
        width = int.from_bytes(body[18:22], "little", signed=True)
        height = abs(int.from_bytes(body[22:26], "little", signed=True))
        depth = int.from_bytes(body[28:30], "little")
        compression, stored = int.from_bytes(body[30:34], "little"), int.from_bytes(body[34:38], "little")
    if width <= 0 or not height:
        raise NotAnImage("a BMP without dimensions")
    if compression in _UNCOMPRESSED:
        stored = (width * depth + 31) // 32 * 4 * height
    elif not stored:
        raise NotAnImage("a compressed BMP that does not say how long it is")
    end = int.from_bytes(body[10:14], "little") + stored
    if len(body) < max(end, 14 + header):
        raise Truncated(f"the BMP ends at byte {len(body)} of {end}")
    return Picture("bmp", width, height)
