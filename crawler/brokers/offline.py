"""What the state of a job says while nobody runs it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from crawler.account import Counts
from crawler.brokers.records import Records
from crawler.brokers.run import Run
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
    except sqlite3.Error as error:
        raise StateError(f"the state {path} cannot be read: {error}") from error
    finally:
        records.close()
