"""What the state of a job says while nobody runs it."""

from __future__ import annotations

import sqlite3
import threading
from functools import cached_property
from pathlib import Path

import msgspec

from crawler.account import Counts, LedgerPage
from crawler.brokers.mentions import Mentions
from crawler.brokers.records import Records
from crawler.brokers.results import Results
from crawler.brokers.run import Run
from crawler.brokers.schema import open_unchanged
from crawler.brokers.words import mentions_shown
from crawler.errors import StateError, UsageError
from crawler.model import Kind, State, decode
from crawler.spec import Spec

#: The file in a job's directory that holds its state.
STATE_FILE = "queue.sqlite"


def read_spec(path: Path) -> Spec:
    """Return the settings of a job; raises UsageError where there is none, StateError where it cannot be read."""
    if not path.exists():
        raise UsageError(
            f"there is no job {path.parent.name} in {path.parent.parent}; python -m crawler.status lists them"
        )
    records = Records(path)
    try:
        return decode(records.meta("spec"), Spec)
    except (sqlite3.Error, msgspec.MsgspecError, TypeError) as error:
        raise StateError(f"the settings in the state {path} cannot be read: {error}") from error
    finally:
        records.close()


def read_counts(path: Path) -> Counts:
    """Return the numbers of a job that nobody runs, without changing its state; raises StateError."""
    records = Records(path)
    try:
        run = Run(records)
        counts = run.counts(State.FINISHED if run.ended else State.DRAINING)
        for _, kind, _, number, _ in records.tasks.waiting_counts():
            if kind == Kind.PAGE:
                counts.waiting_pages += number
            elif kind == Kind.IMAGE:
                counts.waiting_images += number
        return counts
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise StateError(f"the state {path} cannot be read: {error}") from error
    finally:
        records.close()


class StateReader:
    """Reads the ledger from the state of a job, which may begin to run meanwhile: it takes no lock and changes nothing.

    Each call sees the state as of one moment, and holds on to it no longer, so that a broker's log never grows for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = threading.Lock()
        self._db = open_unchanged(path)
        try:
            self._results = Results(self._db, Mentions(self._db))
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self._db.close()
            raise self._unreadable(error) from error

    def spec(self) -> Spec:
        """Return the settings of the job; raises StateError where it was never begun."""
        try:
            row = self._db.execute("SELECT value FROM meta WHERE key = 'spec'").fetchone()
            if row is not None:
                return decode(row[0], Spec)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise self._unreadable(error) from error
        raise StateError(f"the state {self._path} is of a job that was never begun")

    @cached_property
    def _most(self) -> int:
        return mentions_shown(self.spec())

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        """Return what a broker's `ledger` does."""
        try:
            with self._one_at_a_time:
                self._db.execute("BEGIN")
                try:
                    return self._results.ledger(int(cursor or 0), limit, self._most)
                finally:
                    self._db.rollback()
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        with self._one_at_a_time:  # be it that another thread reads: SQLite would not survive it
            self._db.close()

    def _unreadable(self, error: Exception) -> StateError:
        return StateError(f"the state {self._path} cannot be read: {error}")
