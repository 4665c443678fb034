"""The state of one job as the broker writes and reads it: one transaction over all of its tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import MsgspecError

from crawler.brokers.forgetting import Forgetting
from crawler.brokers.mentions import Mentions
from crawler.brokers.origins import Origins
from crawler.brokers.resting import Resting
from crawler.brokers.results import Results
from crawler.brokers.review import Review
from crawler.brokers.schema import open_database
from crawler.brokers.shards import Shards
from crawler.brokers.tally import Tally
from crawler.brokers.tasks import Tasks
from crawler.errors import StateError


class RunRow(NamedTuple):
    """One run of the job; `ended` is 0 until it has."""

    number: int
    began: float
    ended: float
    already_there: int
    concluded: int = 0


class Records:
    """The tables of one job, with the changes that are on their way into them.

    Raises StateError where the file at `path` (None: in memory) cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._db = db = open_database(path)
        try:
            self.tasks = Tasks(db)
            self.resting = Resting(db)
            self.mentions = Mentions(db)
            self.results = Results(db, self.mentions)
            self.origins = Origins(db)
            self.tally = Tally(db)
            self.shards = Shards(db)
            self.review = Review(db, self.results)
            self.forgetting = Forgetting(db, self.tasks.identities, self.results)
            row = db.execute(
                "SELECT run, began, ended, already_there, concluded FROM runs ORDER BY run DESC LIMIT 1"
            ).fetchone()
        except (sqlite3.Error, MsgspecError) as error:
            db.close()
            raise StateError(f"the state {path} cannot be read: {error}") from error
        self.run = RunRow(*row) if row else RunRow(0, 0.0, 0.0, 0)

    def start(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def flush(self) -> None:
        """Send the gathered changes into the open transaction."""
        self.tasks.flush()
        self.mentions.flush()
        self.results.flush()
        self.tally.flush()

    def commit(self) -> None:
        if self._db.in_transaction:
            self.flush()
            self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, with what gathered for it."""
        self._db.rollback()
        for table in (self.tasks, self.mentions, self.results, self.tally):
            table.forget_gathered()

    def close(self) -> None:
        self._db.close()

    def set_run(self, run: RunRow) -> None:
        """Write the latest run as it now stands."""
        self.flush()
        self.run = run
        self._db.execute(
            "INSERT OR REPLACE INTO runs(run, began, ended, already_there, concluded) VALUES(?,?,?,?,?)", run
        )

    def meta(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row and row[0]

    def set_meta(self, key: str, value: Any) -> None:
        self._db.execute("INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def worker_row(self, name: str) -> int:
        self._db.execute("INSERT INTO workers(name) VALUES(?) ON CONFLICT DO NOTHING", (name,))
        return int(self._db.execute("SELECT worker FROM workers WHERE name = ?", (name,)).fetchone()[0])
