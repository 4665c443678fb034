"""The lanes of waiting tasks, as the broker has them in memory.

A lane is one origin. New tasks are kept up to a bound; beyond it a lane loads them from the state in small stretches,
so that memory does not grow with what waits.
"""

from __future__ import annotations

import heapq
from collections import deque

import msgspec

from crawler.brokers.pace import Pace
from crawler.brokers.tasks import Place
from crawler.brokers.words import ALONE_AFTER
from crawler.model import Kind, Task

#: Tasks of a lane loaded at a time, and the least while memory is full: those that are held are passed over.
STRETCH, SHORT_STRETCH = 512, 32


class Pending(msgspec.Struct, eq=False, gc=False):
    """A task that is not done and is in memory: loaded, delayed or held.

    The garbage collector does not follow it: it leaves its lane when it is done, so no cycle outlives it.
    """

    task: Task
    source: int
    lane: Lane
    lost: int = 0
    holder: str = ""

    @property
    def place(self) -> Place:
        return self.lane.number, int(self.task.kind), self.task.number

    @property
    def orphan(self) -> bool:
        """Its lease was lost, so that it may be what kills workers."""
        return self.lost > 0

    @property
    def alone(self) -> bool:
        """Its lease was lost so often that it is given out by itself."""
        return self.lost >= ALONE_AFTER


#: What a queue has at first: of a hundred thousand lanes most have nothing in memory; a deque has 600 bytes.
_NOTHING: deque[Pending] = deque(maxlen=0)
_NO_DELAYS: list[tuple[float, int, Pending]] = []


class Queue(msgspec.Struct):
    """The waiting tasks of one kind in a lane; `waiting` counts those in the state too, less what is held.

    Orphans wait apart, so that nothing waits behind one that must not be given out yet.
    """

    waiting: int = 0
    cursor: int = 0
    loaded: deque[Pending] = msgspec.field(default_factory=lambda: _NOTHING)
    orphans: deque[Pending] = msgspec.field(default_factory=lambda: _NOTHING)
    delayed: list[tuple[float, int, Pending]] = msgspec.field(default_factory=lambda: _NO_DELAYS)
    in_rotation: bool = False

    @property
    def is_loaded(self) -> bool:
        """Tell whether all that waits is in memory."""
        return self.waiting == len(self.loaded) + len(self.orphans) + len(self.delayed)

    @property
    def ready(self) -> deque[Pending]:
        """What comes next: orphans only where nothing else is loaded."""
        return self.loaded or self.orphans

    def load(self, pending: Pending) -> None:
        """Add a task to those in memory."""
        self._line(pending).append(pending)

    def load_all(self, pending: list[Pending]) -> None:
        """Add tasks that are no orphans to those in memory."""
        if self.loaded is _NOTHING:
            self.loaded = deque()
        self.loaded.extend(pending)

    def _line(self, pending: Pending) -> deque[Pending]:
        """Return where a task waits that may be given out."""
        if pending.orphan:
            if self.orphans is _NOTHING:
                self.orphans = deque()
            return self.orphans
        if self.loaded is _NOTHING:
            self.loaded = deque()
        return self.loaded

    def put_back(self, pending: Pending, due: float = 0.0, *, last: bool = False) -> None:
        self.waiting += 1
        if due:
            self.delay(pending, due)
        elif last:
            self._line(pending).append(pending)
        else:
            self._line(pending).appendleft(pending)

    def delay(self, pending: Pending, due: float) -> None:
        if self.delayed is _NO_DELAYS:
            self.delayed = []
        heapq.heappush(self.delayed, (due, pending.task.number, pending))

    def wake(self, now: float) -> None:
        """Move what is due to the front."""
        while self.delayed and self.delayed[0][0] <= now:
            pending = heapq.heappop(self.delayed)[2]
            self._line(pending).appendleft(pending)

    def unload(self) -> deque[Pending]:
        """Leave what is loaded to the state, and return it."""
        unloaded, self.loaded = self.loaded, _NOTHING
        if unloaded:
            self.cursor = min(self.cursor, min(pending.task.number for pending in unloaded) - 1)
        return unloaded

    def leave_out(self, sources: set[int]) -> None:
        """Forget what is in memory of these sources."""
        self.loaded = deque(pending for pending in self.loaded if pending.source not in sources)
        self.orphans = deque(pending for pending in self.orphans if pending.source not in sources)
        self.delayed = [entry for entry in self.delayed if entry[2].source not in sources]
        heapq.heapify(self.delayed)

    def remove(self, pending: Pending) -> None:
        """Take out a task that waits here but is now held or done."""
        self.waiting -= 1
        line = self._line(pending)
        if pending in line:
            line.remove(pending)
        else:
            self.delayed = [entry for entry in self.delayed if entry[2] is not pending]
            heapq.heapify(self.delayed)


class Lane(msgspec.Struct, eq=False):
    """One origin: its queues, its pace (shared by http and https), and what its robots.txt says."""

    number: int
    origin: str
    authority: str
    pace: Pace
    queues: list[Queue | None] = msgspec.field(default_factory=lambda: [None, None, None])  #: by kind
    robots: str | None = None  #: digest of the text; None until it is known
    robots_time: float = 0.0
    robots_asked: bool = False
    robots_attempts: int = 0
    closed: str = ""  #: outcome of all its tasks for the rest of the run
    closed_why: str = ""

    def queue(self, kind: Kind) -> Queue:
        queue = self.queues[kind]
        if queue is None:
            queue = self.queues[kind] = Queue()
        return queue

    def waits(self, kind: Kind) -> bool:
        queue = self.queues[kind]
        return queue is not None and queue.waiting > 0
