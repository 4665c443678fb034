"""What feeds a job: a site gives its first page, a list its rows, stretch by stretch."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from crawler.errors import CrawlerError, FetchError
from crawler.model import Found, ImageDetail, Kind, PageDetail, SourceDetail, Task, Words, pack
from crawler.outcomes import Outcome
from crawler.sources.lists import Row, read_list, reading_of
from crawler.urls import MAX_URL, normalise

#: Rows of a list, and characters of them, between two positions that a restart goes on from. With 2,000, a list of
#: 20,000 took 1.63 s, not 1.58.
STRETCH = 4000
#: Rows of the first stretch: workers begin the sooner.
FIRST_STRETCH = 200
MOST_CHARACTERS = 2**21
_UNREADABLE = (OSError, CrawlerError, EOFError, ValueError, zlib.error)


class Feed:
    """Reads sources; keeps the list open that it reads, so that the next stretch costs no new start."""

    def __init__(self) -> None:
        self._path = ""
        self._at = 0
        self._rows: Iterator[Row] = iter(())
        self._broken: Exception | None = None

    def __call__(self, task: Task, detail: SourceDetail) -> tuple[list[Found], int | None, dict[str, int]]:
        """Return what a source names from its cursor on, the new cursor (None: it has ended), and what is no URL.

        Raises FetchError where a list cannot be read.
        """
        if detail.sort != "list":
            sort = "sitemap" if detail.sort == "sitemap" else "page"
            return [Found(Kind.PAGE, task.url, pack(PageDetail(sort=sort, site=detail.name)))], None, {}
        try:
            return self._stretch(detail)
        except _UNREADABLE as error:
            self._path = ""
            raise FetchError(Outcome.UNREADABLE, f"{detail.path}, after row {detail.cursor}: {error}") from error

    def _stretch(self, detail: SourceDetail) -> tuple[list[Found], int | None, dict[str, int]]:
        if (self._path, self._at) != (detail.path, detail.cursor):
            self._rows = read_list(Path(detail.path), reading_of(detail), detail.cursor)
            self._path, self._broken = detail.path, None
        rows_now, ended = self._next_rows(STRETCH if detail.cursor else FIRST_STRETCH)
        self._at = detail.cursor + len(rows_now)
        found, nothing, listed = [], pack(ImageDetail()), Words(found_in="list")
        for number, row in enumerate(rows_now, detail.cursor + 1):
            words = listed
            if row.caption or row.columns or detail.per_row:
                words = Words(
                    found_in="list", caption=row.caption, columns=row.columns, row=number if detail.per_row else 0
                )
            image = pack(ImageDetail(digest=row.digest)) if row.digest else nothing
            # What is no URL goes the same way: the broker settles it as `bad_url`, so that nothing goes unsaid.
            found.append(Found(Kind.IMAGE, normalise(row.url) or _as_it_is(row.url), image, words))
        return found, None if ended else self._at, {}

    def _next_rows(self, most: int) -> tuple[list[Row], bool]:
        """Return the rows of the next stretch, and whether they are the last."""
        rows, size = [], 0
        try:
            if self._broken is not None:
                raise self._broken
            for row in islice(self._rows, most):
                rows.append(row)
                size += len(row.url) + len(row.caption)
                if row.columns:
                    size += sum(map(len, row.columns.values()))
                if size > MOST_CHARACTERS:
                    return rows, False
        except _UNREADABLE as error:
            if not rows:
                raise
            self._broken = error  # what was read before it counts; the next stretch tells
            return rows, False
        return rows, len(rows) < most


def _as_it_is(text: str) -> str:
    """Return what is no URL, so that it still is none when it is cut."""
    return text if len(text) <= MAX_URL else f"too long: {text[:500]}…"
