"""Which task each identity belongs to: the newest are kept in memory, the others in the state.

An identity is a hash, so that new ones lie all over their table: put there as they come, each of ten million would
write a page of its own. Put there sorted, a part of the table at a time, many share one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

#: How many are in memory, beyond which one part after the other is put away; each takes some 150 bytes.
MOST_IN_MEMORY = 2**17
#: One for each first byte.
_PARTS = 256
_KEY = "put_away"
#: Values that one statement may have, whatever the version of SQLite.
_MOST_PARAMETERS = 500


class Identities:
    """The table `identities`, and which of them are not there yet.

    What was in memory when a process ended is found again by the numbers of the tasks: `put_away` in `meta` is one up
    to which all are in the table.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.forget()

    def forget(self) -> None:
        """Forget all that is in memory, which is found again in the state: a transaction was undone."""
        self._parts: list[dict[bytes, int]] = [{} for _ in range(_PARTS)]
        self._in_memory = 0
        self._turn = 0  #: the part that is put away next
        self._latest = self._before_turn = 0
        self._any_put_away = False
        self._is_ready = False

    def _prepare(self) -> None:
        """Put away what is left from the process before this one, once it matters: who only reads changes nothing."""
        if self._is_ready:
            return
        latest = int(self._db.execute("SELECT coalesce(max(number), 0) FROM tasks").fetchone()[0])
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
        before = row[0] if row else 0
        for first in range(before + 1, latest + 1, MOST_IN_MEMORY + 1):  # so many at a time are sorted in memory
            self._db.execute(
                "INSERT OR IGNORE INTO identities "
                "SELECT id, number FROM tasks WHERE number BETWEEN ? AND ? ORDER BY id",
                (first, first + MOST_IN_MEMORY),
            )
        if latest > before:
            self._note(latest)
        self._latest = self._before_turn = latest
        self._any_put_away = bool(latest)
        self._is_ready = True

    def find(self, identities: Iterable[bytes]) -> dict[bytes, int]:
        """Return the numbers of those that are known."""
        self._prepare()
        parts, found, others = self._parts, dict[bytes, int](), list[bytes]()
        for identity in identities:
            number = parts[identity[0]].get(identity)
            if number is None:
                others.append(identity)
            else:
                found[identity] = number
        return found | self._find_put_away(others)

    def _find_put_away(self, identities: Sequence[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        if self._any_put_away:
            for start in range(0, len(identities), _MOST_PARAMETERS):
                some = identities[start : start + _MOST_PARAMETERS]
                marks = ",".join("?" * len(some))
                found.update(self._db.execute(f"SELECT id, number FROM identities WHERE id IN ({marks})", some))
        return found

    def add(self, identity: bytes, number: int) -> None:
        """Note a new one. Raises ValueError where it was noted before and is still in memory."""
        self._prepare()
        part = self._parts[identity[0]]
        if identity in part:
            raise ValueError(f"task {number} is task {part[identity]}")
        part[identity] = self._latest = number
        self._in_memory += 1

    def add_all(self, identities: Sequence[bytes], first: int) -> bool:
        """Note new ones, numbered from `first` on; False where one is known or there twice, and none is noted."""
        self._prepare()
        parts = self._parts
        for identity in identities:
            if identity in parts[identity[0]]:
                return False
        if len(set(identities)) < len(identities) or self._find_put_away(identities):
            return False
        for number, identity in enumerate(identities, first):
            parts[identity[0]][identity] = number
        self._latest = first + len(identities) - 1
        self._in_memory += len(identities)
        return True

    def flush(self) -> None:
        """Put away parts while there are too many in memory."""
        for _ in range(_PARTS):
            if self._in_memory <= MOST_IN_MEMORY:
                break
            part = self._parts[self._turn]
            self._db.executemany("INSERT INTO identities VALUES(?,?)", sorted(part.items()))
            self._any_put_away = True
            self._in_memory -= len(part)
            self._parts[self._turn] = {}
            self._turn = (self._turn + 1) % _PARTS
            if self._turn == 0:  # each part was put away since the turn began, and with it what was there then
                self._note(self._before_turn)
                self._before_turn = self._latest

    def _note(self, number: int) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (_KEY, number)
        )
