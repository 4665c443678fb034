"""What the state knows of tasks: what they are, which wait, and how they ended.

Changes gather in memory and go out in few statements at `flush`; whoever reads flushes first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec import json

from crawler.brokers.identities import Identities
from crawler.brokers.resting import Stock, stocks
from crawler.model import Kind, SourceDetail, decode, encode
from crawler.outcomes import PAGES_READ

_WAITING = """
SELECT w.number, w.kind, w.origin, t.url, w.at, t.detail, w.hops, w.candidate, w.attempts, w.source, w.lost, w.due,
w.known FROM waiting w JOIN tasks t ON t.number = w.number"""

_KNOWN = "t.number, t.source, s.outcome, coalesce(s.run, 0), coalesce(s.result, 0), coalesce(s.kept, 0)"

# In one statement for a stretch each takes a third of the time of one for itself (0.5 and 1.7 µs).
_WAIT = """
INSERT INTO waiting(origin, kind, number, source) SELECT origin, kind, number, source FROM tasks
WHERE number BETWEEN ? AND ?"""


#: A task that waits, in the order of _WAITING.
WaitingRow = tuple[int, int, int, str, str | None, bytes, int, int, int, int, int, float, int]
#: Origin, kind and number: where the row of a waiting task is found.
Place = tuple[int, int, int]


class Known(NamedTuple):
    """A task that is in the state; `outcome` is None while it waits."""

    number: int
    source: int
    outcome: str | None
    run: int  #: the last one that named it
    result: int  #: number of its last result
    kept: int  #: number of the last result by which it can be asked for conditionally, or 0


class Tasks:
    """The tables `tasks` and `waiting`, and what `settled` says of tasks that are named again."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.identities = Identities(db)
        self._next = int(db.execute("SELECT coalesce(max(number), 0) FROM tasks").fetchone()[0]) + 1
        self.forget_gathered()

    def forget_gathered(self) -> None:
        """Forget the changes that were not sent out, and what is in memory of those that were undone."""
        self.identities.forget()
        self._inserted: list[tuple[Any, ...]] = []
        self._fresh: list[list[int]] = []  #: first and last of unbroken stretches of inserted tasks that wait
        self._waits: list[tuple[int, int, int, int, int]] = []
        self._rearmed: list[tuple[int, bytes | None, int, int, int, bool]] = []
        self._touched: list[tuple[int, int]] = []
        self._gone: dict[tuple[int, int], list[int]] = {}

    def flush(self) -> None:
        """Send the gathered changes into the open transaction."""
        many = self._db.executemany
        if self._inserted:
            many("INSERT INTO tasks VALUES(?,?,?,?,?,?,?)", self._inserted)
            many(_WAIT, self._fresh)
            self._inserted.clear()
            self._fresh.clear()
        self.identities.flush()
        if self._rearmed:
            many(
                "UPDATE tasks SET origin = ?, detail = coalesce(?, detail) WHERE number = ?",
                [rearmed[:3] for rearmed in self._rearmed],
            )
            many(
                "UPDATE settled SET before = CASE WHEN run < ? THEN outcome ELSE before END, outcome = NULL, "
                "kept = ?, gone = CASE WHEN ? THEN 0 ELSE gone END WHERE task = ?",
                [(run, known, is_page, number) for _, _, number, run, known, is_page in self._rearmed],
            )
            self._rearmed.clear()
        if self._touched:
            many("UPDATE settled SET run = ? WHERE task = ?", self._touched)
            self._touched.clear()
        if self._waits:
            many("INSERT INTO waiting(origin, kind, number, source, known) VALUES(?,?,?,?,?)", self._waits)
            self._waits.clear()
        if self._gone:
            many("DELETE FROM waiting WHERE origin = ? AND kind = ? AND number BETWEEN ? AND ?", self._stretches())
            self._gone.clear()

    def _stretches(self) -> Iterator[tuple[int, int, int, int]]:
        """Give (origin, kind, first, last) of the unbroken stretches of numbers that wait no longer."""
        for (origin, kind), numbers in self._gone.items():
            numbers.sort()
            first = last = numbers[0]
            for number in numbers:
                if number > last + 1:
                    yield origin, kind, first, last
                    first = number
                last = number
            yield origin, kind, first, last

    # New and known

    def add(self, task: bytes, kind: Kind, origin: int, source: int, url: str, detail: bytes) -> int:
        """Add a task, and return its number; a source is its own source."""
        number = self._next
        self._next += 1
        source = number if kind is Kind.SOURCE else source
        self._inserted.append((number, task, int(kind), origin, source, url, detail))
        self.identities.add(task, number)
        return number

    def insert(self, task: bytes, kind: Kind, origin: int, source: int, url: str, detail: bytes) -> int:
        """Add a task that waits, and return its number."""
        number = self.add(task, kind, origin, source, url, detail)
        if self._fresh and self._fresh[-1][1] == number - 1:
            self._fresh[-1][1] = number
        else:
            self._fresh.append([number, number])
        return number

    @property
    def next_number(self) -> int:
        """Return the number that the next new task has."""
        return self._next

    def insert_all(self, rows: Sequence[tuple[int, bytes, int, int, str, bytes]]) -> bool:
        """Add images that wait, by number (from `next_number` on), id, origin, source, URL and detail.

        Where one of the ids is known, or there twice, none is added: False.
        """
        if not self.identities.add_all([row[1] for row in rows], self._next):
            return False
        kind = int(Kind.IMAGE)
        self._db.executemany(
            f"INSERT INTO tasks(number, id, kind, origin, source, url, detail) VALUES(?,?,{kind},?,?,?,?)", rows
        )
        self._next += len(rows)
        self._db.execute(_WAIT, (rows[0][0], rows[-1][0]))
        return True

    def find(self, task: bytes) -> Known | None:
        """Return the task with this id."""
        return self.find_all([task]).get(task)

    def find_all(self, tasks: Sequence[bytes]) -> dict[bytes, Known]:
        """Return those of these ids that are known; asked for together they take less than half of the time."""
        numbers = self.identities.find(tasks)
        rows = self._db.execute(
            f"SELECT {_KNOWN} FROM tasks t LEFT JOIN settled s ON s.task = t.number "
            "WHERE t.number IN (SELECT value FROM json_each(?))",
            (json.encode(list(numbers.values())),),
        )
        known = {row[0]: Known._make(row) for row in rows}
        return {task: known[number] for task, number in numbers.items() if number in known}

    def source_of(self, number: int) -> int:
        row = self._db.execute("SELECT source FROM tasks WHERE number = ?", (number,)).fetchone()
        return row[0] if row else 0

    # What pages name

    def name(self, page: int, run: int, children: list[int]) -> None:
        """Remember what a page names in a run, beside what was remembered of it in the same run."""
        self._db.execute(
            "INSERT INTO named SELECT ?1, ?2, count(*), ?3 FROM named WHERE page = ?1 AND run = ?2",
            (page, run, encode(children)),
        )

    def forget_named(self, page: int, run: int) -> None:
        """Forget what a page named in other runs than this one."""
        self._db.execute("DELETE FROM named WHERE page = ? AND run <> ?", (page, run))

    def forget_links(self) -> None:
        """Let no page be asked for conditionally, since what it named is no longer what it would be read for."""
        pages = (int(Kind.PAGE),)
        self._db.execute("UPDATE settled SET kept = 0 WHERE task IN (SELECT number FROM tasks WHERE kind = ?)", pages)
        self._db.execute("UPDATE waiting SET known = 0 WHERE kind = ?", pages)

    def named(self, page: int) -> list[int]:
        """Return the numbers of what a page named."""
        rows = self._db.execute("SELECT children FROM named WHERE page = ?", (page,))
        return sorted({number for (children,) in rows for number in decode(children, list[int])})

    def find_numbers(self, numbers: Sequence[int]) -> Iterator[tuple[Kind, str, bytes, Known]]:
        """Give kind, URL, detail and what is known of each of these tasks."""
        rows = self._db.execute(
            f"SELECT t.kind, t.url, t.detail, {_KNOWN} FROM tasks t LEFT JOIN settled s ON s.task = t.number "
            "WHERE t.number IN (SELECT value FROM json_each(?)) ORDER BY t.number",
            (json.encode(numbers),),
        ).fetchall()
        for kind, url, detail, *known in rows:
            yield Kind(kind), url, detail, Known._make(known)

    def unnamed_pages(self, run: int, moment: float) -> list[tuple[str, bytes, Known]]:
        """Return URL, detail and what is known of the pages that were read before `run`, and that it did not name.

        Of those that no run named for some time only the ones that were looked at before `moment`.
        """
        read = ", ".join(f"'{outcome}'" for outcome in sorted(PAGES_READ))
        rows = self._db.execute(
            f"SELECT t.url, t.detail, {_KNOWN} FROM settled s JOIN tasks t ON t.number = s.task "
            f"WHERE t.kind = ? AND s.run < ? AND s.outcome IN ({read}) AND (NOT s.gone OR "
            "(SELECT time FROM parcels WHERE seq <= s.result ORDER BY seq DESC LIMIT 1) < ?)",
            (int(Kind.PAGE), run, moment),
        )
        return [(url, detail, Known._make(known)) for url, detail, *known in rows]

    def unnamed(self, pages: list[int], run: int) -> None:
        """Note that no page names these any more."""
        self._db.executemany("UPDATE settled SET gone = ? WHERE task = ?", [(run, page) for page in pages])

    def found_gone(self, images: list[tuple[int, int]]) -> None:
        """Note which run found an image gone: (run, number)."""
        self._db.executemany("UPDATE settled SET gone = ? WHERE task = ?", images)

    def touch(self, number: int, run: int) -> None:
        """Remember that `run` named this task, which is done."""
        self._touched.append((run, number))

    def rearm(
        self, number: int, kind: Kind, origin: int, source: int, detail: bytes | None, run: int, known: int
    ) -> None:  # fmt: skip
        """Make a done task wait again in `run`; with the result numbered `known`, to be asked for conditionally.

        Without, what was known of it is forgotten.
        """
        self._rearmed.append((origin, detail, number, run, known, kind is Kind.PAGE))
        self._waits.append((origin, int(kind), number, source, known))

    # What waits

    def waiting(self, origin: int, kind: Kind, after: int, limit: int) -> list[WaitingRow]:
        return self._db.execute(
            f"{_WAITING} WHERE w.origin = ? AND w.kind = ? AND w.number > ? ORDER BY w.number LIMIT ?",
            (origin, int(kind), after, limit),
        ).fetchall()

    def waiting_task(self, number: int) -> WaitingRow | None:
        """Return task `number` if it is not done."""
        return self._db.execute(  # type: ignore[no-any-return]
            f"{_WAITING} AND w.origin = t.origin AND w.kind = t.kind WHERE t.number = ?", (number,)
        ).fetchone()

    def waiting_counts(self) -> list[Stock]:
        return stocks(self._db, "waiting", "true")

    def sources(self) -> list[tuple[int, str, SourceDetail]]:
        """Return number, URL and detail of all sources that the job ever had."""
        rows = self._db.execute("SELECT number, url, detail FROM tasks WHERE kind = 0 ORDER BY number")
        return [(number, url, decode(detail, SourceDetail)) for number, url, detail in rows]

    def delay(self, place: Place, attempts: int, due: float) -> None:
        self._db.execute(
            "UPDATE waiting SET attempts = ?, due = ? WHERE origin = ? AND kind = ? AND number = ?",
            (attempts, due, *place),
        )

    def lose(self, losses: Iterable[tuple[int, Place]]) -> None:
        """Record how often the leases of tasks were lost: (times, place)."""
        self._db.executemany(
            "UPDATE waiting SET lost = ? WHERE origin = ? AND kind = ? AND number = ?",
            [(times, *place) for times, place in losses],
        )

    def move(self, place: Place, origin: int, at: str, hops: int, candidate: int) -> None:
        """Let a task wait at another origin."""
        self._db.execute(
            "UPDATE waiting SET origin = ?, at = ?, hops = ?, candidate = ?, due = 0 "
            "WHERE origin = ? AND kind = ? AND number = ?",
            (origin, at, hops, candidate, *place),
        )
        self._db.execute("UPDATE tasks SET origin = ? WHERE number = ?", (origin, place[2]))

    def set_detail(self, number: int, detail: bytes) -> None:
        self._db.execute("UPDATE tasks SET detail = ? WHERE number = ?", (detail, number))

    # What is done

    def gone(self, origin: int, kind: Kind, numbers: list[int]) -> None:
        """Note that tasks of one lane wait no longer."""
        self._gone.setdefault((origin, int(kind)), []).extend(numbers)
