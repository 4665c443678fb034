"""The table `shards`: which numbers workers have for their shards, and which of those are settled."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from crawler.account import ShardRow

_ROWS = """
SELECT s.number, s.run, w.name, s.settled, s.samples, s.failures, s.bytes FROM shards s
JOIN workers w ON w.worker = s.worker ORDER BY s.number"""


#: Shards that one worker may have begun; ours have three or four.
MOST_UNSETTLED = 16


class Shards:
    """Hands out numbers, each once: those of shards that were never settled are gaps."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def issue(self, run: int, worker: int, begun: Collection[int]) -> int:
        """Return a number for a worker that has `begun` these, or -1 where it has begun too many.

        One that it never heard of is given again.
        """
        rows = self._db.execute("SELECT number FROM shards WHERE worker = ? AND settled = 0 ORDER BY number", (worker,))
        unsettled = [int(number) for (number,) in rows]
        for number in unsettled:
            if number not in begun:
                return number
        if len(unsettled) >= MOST_UNSETTLED:
            return -1
        (number,) = self._db.execute("SELECT coalesce(max(number) + 1, 0) FROM shards").fetchone()
        self._db.execute("INSERT INTO shards(number, run, worker) VALUES(?,?,?)", (number, run, worker))
        return int(number)

    def is_settled(self, number: int, worker: int) -> bool | None:
        """Tell whether a worker's shard is settled; None where the number is not the worker's."""
        row = self._db.execute(
            "SELECT settled FROM shards WHERE number = ? AND worker = ?", (number, worker)
        ).fetchone()
        return None if row is None else bool(row[0])

    def settle(self, number: int, now: float, samples: int, failures: int, size: int) -> None:
        self._db.execute(
            "UPDATE shards SET settled = ?, samples = ?, failures = ?, bytes = ? WHERE number = ?",
            (now, samples, failures, size, number),
        )

    def restore(self, row: ShardRow, worker: int) -> None:
        """Take a number for handed out, unless it is known."""
        self._db.execute(
            "INSERT INTO shards(number, run, worker, settled, samples, failures, bytes) VALUES(?,?,?,?,?,?,?) "
            "ON CONFLICT DO NOTHING",
            (row.number, row.run, worker, row.settled, row.samples, row.failures, row.bytes),
        )

    def rows(self) -> list[ShardRow]:
        return [ShardRow(*row) for row in self._db.execute(_ROWS)]
