"""The results of a job, append-only: parcels of those that are alike, in the order in which they came."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from crawler.brokers.words import LEDGER_PAGE_BYTES, MENTIONS_SHOWN
from crawler.model import Kind, Known, LedgerPage, LedgerRow, Message, Stored, decode, encode
from crawler.outcomes import KEPT, PAGES_READ

_PARCELS = """
SELECT p.seq, p.run, p.time, w.name, p.body FROM parcels p JOIN workers w ON w.worker = p.worker
WHERE p.seq >= (SELECT coalesce(max(seq), 0) FROM parcels WHERE seq <= ?) ORDER BY p.seq"""
_MENTIONS = """
SELECT m.image, p.url, m.words FROM mentions m JOIN tasks p ON p.number = m.page WHERE m.image IN ({}) LIMIT {}"""
# One statement for a parcel took less than half of the time of one for each task (0.9 to 2.3 µs a task).
_SETTLE = """
INSERT INTO settled(task, outcome, result, run, kept) SELECT value, ?1, ?2 + key, ?3, ?4 * (?2 + key)
FROM json_each(?5) WHERE true ON CONFLICT DO UPDATE SET outcome = excluded.outcome, result = excluded.result,
run = excluded.run, kept = coalesce(nullif(excluded.kept, 0), kept)"""
#: Outcomes with which something can be asked for conditionally the next time.
_ASKED_AGAIN = KEPT | PAGES_READ
#: Parcels that are kept decoded while what they know is asked for.
_DECODED = 16


class Result(NamedTuple):
    """One result; its sequence number is its parcel's and its place there."""

    task: int
    kind: int
    outcome: str
    message: str
    size: int
    body: msgspec.Raw


class Parcel(Message):
    """Results of one kind and outcome, in columns; `messages` is empty where none of them has one."""

    kind: int
    outcome: str
    tasks: list[int]
    sizes: list[int]
    bodies: list[msgspec.Raw]
    messages: list[str]

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, place: int) -> Result:
        message = self.messages[place] if self.messages else ""
        return Result(self.tasks[place], self.kind, self.outcome, message, self.sizes[place], self.bodies[place])


class Current(NamedTuple):
    """A result of an image that no later one replaced."""

    task: int
    url: str
    source: int
    origin: int
    outcome: str
    run: int
    size: int


