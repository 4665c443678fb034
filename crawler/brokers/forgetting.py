"""What is not to be fetched any more, and of which nothing is kept but that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from crawler.brokers.identities import Identities
from crawler.brokers.results import Results
from crawler.model import Kind, decode, encode
from crawler.outcomes import Outcome

_KEY = "forgotten"
_UNDONE = ("waiting", "resting")


class Forgotten(msgspec.Struct):
    """Contents (SHA-256, hex), sources (URLs) and URLs (ids, hex) that are not to be fetched.

    The tasks of images that were forgotten with them remember it by themselves.
    """

    contents: list[str] = []
    sites: list[str] = []
    urls: list[str] = []


class Forgetting:
    """Forgets images in the state of a job that nobody runs."""

    def __init__(self, db: sqlite3.Connection, identities: Identities, results: Results) -> None:
        self._db = db
        self._identities = identities
        self._results = results

    def forgotten(self) -> Forgotten:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
        return decode(row[0], Forgotten) if row else Forgotten()

    def refuse(self, more: Forgotten) -> bool:
        """Let these not be fetched any more, and tell whether that was so before."""
        known = self.forgotten()
        both = Forgotten(
            sorted({*known.contents, *more.contents}), sorted({*known.sites, *more.sites}),
            sorted({*known.urls, *more.urls}),
        )  # fmt: skip
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (_KEY, encode(both)))
        return both == known

    def waiting_images(self, sources: Iterable[int]) -> list[int]:
        """Return the numbers of images of these sources that wait or rest."""
        those = (msgspec.json.encode(list(sources)),)
        which = f"kind = {int(Kind.IMAGE)} AND source IN (SELECT value FROM json_each(?))"
        either = (self._db.execute(f"SELECT number FROM {table} WHERE {which}", those) for table in _UNDONE)
        return [number for found in either for (number,) in found]

    def forget(self, numbers: Iterable[int]) -> None:
        """Forget all of these images but the hashes of their URLs, by which they are known when named again."""
        those = (msgspec.json.encode(list(numbers)),)
        which = "IN (SELECT value FROM json_each(?))"
        found = self._db.execute(f"SELECT result, kept FROM settled WHERE task {which}", those).fetchall()
        self._results.blank({seq for row in found for seq in row if seq})
        for table, column in (("waiting", "number"), ("resting", "number"), ("mentions", "image")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} {which}", those)
        self._db.execute(f"UPDATE tasks SET url = '', detail = x'' WHERE number {which}", those)
        self._db.execute(
            "INSERT OR REPLACE INTO settled(task, outcome, result, run) "
            f"SELECT number, '{Outcome.FORGOTTEN}', 0, 0 FROM tasks WHERE number {which}",
            those,
        )

    def number_of(self, identity: bytes) -> int:
        """Return the number of an image's task, made where the job never met it."""
        found = self._identities.find([identity])
        if found:
            return found[identity]
        made = self._db.execute(
            "INSERT INTO tasks SELECT coalesce(max(number), 0) + 1, ?, ?, 0, 0, '', x'' FROM tasks RETURNING number",
            (identity, int(Kind.IMAGE)),
        )
        (number,) = made.fetchone()
        self._identities.add(identity, number)
        return int(number)

    def is_forgotten(self, identity: bytes) -> bool:
        """Tell whether the image with this id is forgotten."""
        number = self._identities.find([identity]).get(identity)
        found = self._db.execute("SELECT 1 FROM tasks WHERE number = ? AND url = '' AND kind = 2", (number,))
        return found.fetchone() is not None
