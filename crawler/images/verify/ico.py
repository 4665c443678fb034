"""ICO and CUR: a directory of images that are BMPs without a file header, or PNGs."""

from __future__ import annotations

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify import png
from crawler.images.verify.picture import MOST_FRAMES, Picture

_ENTRY = 16


def recognises(body: bytes) -> bool:
    count = int.from_bytes(body[4:6], "little")
    return (
        body[:4] in (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00")
        and count > 0
        and len(body) >= 6 + _ENTRY
        and body[9] in (0, 255)  # reserved in the first entry, where .NET wrote 255: MPEG streams may begin alike
        and int.from_bytes(body[18:22], "little") >= 6 + _ENTRY * count
    )


def walk(body: bytes) -> Picture:
    """Return the dimensions of the largest image after checking that all are there."""
    count = int.from_bytes(body[4:6], "little")
    if count > MOST_FRAMES:
        raise NotAnImage(f"an icon of {count:,} images")
    places = {_place(body, 6 + _ENTRY * number) for number in range(count)}
    if sum(size for _, size in places) > len(body):
        raise NotAnImage("an icon whose images overlap")
    pictures = [_image(body[offset : offset + size]) for offset, size in places]
    return max(pictures, key=lambda picture: picture.width * picture.height)


def _place(body: bytes, at: int) -> tuple[int, int]:
    """Return where the image of an entry is, and its length."""
    size, offset = int.from_bytes(body[at + 8 : at + 12], "little"), int.from_bytes(body[at + 12 : at + 16], "little")
    if at + _ENTRY > len(body) or offset + size > len(body):
        raise Truncated(f"the icon ends at byte {len(body)} before its images")
    return offset, size


def _image(data: bytes) -> Picture:
    return png.walk(data)._replace(format="ico") if png.recognises(data) else _bitmap(data)


def _bitmap(data: bytes) -> Picture:
    """Return the dimensions of a BMP without a file header, whose height counts its mask too."""
    header, width = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little", signed=True)
    height = abs(int.from_bytes(data[8:12], "little", signed=True)) // 2
    depth, colours = int.from_bytes(data[14:16], "little"), int.from_bytes(data[32:36], "little")
    if not 40 <= header <= 124 or width <= 0 or not height or depth not in (1, 4, 8, 16, 24, 32):
        raise NotAnImage("an icon with an image that is neither BMP nor PNG")
    palette = 4 * (colours or 1 << depth) if depth <= 8 else 0
    if header + palette + (width * depth + 31) // 32 * 4 * height > len(data):
        raise Truncated("an icon's image ends before its last row")
    return Picture("ico", width, height)
