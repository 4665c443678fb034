"""What the state knows of tasks that rest: those of sources that came to a limit, until the next run.

Changes of tasks that gather in memory are to be sent out before (`Tasks.flush`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import json

from crawler.model import Kind

_COLUMNS = "origin, kind, number, source, at, hops, candidate, attempts, lost, due, known"


class Stock(NamedTuple):
    """How many tasks of a source wait, or rest, in a lane, and the first of them."""

    origin: int
    kind: int
    source: int
    number: int
    first: int


def stocks(
    db: sqlite3.Connection, table: str, which: str, marks: Sequence[Any] | Mapping[str, Any] = ()
) -> list[Stock]:
    """Return what there is in `table`, `waiting` or `resting`, of the tasks that `which` chooses."""
    rows = db.execute(
        f"SELECT origin, kind, source, count(*), min(number) FROM {table} WHERE {which} GROUP BY origin, kind, source",
        marks,
    )
    return [Stock(*row) for row in rows]


class Resting:
    """The table `resting`, and what goes from it to `waiting` and back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rest(self, sources: Iterable[int], held: Iterable[int]) -> list[Stock]:
        """Let what waits of these sources rest, less what is held, and return what that is."""
        marks = {"sources": json.encode(list(sources)), "held": json.encode(list(held))}
        which = (
            "source IN (SELECT value FROM json_each(:sources)) AND number NOT IN (SELECT value FROM json_each(:held))"
        )
        found = stocks(self._db, "waiting", which, marks)
        self._db.execute(f"INSERT INTO resting SELECT {_COLUMNS} FROM waiting WHERE {which}", marks)
        self._db.execute(f"DELETE FROM waiting WHERE {which}", marks)
        return found

    def wake(self, sources: Iterable[int]) -> list[Stock]:
        """Let what rests of these sources wait again, and return what that is."""
        return self._wake("source IN (SELECT value FROM json_each(?))", json.encode(list(sources)))

    def wake_one(self, number: int) -> list[Stock]:
        """Let a task wait again if it rests."""
        return self._wake("number = ?", number)

    def wake_some(self, source: int, images: int) -> list[Stock]:
        """Let so many images of a source wait again that rest, and all else of it."""
        some = f"SELECT number FROM resting WHERE source = ?1 AND kind = {int(Kind.IMAGE)} ORDER BY number LIMIT ?2"
        return self._wake(f"source = ?1 AND (kind <> {int(Kind.IMAGE)} OR number IN ({some}))", source, images)

    def _wake(self, which: str, *marks: Any) -> list[Stock]:
        numbers = [row[0] for row in self._db.execute(f"SELECT number FROM resting WHERE {which}", marks)]
        if not numbers:
            return []
        those, among = (json.encode(numbers),), "number IN (SELECT value FROM json_each(?))"
        found = stocks(self._db, "resting", among, those)
        self._db.execute(f"INSERT INTO waiting({_COLUMNS}) SELECT {_COLUMNS} FROM resting WHERE {among}", those)
        self._db.execute(f"DELETE FROM resting WHERE {among}", those)
        return found

    def sources(self) -> set[int]:
        return {row[0] for row in self._db.execute("SELECT DISTINCT source FROM resting")}

    def wanted_by_others(self, sources: Iterable[int], resting: Iterable[int], run: int) -> dict[int, int]:
        """Return which images that rest of `sources` a page of a source that does not rest names in `run`.

        Gives the number of that source by the number of the image.
        """
        rows = self._db.execute(
            "SELECT r.number, min(p.source) FROM resting r JOIN mentions m ON m.image = r.number AND m.run = :run "
            "JOIN tasks p ON p.number = m.page WHERE r.source IN (SELECT value FROM json_each(:sources)) "
            f"AND r.kind = {int(Kind.IMAGE)} AND p.source NOT IN (SELECT value FROM json_each(:resting)) "
            "GROUP BY r.number",
            {"sources": json.encode(list(sources)), "resting": json.encode(list(resting)), "run": run},
        )
        return dict(rows.fetchall())

    def hand_over(self, images: dict[int, int]) -> list[Stock]:
        """Let those of these images that rest wait as those of other sources, given by number; return what that is."""
        there = "SELECT number FROM resting WHERE number IN (SELECT value FROM json_each(?))"
        resting = [number for (number,) in self._db.execute(there, (json.encode(list(images)),))]
        of = [(images[number], number) for number in resting]
        self._db.executemany("UPDATE resting SET source = ?1 WHERE number = ?2", of)
        self._db.executemany("UPDATE tasks SET source = ?1 WHERE number = ?2", of)
        return self._wake("number IN (SELECT value FROM json_each(?))", json.encode(resting))
