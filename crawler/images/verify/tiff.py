"""TIFF (TIFF 6.0) and BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import MOST_FRAMES, Picture, steps

_CLASSIC, _BIG = 42, 43
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _SAMPLES, _SUB_DIRECTORIES = 256, 257, 258, 259, 262, 277, 330
_UNCOMPRESSED = (1,)
_YCBCR = (6,)
#: Tags that say where image data lie, and the tags that say how long they are.
_DATA = {273: 279, 324: 325, 513: 514}


class Layout(NamedTuple):
    """How numbers are written: byte order, bytes of an offset, struct codes of an offset and of a number of tags."""

    order: str
    wide: int
    offset: str
    number: str


def recognises(body: bytes) -> bool:
    return body[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def walk(body: bytes) -> Picture:
    """Return the first directory's dimensions after checking that the image data of all directories are there."""
    order = "<" if body[:1] == b"I" else ">"
    big = struct.unpack_from(order + "H", body, 2)[0] == _BIG
    layout = Layout(order, 8, "Q", "Q") if big else Layout(order, 4, "I", "H")
    try:
        at = struct.unpack_from(order + layout.offset, body, 8 if big else 4)[0]
        return _walk_directories(body, layout, at)
    except (struct.error, OverflowError):
        raise Truncated(f"the TIFF ends at byte {len(body)} before its image does") from None


def _walk_directories(body: bytes, layout: Layout, first: int) -> Picture:
    left = steps()
    seen: set[int] = set()
    following = [first]
    largest = (0, 0)
    while following:
        at = following.pop()
        if not at:
            continue
        if at in seen or len(seen) > MOST_FRAMES:
            raise NotAnImage("a TIFF whose directories go in a circle, or are too many")
        seen.add(at)
        tags, after = _directory(body, layout, at, left)
        following += [after, *tags.get(_SUB_DIRECTORIES, ())]
        size = (*tags.get(_WIDTH, ()), 0)[0], (*tags.get(_HEIGHT, ()), 0)[0]
        if not _has_data(body, tags, size) or not all(size):
            if len(seen) == 1:
                raise NotAnImage("a TIFF without image data or dimensions")
            continue
        largest = max(largest, size, key=lambda sides: sides[0] * sides[1])
    if not all(largest):
        raise NotAnImage("a TIFF without a directory")
    return Picture("tiff", *largest)


def _directory(body: bytes, layout: Layout, at: int, left: Iterator[None]) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the values of the tags that matter, and where the next directory is; raises struct.error at the end."""
    order, wide, offset, number = layout
    (entries,) = struct.unpack_from(order + number, body, at)
    at += struct.calcsize(order + number)
    wanted = {
        _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _SAMPLES, _SUB_DIRECTORIES, *_DATA, *_DATA.values(),
    }  # fmt: skip
    tags: dict[int, tuple[int, ...]] = {}
    for _ in range(entries):
        next(left)
        tag, kind, values = struct.unpack_from(f"{order}HH{offset}", body, at)
        size = _BYTES_OF_TYPE.get(kind, 0) * values
        place = at + 4 + wide
        if size > wide:
            (place,) = struct.unpack_from(order + offset, body, place)
        if place + size > len(body):
            raise Truncated(f"the TIFF ends at byte {len(body)} before the values of tag {tag}")
        if tag in wanted and kind in _INTEGERS:
            for _ in range(values // 8):
                next(left)
            tags[tag] = struct.unpack_from(f"{order}{values}{_INTEGERS[kind]}", body, place)
        at += 4 + 2 * wide
    return tags, struct.unpack_from(order + offset, body, at)[0]


def _has_data(body: bytes, tags: dict[int, tuple[int, ...]], size: tuple[int, int]) -> bool:
    """Tell whether a directory has image data; raises Truncated where they are not all in the file."""
    total, places = 0, 0
    for where, lengths in _DATA.items():
        starts, sizes = tags.get(where, ()), tags.get(lengths, ())
        if sizes and len(sizes) != len(starts):
            raise NotAnImage("a TIFF that does not say how long each of its parts is")
        ends = map(int.__add__, starts, sizes) if sizes else starts  # without lengths readers guess them
        if max(ends, default=0) > len(body):
            raise Truncated(f"the TIFF ends at byte {len(body)} before its image data")
        total, places = total + sum(sizes), places + len(starts)
    plain = tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and tags.get(_COLOURS) != _YCBCR  # may be subsampled
    if total and plain:
        bits = sum(tags.get(_BITS, (1,))) if _BITS in tags else (*tags.get(_SAMPLES, ()), 1)[0]
        if total < (size[0] * bits + 7) // 8 * size[1]:
            raise Truncated("the TIFF's parts are shorter than its pixels")
    return places > 0
