"""AVIF and HEIC: boxes of the ISO base media file format (ISO/IEC 14496-12, HEIF: ISO/IEC 23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, steps

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_KNOWN = frozenset({b"ftyp", b"meta", b"moov", b"mdat", b"moof", b"free", b"skip", b"uuid", b"idat"})
#: Boxes of a track that lead to the table of where its samples are.
_TO_CHUNKS = (b"trak", b"mdia", b"minf", b"stbl")


class Box(NamedTuple):
    """A box by its type; its content lies from `start` to `end` in the file."""

    kind: bytes
    start: int
    end: int


def recognises(body: bytes) -> bool:
    return body[4:8] == b"ftyp" and bool(_format(body))


def walk(body: bytes) -> Picture:
    """Return the primary image's dimensions after walking all boxes and looking where its items' data lie."""
    left = steps()
    found: dict[bytes, Box] = {}
    try:
        found.update((box.kind, box) for box in boxes(body, 0, len(body), left))
    except Truncated:
        at = max((box.end for box in found.values()), default=0)
        if b"mdat" not in found or body[at + 4 : at + 8] in _KNOWN:
            raise  # else what follows does not belong to it
    if b"moov" in found:
        _check_chunks(body, found[b"moov"], left)
    elif b"meta" not in found:
        raise Truncated(f"the {_format(body)} ends at byte {len(body)} before it says what is in it")
    width, height = _still(body, found[b"meta"], left) if b"meta" in found else _film(body, found[b"moov"], left)
    return Picture(_format(body), width, height)


def boxes(body: bytes, start: int, end: int, left: Iterator[None]) -> Iterator[Box]:
    """Give the boxes from `start` to `end`; raises Truncated where one ends beyond."""
    at = start
    while at < end:
        next(left)
        size, head = _number(body, at, 4), 8
        if size == 1:
            size, head = _number(body, at + 8, 8), 16
        elif size == 0:
            size = end - at
        if size < head:
            raise NotAnImage(f"a box of length {size} at byte {at}")
        if at + size > end:
            raise Truncated(f"the box at byte {at} ends beyond byte {end}")
        yield Box(body[at + 4 : at + 8], at + head, at + size)
        at += size


def _format(body: bytes) -> str:
    size = min(int.from_bytes(body[:4], "big"), 1024)
    brands = {body[8:12], *(body[at : at + 4] for at in range(16, min(size, len(body)), 4))}
    return "avif" if brands & _AVIF else "heic" if brands & _HEIC else ""


def _number(body: bytes, at: int, size: int) -> int:
    if at + size > len(body):
        raise Truncated(f"the file ends at byte {len(body)} inside a number")
    return int.from_bytes(body[at : at + size], "big")


# Still images: items (HEIF, 6.2)


def _still(body: bytes, meta: Box, left: Iterator[None]) -> tuple[int, int]:
    """Return the dimensions of the primary item; raises Truncated where an item's data are not there."""
    inside = {box.kind: box for box in boxes(body, meta.start + 4, meta.end, left)}
    if not {b"iloc", b"pitm", b"iprp"} <= inside.keys():
        raise NotAnImage("a file of image boxes without an image")
    idat = inside.get(b"idat")
    _check_items(body, inside[b"iloc"], idat.end - idat.start if idat else 0, left)
    version, at = body[inside[b"pitm"].start], inside[b"pitm"].start + 4
    return _size_of(body, inside[b"iprp"], _number(body, at, 4 if version else 2), left)


def _check_items(body: bytes, iloc: Box, stored: int, left: Iterator[None]) -> None:
    """Check that the extents of every item lie in the file, or in the `stored` bytes of `idat`."""
    version, at = body[iloc.start], iloc.start + 4
    sizes = _number(body, at, 2)
    of_offset, of_length, of_base, of_index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    wide = 4 if version == 2 else 2
    items, at = _number(body, at + 2, wide), at + 2 + wide
    for _ in range(items):
        next(left)
        at += wide
        method = 0
        if version:
            method, at = _number(body, at, 2) & 15, at + 2
        base = _number(body, at + 2, of_base)
        extents, at = _number(body, at + 2 + of_base, 2), at + 4 + of_base
        for _ in range(extents):
            next(left)
            at += of_index if version else 0
            offset, length = _number(body, at, of_offset), _number(body, at + of_offset, of_length)
            at += of_offset + of_length
            if method < 2 and base + offset + length > (len(body) if method == 0 else stored):
                raise Truncated(f"the file ends at byte {len(body)} before its image data")
        if at > iloc.end:
            raise NotAnImage("more items than their table has room for")


def _size_of(body: bytes, iprp: Box, item: int, left: Iterator[None]) -> tuple[int, int]:
    """Return what the property `ispe` of an item says."""
    properties: list[Box] = []
    wanted: list[int] = []
    for box in boxes(body, iprp.start, iprp.end, left):
        if box.kind == b"ipco":
            properties = list(boxes(body, box.start, box.end, left))
        elif box.kind == b"ipma":
            wanted += _properties_of(body, box, item, left)
    for index in wanted:
        if 0 < index <= len(properties) and properties[index - 1].kind == b"ispe":
            start = properties[index - 1].start
            return _number(body, start + 4, 4), _number(body, start + 8, 4)
    return 0, 0


def _properties_of(body: bytes, ipma: Box, item: int, left: Iterator[None]) -> list[int]:
    version, wide = body[ipma.start], body[ipma.start + 3] & 1
    of_item, of_index = 4 if version else 2, 2 if wide else 1
    entries, at = _number(body, ipma.start + 4, 4), ipma.start + 8
    for _ in range(entries):
        next(left)
        number, count = _number(body, at, of_item), _number(body, at + of_item, 1)
        at += of_item + 1
        if number == item:
            return [
                _number(body, at + place * of_index, of_index) & (0x7FFF if wide else 0x7F) for place in range(count)
            ]
        at += count * of_index
    return []


# Sequences: tracks (ISO/IEC 14496-12, 8.3)


def _film(body: bytes, moov: Box, left: Iterator[None]) -> tuple[int, int]:
    """Return the largest dimensions that a track's header says, in 16.16 fixed point at its end."""
    heads = [
        head
        for track in boxes(body, moov.start, moov.end, left)
        if track.kind == b"trak"
        for head in boxes(body, track.start, track.end, left)
        if head.kind == b"tkhd"
    ]
    sizes = [(_number(body, head.end - 8, 4) >> 16, _number(body, head.end - 4, 4) >> 16) for head in heads]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _check_chunks(body: bytes, moov: Box, left: Iterator[None]) -> None:
    """Check that the chunks of all tracks begin in the file."""
    level = [moov]
    for kind in _TO_CHUNKS:
        level = [box for parent in level for box in boxes(body, parent.start, parent.end, left) if box.kind == kind]
    for table in level:
        for box in boxes(body, table.start, table.end, left):
            if box.kind in (b"stco", b"co64"):
                size = 4 if box.kind == b"stco" else 8
                for place in range(_number(body, box.start + 4, 4)):
                    next(left)
                    if _number(body, box.start + 8 + place * size, size) >= len(body):
                        raise Truncated(f"the file ends at byte {len(body)} before its image data")
