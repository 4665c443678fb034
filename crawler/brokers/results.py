"""The results of a job, append-only: parcels of those that are alike, in the order in which they came."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from crawler.account import LedgerPage, LedgerRow
from crawler.brokers.mentions import Mentions
from crawler.brokers.parcels import Current, Parcel, Result, Told
from crawler.brokers.words import LEDGER_PAGE_BYTES, MENTIONS_SHOWN, site_name
from crawler.model import Kind, Known, Stored, decode, encode
from crawler.outcomes import KEPT, PAGES_READ, Outcome

_PARCELS = """
SELECT p.seq, p.run, p.time, w.name, p.body FROM parcels p JOIN workers w ON w.worker = p.worker
WHERE p.seq >= (SELECT coalesce(max(seq), 0) FROM parcels WHERE seq <= ?) ORDER BY p.seq"""
_PARCEL = "SELECT p.run, p.time, w.name, p.body FROM parcels p JOIN workers w ON w.worker = p.worker WHERE p.seq = ?"
_CURRENT = f"""
SELECT number, url, source, result, kept, coalesce(before, ''), CASE WHEN outcome IS NULL THEN 0 ELSE gone END
FROM tasks JOIN settled ON task = number
WHERE number > ? AND kind = {int(Kind.IMAGE)} AND url <> '' ORDER BY number LIMIT ?"""
# One statement for a parcel took less than half of the time of one for each task (0.9 to 2.3 µs a task).
_SETTLE = """
INSERT INTO settled(task, outcome, result, run, kept) SELECT value, ?1, ?2 + key, ?3, ?4 * (?2 + key)
FROM json_each(?5) WHERE true ON CONFLICT DO UPDATE SET outcome = excluded.outcome, result = excluded.result,
run = excluded.run, kept = coalesce(nullif(excluded.kept, 0), kept)"""
#: Outcomes with which something can be asked for conditionally the next time.
_ASKED_AGAIN = KEPT | PAGES_READ
#: Parcels that are kept decoded while what they know is asked for.
_DECODED = 16


_NONE = (0, Told(0, 0.0, ""), Parcel(0, "", [], [], [], []))


class Results:
    """The tables `parcels` and `settled`, and what the ledger shows of them."""

    def __init__(self, db: sqlite3.Connection, mentions: Mentions) -> None:
        self._db = db
        self._mentions = mentions
        self._parcels: list[tuple[int, int, int, float, Parcel]] = []
        self._decoded: dict[int, tuple[Told, Parcel]] = {}
        self._latest = _NONE
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

    def forget_gathered(self) -> None:
        self._parcels.clear()

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

    def page(self, after: int, limit: int) -> LedgerPage:
        """Return up to `limit` results of images that come after number `after`; none only where there are no more."""
        while True:
            page = self._page(after, limit)
            if page.rows or page.cursor == str(after):
                return page
            after = int(page.cursor)

    def _page(self, after: int, limit: int) -> LedgerPage:
        rows: list[LedgerRow] = []
        tasks: list[int] = []
        for seq, told, result in self._after(after):
            after = seq
            if result.kind == Kind.IMAGE:
                tasks.append(result.task)
                rows.append(_row(seq, told, result))
            if len(rows) == limit:
                break
        known = self._known_of(tasks)
        there = [place for place, task in enumerate(tasks) if known[task][0]]  # others are forgotten
        rows, tasks = [rows[place] for place in there], [tasks[place] for place in there]
        size = 0
        for place, (row, task) in enumerate(zip(rows, tasks, strict=True)):
            row.url, last = known[task]
            row.current = last == row.seq
            size += len(row.url) + len(row.result) + len(row.message)
            if size > LEDGER_PAGE_BYTES:
                del rows[place + 1 :]
                after = row.seq
                break
        return LedgerPage(rows, str(after))

    def _known_of(self, tasks: list[int]) -> dict[int, tuple[str, int]]:
        """Return the URL and the number of the last result of each task."""
        rows = self._db.execute(
            f"SELECT number, url, result FROM tasks JOIN settled ON task = number WHERE number IN ({_marks(tasks)})"
        )
        return {number: (url, result) for number, url, result in rows}

    def ledger(self, after: int, limit: int, mentions: int = MENTIONS_SHOWN) -> LedgerPage:
        """Return the results that count, of up to `limit` images whose tasks come after number `after`.

        Each has its first `mentions`.
        """
        found = self._db.execute(_CURRENT, (after, limit)).fetchall()
        last = found[-1][0] if found else after
        said = self._mentions.between(after + 1, last, len(found), mentions)
        sites = self._sites({source for _, _, source, *_ in found})
        rows: list[LedgerRow] = []
        size = 0
        first, told, parcel = _NONE
        for number, url, source, seq, kept, before, gone in found:
            place = seq - first
            if not 0 <= place < len(parcel.tasks):
                first, told, parcel = self._at(seq)
                place = seq - first
            result, message = parcel.bodies[place], parcel.messages[place] if parcel.messages else ""
            row = LedgerRow(
                seq=seq, run=told.run, url=url, outcome=parcel.outcome, message=message, size=parcel.sizes[place],
                time=told.time, worker=told.worker, result=result, current=True,
                before=before, gone=gone, site=sites.get(source, ""),
            )  # fmt: skip
            if number in said:
                row.mentions, row.mentions_total = said[number]
                size += sum([len(page) + len(words) for page, words in row.mentions])
            if kept and kept != seq:
                earlier = self.known(kept)
                row.kept, row.kept_size = earlier.result, earlier.size
                size += len(row.kept)
            rows.append(row)
            after = number
            size += len(url) + len(result) + len(message)
            if size > LEDGER_PAGE_BYTES:
                break
        return LedgerPage(rows, str(after))

    def _sites(self, sources: set[int]) -> dict[int, str]:
        """Return what people call these sources."""
        rows = self._db.execute(f"SELECT number, url, detail FROM tasks WHERE number IN ({_marks(sources)})")
        return {number: site_name(url, detail) for number, url, detail in rows}

    def _after(self, after: int) -> Iterator[tuple[int, Told, Result]]:
        for first, run, time, worker, body in self._db.execute(_PARCELS, (after + 1,)):
            parcel, told = decode(body, Parcel), Told(run, time, worker)
            for place in range(max(after + 1 - first, 0), len(parcel)):
                yield first + place, told, parcel[place]

    def known(self, seq: int) -> Known:
        """Return what the result with this number says, which must be there; those beside it come quickly then."""
        told, result = self._result(seq)
        return Known(told.time, result.size, result.body)

    def message(self, seq: int) -> str:
        """Return the message of the result with this number, which must be there."""
        return self._result(seq)[1].message

    def _result(self, seq: int) -> tuple[Told, Result]:
        first, told, parcel = self._at(seq)
        return told, parcel[seq - first]

    def _at(self, seq: int) -> tuple[int, Told, Parcel]:
        """Return the parcel in which the result with this number lies, and the number of its first."""
        first, _, parcel = self._latest
        if not first <= seq < first + len(parcel.tasks):
            first = self._db.execute("SELECT max(seq) FROM parcels WHERE seq <= ?", (seq,)).fetchone()[0]
            self._latest = first, *(self._decoded.get(first) or self._read(first))
        return self._latest

    def _read(self, first: int) -> tuple[Told, Parcel]:
        """Return a parcel, and keep it decoded for a while."""
        run, time, worker, body = self._db.execute(_PARCEL, (first,)).fetchone()
        found = self._decoded[first] = Told(run, time, worker), decode(body, Parcel)
        if len(self._decoded) > _DECODED:
            del self._decoded[next(iter(self._decoded))]
        return found

    def compact(self, after: int, limit: int, run: int) -> int:
        """Forget what later results replaced in some parcels of runs before `run`.

        Returns the number after which others follow, or 0.
        """
        parcels = self._db.execute(
            "SELECT seq, run, worker, time, body FROM parcels WHERE seq > ? AND run < ? ORDER BY seq LIMIT ?",
            (after, run, limit),
        ).fetchall()
        for first, *of, body in parcels:
            parcel = decode(body, Parcel)
            needed = {
                seq
                for found in self._db.execute(
                    f"SELECT result, kept FROM settled WHERE task IN ({_marks(parcel.tasks)})"
                )
                for seq in found
            }
            places = [place for place in range(len(parcel)) if first + place in needed]
            if len(places) < len(parcel):
                self._db.execute("DELETE FROM parcels WHERE seq = ?", (first,))
                self._db.executemany(
                    "INSERT INTO parcels VALUES(?,?,?,?,?)",
                    [(first + start, *of, encode(parcel.part(start, end))) for start, end in _stretches(places)],
                )
                self._decoded.clear()
                self._latest = _NONE
        return parcels[-1][0] if parcels else 0

    def prune(self, seqs: Iterable[int], run: int, worker: int, now: float) -> int:
        """Note that the files of images that are gone were removed, and return how many images they are."""
        seq_of = {self._result(seq)[1].task: seq for seq in seqs}
        found = self._db.execute(
            "SELECT task, result, outcome FROM settled "
            "WHERE gone AND outcome NOT NULL AND task IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(list(seq_of)),),
        )
        gone = [(task, outcome) for task, result, outcome in found if result == seq_of[task]]
        for task, outcome in gone:
            was = "" if outcome in KEPT else outcome
            self.add(run, worker, now, Result(task, int(Kind.IMAGE), Outcome.PRUNED, was, 0, msgspec.Raw(b"\xc0")))
        self.flush()
        self._db.executemany("UPDATE settled SET kept = 0 WHERE task = ?", [(task,) for task, _ in gone])
        return len(gone)

    def blank(self, seqs: Iterable[int]) -> None:
        """Forget what these results say; their places stay until they are reviewed."""
        self.amend(dict.fromkeys(seqs, msgspec.Raw(b"\xc0")))

    def amend(self, bodies: dict[int, msgspec.Raw]) -> None:
        """Let results, by number, say something else; one that says nothing has no size and no message."""
        for seq, said in sorted(bodies.items()):
            row = self._db.execute("SELECT seq, body FROM parcels WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,))
            first, body = row.fetchone() or (0, b"")
            parcel = decode(body, Parcel) if first else _NONE[2]
            if first <= seq < first + len(parcel):
                place = seq - first
                parcel.bodies[place] = said
                if bytes(said) == b"\xc0":
                    parcel.sizes[place] = 0
                    parcel.messages[place : place + 1] = [""] if parcel.messages else []
                self._db.execute("UPDATE parcels SET body = ? WHERE seq = ?", (encode(parcel), first))
        self._decoded.clear()
        self._latest = _NONE

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
                "SELECT url, source, origin, kept FROM tasks JOIN settled ON task = number "
                "WHERE number = ? AND result = ? AND outcome IS NOT NULL",
                (result.task, seq),
            ).fetchone()
            if task is not None:
                url, source, origin, kept = task
                yield Current(result.task, url, source, origin, result.outcome, run, result.size, kept)


def _row(seq: int, told: Told, result: Result) -> LedgerRow:
    return LedgerRow(
        seq=seq, run=told.run, url="", outcome=result.outcome, message=result.message, size=result.size,
        time=told.time, worker=told.worker, result=result.body, current=False,
    )  # fmt: skip


def _stretches(places: list[int]) -> Iterator[tuple[int, int]]:
    """Give the first place and the one after the last of each unbroken stretch."""
    for _, group in groupby(enumerate(places), lambda at: at[1] - at[0]):
        stretch = [place for _, place in group]
        yield stretch[0], stretch[-1] + 1


def _marks(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
