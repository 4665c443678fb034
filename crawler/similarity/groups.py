"""Groups of images whose perceptual hashes are near each other, over a whole job.

Two images are alike within a distance where at most so many bits differ, and at most half as many among the coarser
64 of the 128, of the two whole pictures or of the one whole and the other's middle. From the largest image on, each
that is like a kept one is dropped for the largest such; all others are kept. So everything dropped is like what it was
dropped for, no two that are kept are alike, and a chain of pictures that change step by step does not become one group.

Candidates are found by equal bands: where at most r of 64 bits differ, of r + c bands at least c are equal. For each
choice of c bands the hashes are sorted by these, and neighbours compared; c grows with the number of hashes, so that
few are neighbours by chance. Where more than `_WINDOW` share their bands, each is compared with so many before it and
with the largest, and of more than `_WINDOW` larger images that are like it the largest are remembered. So time and
memory stay linear with a million hashes that are nearly the same; then two that are kept may be alike.
"""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from crawler.errors import StateError, UsageError
from crawler.similarity.hashing import DIGITS

if TYPE_CHECKING:
    import numpy

    Words: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.uint64]]
    Entries: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.uint32]]
    Counts: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]
    Places: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.intp]]

#: How many bits may differ: with 20, 90% instead of 84% of crops are found, and a third more icons taken for another.
DISTANCE = 16
MOST_DISTANCE = 32
_WINDOW = 16
_WORD = 64
_WORDS = DIGITS * 4 // _WORD
#: Choices of bands at most, and the bits beyond which neighbours by chance are few: log2(hashes) less these.
_MOST_CHOICES = 1000
_SPARE_BITS = 2
#: Odd and of irregular bits (2^64 by the golden ratio): a product with it spreads the bits of the bands upward.
_SPREAD = 0x9E3779B97F4A7C15
#: Pairs that are held before those of each image that do not count are let go.
_MOST_PAIRS = 4_000_000


class Row(NamedTuple):
    """An image: `number` tells it from all others, and which of two comes first where their sizes are the same."""

    number: int
    hash: str
    pixels: int
    size: int


class Dropped(Mapping[int, int]):
    """The number of each row that is dropped, with the number of the one that is kept in its place."""

    def __init__(self, numbers: array[int], kept: array[int]) -> None:
        """Take what is dropped, by rising numbers, and what is kept for each."""
        self._numbers, self._kept = numbers, kept

    def __getitem__(self, number: int) -> int:
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            raise KeyError(number)
        return self._kept[place]

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def groups(rows: Iterable[Row], distance: int = DISTANCE) -> Dropped:
    """Return which images are dropped, each for the largest kept one that it is like, in whatever order rows come.

    Images without a hash are left alone. The largest has most pixels, then most bytes, then the lowest number (which is
    not negative). Holds about 250 bytes for each image. A distance of more than 16 is for jobs of up to some 10^5
    images: in larger ones too many share their bands, and some are missed. Raises UsageError for a distance that is not
    0 to `MOST_DISTANCE` and where numpy is missing, StateError for what is no hash.
    """
    if not 0 <= distance <= MOST_DISTANCE:
        raise UsageError(f"--distance: {distance} is not between 0 and {MOST_DISTANCE}")
    try:
        import numpy
    except ImportError as error:
        raise UsageError(
            "--dedupe perceptual needs numpy: pip install 'distributed-image-crawler[datasets]'"
        ) from error
    numbers, hashes = _loaded(rows)
    first = _first(hashes)
    places = numpy.arange(len(numbers))
    distinct = numpy.flatnonzero(first == places)
    kept = first
    if len(distinct) > 1:
        kept_for = places.copy()
        kept_for[distinct] = distinct[_kept(_alike(hashes[distinct], distance), len(distinct))]
        kept = kept_for[first]
    dropped = numpy.flatnonzero(kept != places)
    dropped = dropped[numpy.argsort(numbers[dropped])]
    return Dropped(*(array("Q", numbers[which].tobytes()) for which in (dropped, kept[dropped])))


def _loaded(rows: Iterable[Row]) -> tuple[Words, Words]:
    """Return the numbers and the hashes of all that have one, the largest image first."""
    import numpy

    bits, columns = bytearray(), (array("Q"), array("Q"), array("Q"))
    for row in rows:
        if row.hash:
            bits += _bits(row)
            for column, value in zip(columns, (row.number, row.pixels, row.size), strict=True):
                column.append(value)
    numbers, pixels, sizes = (numpy.frombuffer(column, dtype=numpy.uint64) for column in columns)
    order = numpy.lexsort((numbers, ~sizes, ~pixels))
    hashes = numpy.frombuffer(bits, dtype=">u8").reshape(-1, _WORDS)
    return numbers[order], hashes[order].astype(numpy.uint64)


