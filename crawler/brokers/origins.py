"""What the state knows of origins: their robots.txt, and whether they are closed for the rest of a run."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Origin(NamedTuple):
    """A row of `origins`; `robots` and `closed` count only in the run that wrote them."""

    number: int
    url: str
    robots: str | None
    crawl_delay: float
    robots_run: int
    robots_time: float
    closed: str | None
    closed_why: str
    closed_run: int


class Origins:
    """The tables `origins` and `robots`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, url: str) -> Origin:
        """Return the origin `url`, made when it is new."""
        self._db.execute("INSERT INTO origins(url) VALUES(?) ON CONFLICT DO NOTHING", (url,))
        return Origin(*self._db.execute("SELECT * FROM origins WHERE url = ?", (url,)).fetchone())

    def by_number(self, number: int) -> Origin:
        return Origin(*self._db.execute("SELECT * FROM origins WHERE origin = ?", (number,)).fetchone())

    def set_robots(self, number: int, digest: str, text: str, crawl_delay: float, run: int, now: float) -> None:
        self._db.execute("INSERT INTO robots VALUES(?,?) ON CONFLICT DO NOTHING", (digest, text))
        self._db.execute(
            "UPDATE origins SET robots = ?, crawl_delay = ?, robots_run = ?, robots_time = ? WHERE origin = ?",
            (digest, crawl_delay, run, now, number),
        )

    def robots_text(self, digest: str) -> str:
        row = self._db.execute("SELECT text FROM robots WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else ""

    def close(self, number: int, outcome: str, why: str, run: int) -> None:
        self._db.execute(
            "UPDATE origins SET closed = ?, closed_why = ?, closed_run = ? WHERE origin = ?",
            (outcome, why, run, number),
        )
