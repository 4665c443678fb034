"""What the state knows of mentions: which pages name an image, and with which words.

Changes gather in memory and go out in few statements at `flush`; whoever reads flushes first.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from crawler.brokers.words import MENTIONS_SHOWN, shown_of

#: The first mentions of each image (page and packed Words), and how many it has.
Said: TypeAlias = "dict[int, tuple[list[tuple[str, msgspec.Raw]], int]]"

_SAID = "SELECT m.image, p.url, m.words FROM mentions m JOIN tasks p ON p.number = m.page WHERE {} LIMIT {}"


class Mentions:
    """The table `mentions`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._added: list[tuple[Any, ...]] = []

    def forget_gathered(self) -> None:
        self._added.clear()

    def flush(self) -> None:
        """Send the gathered changes into the open transaction."""
        if self._added:
            self._db.executemany(
                "INSERT INTO mentions(image, page, words, run) VALUES(?,?,?,?) "
                "ON CONFLICT(image, page, words) DO UPDATE SET run = excluded.run WHERE run <> excluded.run",
                self._added,
            )
            self._added.clear()

    def add(self, image: int, page: int, words: bytes, run: int) -> None:
        self._added.append((image, page, words, run))

    def add_all(self, first: int, page: int, words: Sequence[bytes], run: int) -> None:
        """Note that a page mentions new images that are in the state, numbered from `first` on, each with its words."""
        if words.count(words[0]) < len(words):
            self._added += [(image, page, said, run) for image, said in enumerate(words, first)]
        else:
            self._db.execute(
                "INSERT INTO mentions(image, page, words, run) "
                "SELECT number, ?, ?, ? FROM tasks WHERE number BETWEEN ? AND ?",
                (page, words[0], run, first, first + len(words) - 1),
            )

    def renew(self, page: int, images: Sequence[int], run: int) -> None:
        """Note that a page mentions these images in `run` as it did before."""
        self._db.execute(
            "UPDATE mentions SET run = ? WHERE image IN (SELECT value FROM json_each(?)) AND page = ?",
            (run, msgspec.json.encode(images), page),
        )

    def first_of(self, images: list[int], most: int = MENTIONS_SHOWN) -> dict[int, list[tuple[str, msgspec.Raw]]]:
        """Return the first mentions of each image, so many at most: page and packed Words."""
        first, last = min(images), max(images)
        which = f"BETWEEN {first} AND {last}" if last - first < len(images) else f"IN ({_marks(images)})"
        said = self._said(f"image {which}", len(images), most)
        return {image: shown for image, (shown, _) in said.items()}

    def between(self, first: int, last: int, images: int, most: int) -> Said:
        """Return the first mentions of each image in a stretch that has so many, and their number."""
        return self._said(f"image BETWEEN {first} AND {last}", images, most)

    def _said(self, which: str, images: int, most: int) -> Said:
        bound = MENTIONS_SHOWN * images
        rows = self._db.execute(f"SELECT image, page, words FROM mentions WHERE {which} LIMIT {bound + 1}").fetchall()
        if len(rows) > bound:
            return self._counted(which, most)
        urls = dict(self._db.execute(f"SELECT number, url FROM tasks WHERE number IN ({_marks({r[1] for r in rows})})"))
        totals = Counter([image for image, _, _ in rows])
        shown: dict[int, list[tuple[str, msgspec.Raw]]] = {image: [] for image in totals}
        for image, page, words in rows:
            if page in urls:  # no page names what a stock client puts
                shown[image].append((urls[page], msgspec.Raw(words)))
        for image in [image for image, total in totals.items() if total > MENTIONS_SHOWN]:
            shown[image] = shown_of(shown[image], most)
        return {image: (shown[image], total) for image, total in totals.items()}

    def _counted(self, which: str, most: int) -> Said:
        """Return the same where some image may have more mentions than are to be read."""
        totals = dict(self._db.execute(f"SELECT image, count(*) FROM mentions WHERE {which} GROUP BY image"))
        often = [image for image, total in totals.items() if total > MENTIONS_SHOWN]
        shown: dict[int, list[tuple[str, msgspec.Raw]]] = {}
        few = f"{which} AND image NOT IN ({_marks(often)})" if often else which
        for image, page, words in self._db.execute(_SAID.format(few, MENTIONS_SHOWN * len(totals))):
            shown.setdefault(image, []).append((page, msgspec.Raw(words)))
        for image in often:
            rows = self._db.execute(_SAID.format(f"image = {image}", most))
            shown[image] = shown_of(((page, msgspec.Raw(words)) for _, page, words in rows), most)
        return {image: (shown.get(image, []), total) for image, total in totals.items()}


def _marks(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
