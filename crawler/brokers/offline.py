"""What the state of a job says while nobody runs it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from crawler.account import Counts
from crawler.brokers.records import Records
from crawler.brokers.run import Run
from crawler.errors import StateError
from crawler.model import Kind, State


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