class Results:
    """The tables `parcels` and `settled`, and what the ledger shows of them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._parcels: list[tuple[int, int, int, float, Parcel]] = []
        self._decoded: dict[int, tuple[float, Parcel]] = {}
        last = db.execute("SELECT seq, body FROM parcels ORDER BY seq DESC LIMIT 1").fetchone()
        self._next = last[0] + len(decode(last[1], Parcel)) if last else 1

    def add(self, run: int, worker: int, now: float, result: Result) -> None:
        parcel = self._parcel(run, worker, now, result)
        parcel.tasks.append(result.task)
        parcel.sizes.append(result.size)
        parcel.bodies.append(result.body)
        parcel.messages.append(result.message)
        self._next += 1

    def add_stored(self, run: int, worker: int, now: float, outcome: str, stored: Stored) -> None:
        """Note the results of stored images."""
        parcel = Parcel(int(Kind.IMAGE), outcome, stored.numbers, stored.sizes, stored.results, [])
        self._parcels.append((self._next, run, worker, now, parcel))
        self._next += len(stored.numbers)

    def _parcel(self, run: int, worker: int, now: float, result: Result) -> Parcel:
        """Return the open parcel that a result belongs into, or a new one."""
        if self._parcels:
            _, *of, last = self._parcels[-1]
            if (
                of == [run, worker, now]
                and (last.kind, last.outcome) == (result.kind, result.outcome)
                and last.messages
            ):
                return last
        parcel = Parcel(result.kind, result.outcome, [], [], [], [])
        self._parcels.append((self._next, run, worker, now, parcel))
        return parcel

    def flush(self) -> None:
        """Send the gathered parcels into the open transaction."""
        if self._parcels:
            self._db.executemany(
                "INSERT INTO parcels VALUES(?,?,?,?,?)",
                [(*parcel[:4], encode(parcel[4])) for parcel in self._parcels],
            )
            self._db.executemany(
                _SETTLE,
                [
                    (parcel.outcome, seq, run, parcel.outcome in _ASKED_AGAIN, msgspec.json.encode(parcel.tasks))
                    for seq, run, _, _, parcel in self._parcels
                ],
            )
            self._parcels.clear()

    def page(self, after: int, limit: int, mentions: bool) -> LedgerPage:
        """Return up to `limit` results of images that come after number `after`."""
        rows: list[LedgerRow] = []
        tasks: list[int] = []
        for seq, run, time, worker, result in self._after(after):
            after = seq
            if result.kind == Kind.IMAGE:
                tasks.append(result.task)
                rows.append(
                    LedgerRow(
                        seq=seq,
                        run=run,
                        url="",
                        outcome=result.outcome,
                        message=result.message,
                        size=result.size,
                        time=time,
                        worker=worker,
                        result=result.body,
                        current=False,
                    )
                )
            if len(rows) == limit:
                break
        fitting = self._complete(rows, tasks, mentions)
        if fitting < len(rows):
            del rows[fitting:]
            after = rows[-1].seq
        return LedgerPage(rows, str(after))

    def _after(self, after: int) -> Iterator[tuple[int, int, float, str, Result]]:
        for first, run, time, worker, body in self._db.execute(_PARCELS, (after + 1,)):
            parcel = decode(body, Parcel)
            for place in range(max(after + 1 - first, 0), len(parcel)):
                yield first + place, run, time, worker, parcel[place]

    def _complete(self, rows: list[LedgerRow], tasks: list[int], mentions: bool) -> int:
        """Give rows what tasks and mentions know, and return how many of them fit into one message."""
        size = 0
        known = {
            number: rest
            for number, *rest in self._db.execute(
                "SELECT number, url, result, kept FROM tasks JOIN settled ON task = number "
                f"WHERE number IN ({_marks(tasks)})"
            )
        }
        shown, totals = self._mentions(tasks) if mentions else ({}, {})
        for fitting, (row, task) in enumerate(zip(rows, tasks, strict=True), 1):
            row.url, result, kept = known[task]
            row.current = result == row.seq
            if row.current and kept and kept != result:
                before = self.known(kept)
                row.kept, row.kept_size = before.result, before.size
            row.mentions, row.mentions_total = shown.get(task, []), totals.get(task, 0)
            size += len(row.result) + len(row.kept) + len(row.url) + len(row.message)
            size += sum([len(page) + len(words) for page, words in row.mentions])
            if size > LEDGER_PAGE_BYTES:
                return fitting
        return len(rows)

    def _mentions(self, tasks: list[int]) -> tuple[dict[int, list[tuple[str, msgspec.Raw]]], dict[int, int]]:
        """Return the first mentions of each task, and how many it has."""
        totals = dict(
            self._db.execute(f"SELECT image, count(*) FROM mentions WHERE image IN ({_marks(tasks)}) GROUP BY image")
        )
        often = [task for task, total in totals.items() if total > MENTIONS_SHOWN]
        shown: dict[int, list[tuple[str, msgspec.Raw]]] = {}
        for together in (totals.keys() - often, *((task,) for task in often)):
            most = MENTIONS_SHOWN * len(together)
            for task, page, words in self._db.execute(_MENTIONS.format(_marks(together), most)):
                shown.setdefault(task, []).append((page, msgspec.Raw(words)))
        return shown, totals

    def known(self, seq: int) -> Known:
        """Return what the result with this number says, which must be there; those beside it come quickly then."""
        time, result = self._result(seq)
        return Known(time, result.size, result.body)

    def message(self, seq: int) -> str:
        """Return the message of the result with this number, which must be there."""
        return self._result(seq)[1].message

    def _result(self, seq: int) -> tuple[float, Result]:
        first = self._db.execute("SELECT max(seq) FROM parcels WHERE seq <= ?", (seq,)).fetchone()[0]
        found = self._decoded.get(first)
        if found is None:
            time, body = self._db.execute("SELECT time, body FROM parcels WHERE seq = ?", (first,)).fetchone()
            found = self._decoded[first] = (time, decode(body, Parcel))
            if len(self._decoded) > _DECODED:
                del self._decoded[next(iter(self._decoded))]
        time, parcel = found
        return time, parcel[seq - first]

    def time_of(self, seq: int) -> float:
        """Return when the result with this number was told; 0 where there is none."""
        row = self._db.execute("SELECT time FROM parcels WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,)).fetchone()
        return row[0] if row else 0.0

    def told_by(self, task: int) -> str:
        """Return the name of the worker that told the last result of a task."""
        row = self._db.execute(
            "SELECT w.name FROM settled s "
            "JOIN parcels p ON p.seq = (SELECT max(seq) FROM parcels WHERE seq <= s.result) "
            "JOIN workers w ON w.worker = p.worker WHERE s.task = ?",
            (task,),
        ).fetchone()
        return row[0] if row else ""

    def current(self, seqs: Iterable[int]) -> Iterator[Current]:
        """Give the results of images among `seqs` that no later result replaced."""
        first, run, parcel = 0, 0, Parcel(0, "", [], [], [], [])
        for seq in sorted(seqs):
            if not first <= seq < first + len(parcel):
                row = self._db.execute(
                    "SELECT seq, run, body FROM parcels WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,)
                ).fetchone()
                if row is None:
                    continue
                first, run, parcel = row[0], row[1], decode(row[2], Parcel)
            if seq >= first + len(parcel) or parcel.kind != Kind.IMAGE:
                continue
            result = parcel[seq - first]
            task = self._db.execute(
                "SELECT url, source, origin FROM tasks JOIN settled ON task = number "
                "WHERE number = ? AND result = ? AND outcome IS NOT NULL",
                (result.task, seq),
            ).fetchone()
            if task is not None:
                url, source, origin = task
                yield Current(result.task, url, source, origin, result.outcome, run, result.size)


def _marks(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
