"""What the broker writes and reads: all of its SQL, in one place.

Changes gather in memory and go out in few statements when `flush` is called, within one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from crawler.model import Kind, LedgerPage, LedgerRow, Outcome, Settlement, SiteCounts, Words, decode

_LOAD = """SELECT number, kind, url, at, detail, hops, candidate, attempts, source, lost, due, origin FROM tasks"""
_RESULTS = """
SELECT r.seq, r.run, t.url, r.outcome, r.message, r.size, r.time, w.name, r.body, t.result = r.seq, r.task
FROM results r JOIN tasks t ON t.number = r.task JOIN workers w ON w.worker = r.worker
WHERE r.seq > ? AND r.kind = 2 ORDER BY r.seq LIMIT ?"""
_MENTIONS = """
SELECT DISTINCT p.url, m.words FROM mentions m JOIN tasks p ON p.number = m.page WHERE m.image = ? LIMIT 20"""

#: Distinct mentions that a row of the ledger shows.
MENTIONS_SHOWN = 20


#: A task as it lies in the state, in the order of _LOAD.
TaskRow = tuple[int, int, str, str | None, bytes, int, int, int, int, int, float, int]


class Records:
    """The state of one job, with the changes that are on their way into it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._done: list[tuple[Any, ...]] = []
        self._results: list[tuple[Any, ...]] = []
        self._inserted: list[tuple[Any, ...]] = []
        self._mentions: list[tuple[Any, ...]] = []
        self._tally: dict[tuple[int, int, int, int, str], list[int]] = {}
        self.next_number = self._largest("tasks", "number") + 1
        self._next_seq = self._largest("results", "seq") + 1

    def _largest(self, table: str, column: str) -> int:
        return int(self.db.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0])

    # One transaction

    def start(self) -> None:
        if not self.db.in_transaction:
            self.db.execute("BEGIN IMMEDIATE")

    def flush(self) -> None:
        """Send the gathered changes into the open transaction."""
        if self._inserted:
            self.db.executemany(
                "INSERT INTO tasks(number, id, kind, origin, source, run, url, detail) VALUES(?,?,?,?,?,?,?,?)",
                self._inserted,
            )
            self._inserted.clear()
        if self._mentions:
            self.db.executemany(
                "INSERT INTO mentions(image, page, words, run) VALUES(?,?,?,?) "
                "ON CONFLICT(image, page, words) DO UPDATE SET run = excluded.run WHERE run <> excluded.run",
                self._mentions,
            )
            self._mentions.clear()
        if self._done:
            self.db.executemany("UPDATE tasks SET outcome = ?, result = ? WHERE number = ?", self._done)
            self.db.executemany("INSERT INTO results VALUES(?,?,?,?,?,?,?,?,?,?)", self._results)
            self._done.clear()
            self._results.clear()
        if self._tally:
            self.db.executemany(
                "INSERT INTO tally VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE "
                "SET count = count + excluded.count, bytes = bytes + excluded.bytes",
                [(*key, *numbers) for key, numbers in self._tally.items()],
            )
            self._tally.clear()

    def commit(self) -> None:
        if self.db.in_transaction:
            self.flush()
            self.db.execute("COMMIT")

    # Tasks

    def insert(self, task: bytes, kind: Kind, origin: int, source: int, run: int, url: str, detail: bytes) -> int:
        number = self.next_number
        self.next_number += 1
        self._inserted.append((number, task, int(kind), origin, source, run, url, detail))
        return number

    def find(self, task: bytes) -> tuple[int, str | None, int] | None:
        """Return number, outcome and run of the task with this id."""
        row = self.db.execute("SELECT number, outcome, run FROM tasks WHERE id = ?", (task,)).fetchone()
        return row and (row[0], row[1], row[2])

    def touch(self, number: int, run: int) -> None:
        """Remember that `run` named this task, which is done."""
        self.db.execute("UPDATE tasks SET run = ? WHERE number = ?", (run, number))

    def rearm(self, number: int, run: int, detail: bytes | None = None) -> None:
        """Make a done task wait again, as if new."""
        self.db.execute(
            "UPDATE tasks SET run = ?, outcome = NULL, attempts = 0, lost = 0, due = 0, at = NULL, hops = 0, "
            "candidate = 0, detail = coalesce(?, detail) WHERE number = ?",
            (run, detail, number),
        )

    def mention(self, image: int, page: int, words: bytes, run: int) -> None:
        self._mentions.append((image, page, words, run))

    def done(
        self, number: int, kind: Kind, run: int, outcome: str, message: str, size: int, now: float, worker: int,
        body: bytes,
    ) -> None:  # fmt: skip
        seq = self._next_seq
        self._next_seq += 1
        self._done.append((outcome, seq, number))
        self._results.append((seq, run, number, kind, outcome, message, size, now, worker, body))

    def images_stored(self, settlements: Sequence[Settlement], run: int, now: float, worker: int) -> None:
        """Note images that succeeded; what `done` notes one by one."""
        first = self._next_seq
        self._next_seq += len(settlements)
        for seq, said in enumerate(settlements, first):
            number = said.number
            self._done.append((Outcome.SUCCESS, seq, number))
            body = bytes(said.result)
            self._results.append((seq, run, number, 2, Outcome.SUCCESS, "", said.size, now, worker, body))

    def count(self, run: int, kind: Kind, source: int, origin: int, outcome: str, number: int, size: int) -> None:
        entry = self._tally.setdefault((run, int(kind), source, origin, outcome), [0, 0])
        entry[0] += number
        entry[1] += size

    def delay(self, number: int, attempts: int, due: float) -> None:
        self.db.execute("UPDATE tasks SET attempts = ?, due = ? WHERE number = ?", (attempts, due, number))

    def lose(self, losses: Iterable[tuple[int, int]]) -> None:
        """Record how often the leases of tasks were lost: (times, number)."""
        self.db.executemany("UPDATE tasks SET lost = ? WHERE number = ?", list(losses))

    def move(self, number: int, at: str, hops: int, candidate: int, origin: int) -> None:
        self.db.execute(
            "UPDATE tasks SET at = ?, hops = ?, candidate = ?, origin = ?, due = 0 WHERE number = ?",
            (at, hops, candidate, origin, number),
        )

    def set_detail(self, number: int, detail: bytes) -> None:
        self.db.execute("UPDATE tasks SET detail = ? WHERE number = ?", (detail, number))

    def waiting(self, origin: int, kind: Kind, after: int, limit: int) -> list[TaskRow]:
        self.flush()
        rows = self.db.execute(
            f"{_LOAD} WHERE origin = ? AND kind = ? AND outcome IS NULL AND number > ? ORDER BY number LIMIT ?",
            (origin, int(kind), after, limit),
        )
        return rows.fetchall()

    def waiting_task(self, number: int) -> TaskRow | None:
        """Return task `number` if it is not done."""
        self.flush()
        return self.db.execute(  # type: ignore[no-any-return]
            f"{_LOAD} WHERE number = ? AND outcome IS NULL", (number,)
        ).fetchone()

    def waiting_counts(self) -> list[tuple[int, int, int, int]]:
        """Return (origin, kind, source, number) of all that is not done."""
        return self.db.execute(
            "SELECT origin, kind, source, count(*) FROM tasks WHERE outcome IS NULL GROUP BY origin, kind, source"
        ).fetchall()

    # Results out

    def ledger(self, after: int, limit: int, mentions: bool) -> LedgerPage:
        rows = [self._ledger_row(row, mentions) for row in self.db.execute(_RESULTS, (after, limit)).fetchall()]
        return LedgerPage(rows, str(rows[-1].seq if rows else after))

    def _ledger_row(self, row: tuple[Any, ...], with_mentions: bool) -> LedgerRow:
        seq, run, url, outcome, message, size, when, worker, body, current, task = row
        shown: list[tuple[str, Words]] = []
        total = 0
        if with_mentions:
            shown = [(page, decode(words, Words)) for page, words in self.db.execute(_MENTIONS, (task,))]
            total = len(shown)
            if total == MENTIONS_SHOWN:
                total = self.db.execute("SELECT count(*) FROM mentions WHERE image = ?", (task,)).fetchone()[0]
        return LedgerRow(
            seq=seq, run=run, url=url, outcome=outcome, message=message, size=size, time=when, worker=worker,
            result=msgspec.Raw(body), current=bool(current), mentions=shown, mentions_total=total,
        )  # fmt: skip

    def current_results(self, seqs: Iterable[int]) -> list[tuple[int, int, int, str, int, int, int]]:
        """Return (task, origin, source, outcome, run, size, result) of those that no later result replaced."""
        marks = ",".join(str(int(seq)) for seq in seqs)
        return self.db.execute(
            "SELECT t.number, t.origin, t.source, r.outcome, r.run, r.size, r.seq FROM results r "
            f"JOIN tasks t ON t.result = r.seq WHERE r.kind = 2 AND t.outcome IS NOT NULL AND r.seq IN ({marks})"
        ).fetchall()

    def sites(self, run: int) -> list[SiteCounts]:
        sites: dict[int, SiteCounts] = {}
        firsts = {
            source: (outcome, message)
            for source, outcome, message in self.db.execute(
                "SELECT source, outcome, message FROM first_pages WHERE run = ?", (run,)
            )
        }
        for number, url in self.db.execute("SELECT number, url FROM tasks WHERE kind = 0"):
            outcome, message = firsts.get(number, ("", ""))
            sites[number] = SiteCounts(url=url, outcomes={}, first_outcome=outcome, first_message=message)
        for source, outcome, number in self.db.execute(
            "SELECT source, outcome, sum(count) FROM tally WHERE run = ? AND kind = 2 GROUP BY source, outcome", (run,)
        ):
            if source in sites:
                sites[source].outcomes[outcome] = number
        return list(sites.values())

    def hosts(self, run: int) -> list[tuple[str, str, int]]:
        """Return (origin, outcome, number) of images, the most frequent first, at most 1,000."""
        return self.db.execute(
            "SELECT o.url, y.outcome, sum(y.count) AS n FROM tally y JOIN origins o ON o.origin = y.origin "
            "WHERE y.run = ? AND y.kind = 2 GROUP BY o.url, y.outcome ORDER BY n DESC LIMIT 1000",
            (run,),
        ).fetchall()

    def totals(self, run: int) -> list[tuple[int, str, int, int]]:
        """Return (kind, outcome, number, bytes) of a run."""
        return self.db.execute(
            "SELECT kind, outcome, sum(count), sum(bytes) FROM tally WHERE run = ? GROUP BY kind, outcome", (run,)
        ).fetchall()

    # Small things by key

    def meta(self, key: str) -> Any:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row and row[0]

    def set_meta(self, key: str, value: Any) -> None:
        self.db.execute("INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def worker_row(self, name: str) -> int:
        self.db.execute("INSERT INTO workers(name) VALUES(?) ON CONFLICT DO NOTHING", (name,))
        return int(self.db.execute("SELECT worker FROM workers WHERE name = ?", (name,)).fetchone()[0])