def _bits(row: Row) -> bytes:
    try:
        bits = bytes.fromhex(row.hash)
    except ValueError:
        bits = b""
    if len(bits) * 2 != DIGITS:
        raise StateError(f"row {row.number}: {row.hash[: 2 * DIGITS]!r} is no perceptual hash of {DIGITS} digits")
    return bits


def _first(hashes: Words) -> Places:
    """Return for each row which is the first with its hash."""
    import numpy

    order = numpy.lexsort(hashes.T)
    in_order = hashes[order]
    begins = numpy.ones(len(order), dtype=bool)
    begins[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    first = numpy.empty(len(order), dtype=numpy.intp)
    first[order] = order[begins][numpy.cumsum(begins) - 1]
    return first


def _kept(pairs: Words, count: int) -> Places:
    """Return for each image, the largest first, which is kept for it; `pairs` are of a smaller and a larger one."""
    import numpy

    kept = array("q", range(count))
    for smaller, larger in zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True):
        if kept[smaller] == smaller and kept[larger] == larger:
            kept[smaller] = larger
    return numpy.frombuffer(kept, dtype=numpy.int64)


def _alike(hashes: Words, distance: int) -> Words:
    """Return the pairs of images that are alike, sorted: the smaller one in the upper half of a word."""
    import numpy

    coarse = hashes[:, ::2].reshape(-1)  # of each image the whole, then the middle
    fine = hashes[:, 1::2].reshape(-1)
    found: list[Words] = []
    held, most = 0, _MOST_PAIRS
    for mask in _masks(distance // 2, len(coarse)):
        for smaller, larger, differing in _neighbours(coarse, mask, distance // 2):
            near = differing + numpy.bitwise_count(fine[smaller] ^ fine[larger]) <= distance
            near &= (smaller >> 1 != larger >> 1) & ((smaller & larger & 1) == 0)
            found.append((smaller[near] >> 1).astype(numpy.uint64) << 32 | larger[near] >> 1)
            held += len(found[-1])
            if held > most:
                found = [_counting(found)]
                held = len(found[0])
                most = max(_MOST_PAIRS, 2 * held)
    return _counting(found)


def _masks(radius: int, count: int) -> Iterator[int]:
    """Yield the bits that are compared, for each choice of bands."""
    enough = math.log2(count) - _SPARE_BITS
    equal = 1
    while _WORD * equal / (radius + equal) < enough and math.comb(radius + equal + 1, equal + 1) <= _MOST_CHOICES:
        equal += 1
    bands = radius + equal
    edges = [_WORD * band // bands for band in range(bands + 1)]
    each = [(1 << end) - (1 << start) for start, end in itertools.pairwise(edges)]
    return (sum(choice) for choice in itertools.combinations(each, equal))


def _neighbours(coarse: Words, mask: int, radius: int) -> Iterator[tuple[Entries, Entries, Counts]]:
    """Yield pairs that are equal in the bits of a mask, and in how many bits they differ: at most `radius`."""
    import numpy

    order, starts = _sorted_by(coarse, mask)
    coarse = coarse[order]
    places = numpy.flatnonzero(starts < numpy.arange(len(starts)))
    for offset in range(1, _WINDOW + 2):
        others = places - offset if offset <= _WINDOW else starts[places]
        differing = numpy.bitwise_count(coarse[places] ^ coarse[others])
        near = differing <= radius
        yield order[places[near]], order[others[near]], differing[near]
        places = places[starts[places] < others]


def _sorted_by(coarse: Words, mask: int) -> tuple[Entries, Entries]:
    """Return the hashes' order by the bits of a mask, and for each place where the run of those equal to it starts."""
    import numpy

    index_bits = (len(coarse) - 1).bit_length()
    keys = coarse & numpy.uint64(mask)
    keys *= numpy.uint64(_SPREAD)
    keys >>= numpy.uint64(index_bits)
    keys <<= numpy.uint64(index_bits)
    keys |= numpy.arange(len(coarse), dtype=numpy.uint64)
    keys.sort()
    order = (keys & numpy.uint64((1 << index_bits) - 1)).astype(numpy.uint32)
    keys >>= numpy.uint64(index_bits)
    starts = numpy.arange(len(coarse), dtype=numpy.uint32)
    starts[1:][keys[1:] == keys[:-1]] = 0
    return order, numpy.maximum.accumulate(starts)


def _counting(found: list[Words]) -> Words:
    """Return pairs sorted, each once, and of each smaller image those with the `_WINDOW` largest."""
    import numpy

    if not found:
        return numpy.empty(0, dtype=numpy.uint64)
    pairs = numpy.concatenate(found)
    pairs.sort()
    pairs = pairs[numpy.diff(pairs, prepend=~pairs[:1]) != 0]
    smaller = pairs >> 32
    counts = numpy.ones(len(pairs), dtype=bool)
    counts[_WINDOW:] = smaller[_WINDOW:] != smaller[:-_WINDOW]
    counting: Words = pairs[counts]
    return counting
