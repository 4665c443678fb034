"""Whose turn it is: a worker's hosts, in a line for those that answer quickly and one for all others."""

from __future__ import annotations

import heapq
from collections import deque
from math import inf

import msgspec

from crawler.model import Grant, Task

#: Seconds after which a request, and a host that ends none, is taken to be held up.
LAG = 2.0
#: Requests under way at a host that has not answered yet: one that never does takes no more connections from others.
UNTRIED = 2


class Host(msgspec.Struct, eq=False):
    """What a worker may do at one authority, and what it does there."""

    grant: Grant = msgspec.field(default_factory=lambda: Grant(0))
    ready: deque[Task] = msgspec.field(default_factory=deque)
    busy: int = 0
    most: int = 0  #: that may be under way
    tried: bool = False  #: it has answered
    slow: bool = False  #: its requests keep connections for long
    patient: bool = True  #: it is slow, or nobody knows yet
    moved: float = 0.0  #: when one was begun after none, or ended
    not_before: float = 0.0
    queued: bool = False
    delayed: bool = False  #: it waits for its time
    pause: float = 0.0
    latency: float = 0.0
    answers: int = 0

    def __post_init__(self) -> None:
        self.allow(self.grant)

    def allow(self, grant: Grant) -> None:
        self.grant = grant
        self.most = grant.count if self.tried else min(grant.count, UNTRIED)

    def answered(self) -> None:
        self.tried = True
        self.allow(self.grant)

    def is_held_up(self, now: float) -> bool:
        return self.busy > 0 and now - self.moved > LAG

    def rests(self, now: float) -> bool:
        """Tell whether what is to be asked of it is not begun soon."""
        return self.delayed or self.slow or self.is_held_up(now)


class Turns:
    """The hosts that may be asked, each in its turn.

    Those that are patient come first while they have less than half of the `connections`, and else after those that
    are quick: neither kind keeps the other waiting for ever.
    """

    def __init__(self, connections: int) -> None:
        self._half, self._few = connections // 2, connections // 8
        self._quick: deque[Host] = deque()
        self._patient: deque[Host] = deque()
        self._delayed: list[tuple[float, int, Host]] = []
        self._busy = self._patient_busy = 0

    @property
    def is_anyones(self) -> bool:
        """Tell whether a host waits for nothing but a connection."""
        return bool(self._quick or self._patient)

    @property
    def is_a_quick_ones(self) -> bool:
        return bool(self._quick)

    @property
    def is_anyones_later(self) -> bool:
        return bool(self._delayed)

    def enrol(self, host: Host) -> None:
        """Let a host have its turn, if it has any use for it."""
        if not host.queued and host.ready and host.busy < host.most:
            host.queued = True
            (self._patient if host.patient else self._quick).append(host)

    def next(self, now: float, spare: float = inf) -> Host | None:
        """Return the host that may be asked next, with one more request under way.

        Where all connections are in use, some are `spare` for those that are held up. Patient hosts leave half as many
        as there are connections to hosts that are quick; some also where there are none, since one may come.
        """
        if self._delayed:
            self._wake(now)
        host = None
        if self._patient and self._patient_busy < self._half:
            host = self._first(self._patient, now)
        if host is None:
            host = self._first(self._quick, now)
        if host is None and self._patient and spare > (self._half if self._busy > self._patient_busy else self._few):
            host = self._first(self._patient, now) or self._first(self._quick, now)
        return host

    def wakes_in(self, now: float, most: float) -> float:
        """Return the seconds until a host's delay is over, or `most`."""
        self._wake(now)
        return min(most, self._delayed[0][0] - now) if self._delayed else most

    def ended(self, host: Host, now: float, lasted: float, *, answered: bool) -> None:
        """Count a request as over, which was under way for `lasted` seconds; 0 where none was made."""
        host.busy -= 1
        self._busy -= 1
        self._patient_busy -= host.patient
        if lasted:
            host.moved = now
            if answered and not host.tried:
                host.answered()
            if host.patient or lasted > LAG:
                self._sort(host, slow=lasted > LAG)
        if host.grant.delay:
            host.not_before = max(host.not_before, now + host.grant.delay)
        self.enrol(host)

    def look(self, host: Host, now: float) -> None:
        """Take a host for slow that has ended nothing for some time."""
        if not host.slow and host.is_held_up(now):
            self._sort(host, slow=True)

    def _sort(self, host: Host, *, slow: bool) -> None:
        host.slow = slow
        patient = slow or not host.tried
        if patient is not host.patient:
            host.patient = patient
            self._patient_busy += host.busy if patient else -host.busy

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            host = heapq.heappop(self._delayed)[2]
            host.delayed = False
            self.enrol(host)

    def _first(self, line: deque[Host], now: float) -> Host | None:
        while line:
            host = line[0]
            if host.busy and now - host.moved > LAG:
                self.look(host, now)
            if not host.ready or host.busy >= host.most:
                line.popleft()
                host.queued = False
            elif now < host.not_before:
                line.popleft()
                host.queued = False
                self._delay(host)
            elif host.patient is not (line is self._patient):
                line.popleft()
                host.queued = False
                self.enrol(host)
            else:
                line.rotate(-1)
                if not host.busy:
                    host.moved = now
                host.busy += 1
                self._busy += 1
                self._patient_busy += host.patient
                return host
        return None

    def _delay(self, host: Host) -> None:
        if not host.delayed:
            host.delayed = True
            heapq.heappush(self._delayed, (host.not_before, id(host), host))
