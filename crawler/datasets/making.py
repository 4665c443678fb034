"""A dataset of a job's images: chosen, in order, transformed, written part by part until it is whole."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import NamedTuple

from crawler.datasets.bodies import Bodies
from crawler.datasets.draft import AT_A_TIME, WHOLE, Draft
from crawler.datasets.selection import Selection, caption_of
from crawler.datasets.writers import Item, Writer
from crawler.errors import FetchError
from crawler.images.verify import verify
from crawler.ledger import Kept
from crawler.outcomes import Outcome
from crawler.shards.exif import exif_of
from crawler.transforms.imaging import Transformed
from crawler.transforms.pool import TransformPool
from crawler.transforms.transform import Transform, check_size

#: What Pillow reads, and so what loads a dataset.
LOADED = frozenset({"jpeg", "png", "gif", "webp", "avif", "bmp", "tiff", "ico"})


class _Read(NamedTuple):
    line: Kept
    body: bytes
    error: FetchError | None


def _as_stored(read: _Read) -> Transformed:
    """Return an image as the job has it, which a shard may have transformed."""
    line, body = read.line, read.body
    if line.stored_sha256 and body:
        format, width, height, _ = verify(body)
        return Transformed(body, format, width, height, line.width, line.height)
    return Transformed(body, line.format, line.width, line.height, line.width, line.height)


class Making:
    """Makes a dataset of what is chosen."""

    def __init__(
        self,
        draft: Draft,
        selection: Selection,
        bodies: Bodies,
        writer: Writer,
        transform: Transform,
        pool: TransformPool | None,
        order: Sequence[str],
    ) -> None:
        """`pool` is there where `transform` changes pixels; `order` is that of the kinds of words for captions."""
        self._draft = draft
        self._selection = selection
        self._bodies = bodies
        self._writer = writer
        self._transform = transform
        self._pool = pool
        self._order = order

    def run(self, told: Callable[[int], object], about: dict[str, object]) -> None:
        """Make what is left of it; `told` hears how many more rows are done, `about` is written beside it.

        Raises StoreError where it cannot be written.
        """
        progress = self._draft.progress
        items = self._items(progress.rows)
        for first in items:
            part = self._writer.write(progress.parts, chain([first], items))
            self._draft.place(part.files)
            self._draft.count(part.images, part.failures)
            told(part.images + part.failures)
        self._draft.place(self._writer.finish(progress.parts))
        path = self._draft.folder / "drafts" / WHOLE
        path.write_text(json.dumps({**about, "images": progress.images, "failures": progress.failures}, indent=1))
        self._draft.place([(path, WHOLE)])
        self._draft.end()

    def _items(self, after: int) -> Iterator[Item]:
        lines = (line for _, line in self._selection.lines(after) if isinstance(line, Kept))
        for read, image in self._images(self._reads(lines)):
            yield Item(read.line, caption_of(read.line, self._order), exif_of(read.body), read.error or image)

    def _reads(self, lines: Iterator[Kept]) -> Iterator[_Read]:
        """Read images in their order; those of a bucket some at a time, each of which waits for its answer."""
        if not self._bodies.is_far:
            yield from map(self._read, lines)
            return
        with ThreadPoolExecutor(AT_A_TIME, "read") as pool:
            ahead = deque(pool.submit(self._read, line) for line in islice(lines, 2 * AT_A_TIME))
            while ahead:
                read = ahead.popleft().result()
                ahead.extend(pool.submit(self._read, line) for line in islice(lines, 1))
                yield read

    def _images(self, reads: Iterator[_Read]) -> Iterator[tuple[_Read, Transformed | FetchError]]:
        if self._pool is not None:
            yield from self._pool.map(reads, lambda read: read.body)
            return
        for read in reads:
            yield read, _as_stored(read)

    def _read(self, line: Kept) -> _Read:
        try:
            check_size(line.width, line.height, self._transform)
            if line.format not in LOADED:
                raise FetchError(Outcome.UNWANTED_FORMAT, f"what loads datasets reads no {line.format}")
            body = self._bodies.read(line)
        except FetchError as error:
            return _Read(line, b"", error)
        return _Read(line, body, None)
