"""What the broker keeps in memory: the lanes of waiting tasks, and who holds which.

A lane is one origin. It loads its tasks from the state in small stretches, so that memory grows with origins and held
tasks, never with what waits.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from crawler.brokers.pace import Pace
from crawler.model import Grant, Kind, Task

#: Tasks of a lane loaded at a time.
STRETCH = 512


@dataclass(slots=True, eq=False)
class Pending:
    """A task that is not done and is in memory: loaded, delayed or held."""

    task: Task
    source: int
    lane: Lane
    lost: int = 0
    holder: str = ""
    named: float = 0.0

    @property
    def alone(self) -> bool:
        """Its lease was lost twice: it may be what kills workers, and is given out by itself."""
        return self.lost >= 2


@dataclass(slots=True)
class Queue:
    """The waiting tasks of one kind in a lane; `waiting` counts those in the state too, less what is held."""

    waiting: int = 0
    cursor: int = 0
    loaded: deque[Pending] = field(default_factory=deque)
    delayed: list[tuple[float, int, Pending]] = field(default_factory=list)
    in_rotation: bool = False

    def put_back(self, pending: Pending, due: float = 0.0, *, last: bool = False) -> None:
        self.waiting += 1
        if due:
            heapq.heappush(self.delayed, (due, pending.task.number, pending))
        elif last:
            self.loaded.append(pending)
        else:
            self.loaded.appendleft(pending)

    def wake(self, now: float) -> None:
        """Move what is due to the front."""
        while self.delayed and self.delayed[0][0] <= now:
            self.loaded.appendleft(heapq.heappop(self.delayed)[2])

    def remove(self, pending: Pending) -> None:
        """Take out a task that waits here but is now held or done."""
        self.waiting -= 1
        if pending in self.loaded:
            self.loaded.remove(pending)
        else:
            self.delayed = [entry for entry in self.delayed if entry[2] is not pending]
            heapq.heapify(self.delayed)


@dataclass(slots=True, eq=False)
class Lane:
    """One origin: its queues, its pace (shared by http and https), and what its robots.txt says."""

    number: int
    origin: str
    authority: str
    pace: Pace
    queues: dict[Kind, Queue] = field(default_factory=dict)
    robots: str | None = None  #: digest of the text; None until it is known
    robots_time: float = 0.0
    robots_asked: bool = False
    robots_attempts: int = 0
    closed: str = ""  #: outcome of all its tasks for the rest of the run
    closed_why: str = ""

    def queue(self, kind: Kind) -> Queue:
        queue = self.queues.get(kind)
        if queue is None:
            queue = self.queues[kind] = Queue()
        return queue

    def waits(self, kind: Kind) -> bool:
        queue = self.queues.get(kind)
        return queue is not None and queue.waiting > 0


@dataclass(slots=True)
class Allowance:
    """How many tasks of a host a worker may hold; doubled while it uses them up quickly."""

    tasks: int
    given: float

    def revise(self, held: int, least: int, now: float) -> None:
        if held <= self.tasks // 2:
            elapsed = now - self.given
            if elapsed < 1.0:
                self.tasks = min(self.tasks * 2, 8192)
            elif elapsed > 4.0:
                self.tasks = max(self.tasks // 2, least)
            self.given = now


@dataclass(slots=True)
class Worker:
    """One process that exchanges: what it holds and what it was last told."""

    name: str
    row: int
    pages: bool
    reported: float
    serial: int = 0
    held: dict[int, Pending] = field(default_factory=dict)
    held_at: dict[str, int] = field(default_factory=dict)  #: number of held tasks by authority
    allowances: dict[str, Allowance] = field(default_factory=dict)
    granted: dict[str, Grant] = field(default_factory=dict)
    waits_for_alone: bool = False
    told: bool = False  #: that the run is over or the broker stops

    def take(self, pending: Pending, now: float) -> None:
        pending.holder = self.name
        pending.named = now
        self.held[pending.task.number] = pending
        authority = pending.lane.authority
        self.held_at[authority] = self.held_at.get(authority, 0) + 1

    def release(self, pending: Pending) -> None:
        pending.holder = ""
        del self.held[pending.task.number]
        self.release_many(pending.lane.authority, 1)

    def release_many(self, authority: str, number: int) -> None:
        """Count `number` tasks of a host as held no longer."""
        left = self.held_at[authority] - number
        if left:
            self.held_at[authority] = left
        else:
            del self.held_at[authority]

    def room_at(self, authority: str, requests: int, turn: int, now: float) -> int:
        """Return how many more tasks of a host it may take; `turn` bounds it at hosts with a delay (0: none)."""
        held = self.held_at.get(authority, 0)
        if turn:
            return turn - held
        allowance = self.allowances.get(authority)
        if allowance is None:
            allowance = self.allowances[authority] = Allowance(max(4 * requests, 8), now)
        else:
            allowance.revise(held, 4 * requests, now)
        return allowance.tasks - held
