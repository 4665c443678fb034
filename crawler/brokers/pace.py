"""How fast a host is asked: the pure arithmetic of grants, back-off and the circuit breaker.

One `Pace` stands for one authority. Its limit moves as TCP's window does: by halves down when the host complains or
slows, by ones up again when it does not.
"""

from __future__ import annotations

import msgspec

from crawler.model import Grant
from crawler.outcomes import COMPLAINTS, NO_CONNECTION, PAUSING, Outcome

#: Failed connections in a row that open the circuit; of a host that never answered, one that timed out counts for more.
DOWN_AFTER, SILENT = 20, 2
#: Seconds of the first pause after a complaint (429, 503) or silence; doubled by each that follows, to these.
FIRST_PAUSE = 1.0
MAX_PAUSE = 300.0
#: Small, so that a host that restarts is not taken for dead, and a dead one is told within half a minute.
MAX_SILENT_PAUSE = 4.0
#: Answers this many times later than the host's best, and by this many seconds, count as "rising latency".
SLOW_FACTOR = 5.0
SLOW_SECONDS = 1.0
#: Seconds that a worker may keep a host with a delay to itself while others wait for it.
TURN = 5.0


class Share(msgspec.Struct):
    """What one worker has of a host: `count` as last granted, `ceiling` what it may still be using of older grants."""

    count: int
    ceiling: int
    pages: bool


class Pace(msgspec.Struct):
    """The grants of one host, and what its answers taught."""

    most: int  #: requests at a time, as configured
    most_pages: int
    delay: float = 0.0
    limit: float = 0.0
    blocked_until: float = 0.0
    pause: float = FIRST_PAUSE
    failures_in_row: int = 0
    met: bool = False  #: it has answered
    best_latency: float = 0.0  #: of images
    best_of_pages: float = 0.0
    shares: dict[str, Share] = msgspec.field(default_factory=dict)
    waiting: dict[str, float] = msgspec.field(default_factory=dict)  #: workers that were refused, and when

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    # What a worker may use

    def confirm(self, worker: str, busy: int, heard: bool, holds: bool, now: float) -> None:
        """Take what `worker` says of its use: `busy` requests, and whether it `heard` the last reply."""
        share = self.shares.get(worker)
        if share is None:
            return
        share.ceiling = max(busy, share.count) if heard else max(share.ceiling, share.count, busy)
        if not holds and heard and busy == 0:
            self.forget(worker, now)

    def adopt(self, worker: str, busy: int, pages: bool) -> None:
        """Count what a worker of before the broker's restart is using."""
        if worker not in self.shares:
            self.shares[worker] = Share(busy, busy, pages)

    def forget(self, worker: str, now: float) -> None:
        """Let others have what `worker` had; it may have asked until now."""
        self.waiting.pop(worker, None)
        if self.shares.pop(worker, None) is not None:
            self.asked(now)
        if not self.shares:
            self.shares = {}  # one that had an entry keeps its 232 bytes, and hosts may be a hundred thousand

    def asked(self, when: float) -> None:
        """Keep the delay from a time until which the host may have been asked."""
        if self.delay:
            self.blocked_until = max(self.blocked_until, when + self.delay)

    def allot(self, worker: str, pages: bool, pages_wait: bool, now: float) -> int:
        """Return how many requests at a time `worker` may have from now on; 0 for none."""
        limit = 1 if self.delay else max(1, int(self.limit))
        share = self.shares.get(worker)
        if not self.waiting and len(self.shares) == (share is not None):  # of many hosts most have one worker
            free = target = self._alone(pages, pages_wait, limit)
        else:
            others = [(other, s) for other, s in self.shares.items() if other != worker]
            self._forget_old_waiters(now)
            free = limit - sum(s.ceiling for _, s in others)
            target = min(free, self._fair_part(worker, pages, pages_wait, limit, others))
        if share is not None and share.count:
            target = max(target, min(1, free))
        if target <= 0:
            self.waiting[worker] = now
            return 0
        self.waiting.pop(worker, None)
        if share is None:
            self.shares[worker] = Share(target, target, pages)
        else:
            share.ceiling = max(share.ceiling, target)
            share.count = target
        return target

    def _alone(self, pages: bool, pages_wait: bool, limit: int) -> int:
        """Return what `_fair_part` does where no other worker has or wants a share."""
        if pages:
            return max(1, min(self.most_pages, limit))
        return max(1, limit - min(self.most_pages, limit - 1)) if pages_wait else limit

    def _fair_part(
        self, worker: str, pages: bool, pages_wait: bool, limit: int, others: list[tuple[str, Share]]
    ) -> int:
        of_pages = sum(s.ceiling for _, s in others if s.pages)
        if pages:
            alike = 1 + sum(s.pages for _, s in others) + sum(w != worker for w in self.waiting if w not in self.shares)
            return max(1, min(self.most_pages, limit) // alike) if of_pages < self.most_pages else 0
        reserved = min(self.most_pages, limit - 1) if pages_wait or of_pages else 0
        alike = 1 + sum(not s.pages for _, s in others) + sum(w != worker for w in self.waiting if w not in self.shares)
        return max(1, (limit - reserved) // alike)

    def _forget_old_waiters(self, now: float) -> None:
        for worker in [w for w, since in self.waiting.items() if now - since > 2.0]:
            del self.waiting[worker]

    def yields(self, worker: str, now: float) -> bool:
        """Tell whether `worker` must let another go first at a host that takes one request at a time."""
        if not (self.delay or self.limit < 2):
            return False
        self._forget_old_waiters(now)
        first = next(iter(self.waiting), worker)
        if first == worker:
            return False
        if worker not in self.shares:
            self.waiting[worker] = now
        return True

    def grant(self, worker: str, now: float) -> Grant:
        """Return the grant as it stands; a blocked host keeps its count and gains a wait."""
        return Grant(self.shares[worker].count, self.delay, max(0.0, self.blocked_until - now))

    # What its answers teach

    def answered(self, latency: float, pages: bool = False) -> None:
        """Take the mean latency of answers in seconds: rising latency slows us, steady latency speeds us up.

        That pages take longer than images is no rise.
        """
        self.met = True
        best = min((self.best_of_pages if pages else self.best_latency) or latency, latency)
        if pages:
            self.best_of_pages = best
        else:
            self.best_latency = best
        if latency > best * SLOW_FACTOR and latency - best > SLOW_SECONDS:
            self.limit = max(1.0, self.limit * 0.75)
        else:
            self.limit = min(float(self.most), self.limit + 1.0)

    def succeeded(self) -> None:
        self.met = True
        self.failures_in_row = 0
        self.pause = FIRST_PAUSE

    def failed(self, outcome: str, retry_after: float, now: float) -> None:
        """Take a failure: complaint and silence pause the host, no connection counts towards the circuit breaker."""
        if outcome in NO_CONNECTION:
            self.failures_in_row += SILENT if outcome == Outcome.TIMEOUT and not self.met else 1
        else:
            self.failures_in_row = 0
        if outcome not in PAUSING:
            return
        if now >= self.blocked_until:  # one pause for all answers of the same moment
            self.limit = max(1.0, self.limit / 2)
            self.blocked_until = now + self.pause
            self.pause = min(self.pause * 2, MAX_PAUSE if outcome in COMPLAINTS else MAX_SILENT_PAUSE)
        self.blocked_until = max(self.blocked_until, now + retry_after)

    @property
    def down(self) -> bool:
        return self.failures_in_row >= DOWN_AFTER
