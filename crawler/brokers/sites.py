"""Which sources rest: those that have come to a limit of their own, and those that are not of this run."""

from __future__ import annotations

from crawler.brokers.dispatch import Dispatch
from crawler.brokers.records import Records
from crawler.brokers.run import Run
from crawler.brokers.waiting import Waiting
from crawler.spec import Site, Spec

#: Images that wait again at a time of a source without such a limit.
WAKE_AT_ONCE = 10_000
#: Seconds between two looks at what has begun to wait of a source that rests.
LOOK_EVERY = 0.2


class Sites:
    """Lets sources rest, and wakes them; what rests keeps no run from its end, and waits for the next one."""

    def __init__(self, records: Records, waiting: Waiting, dispatch: Dispatch, run: Run) -> None:
        self._records = records
        self._waiting = waiting
        self._dispatch = dispatch
        self._run = run
        self._limits: dict[int, Site] = {}
        self._stopped: dict[int, str] = {}
        self._full: set[int] = set()  #: those whose last images are under way
        self._partly: set[int] = set()  #: those that may rest in part, since they were so
        self._began = 0.0
        self._next_look = 0.0

    def wake_all(self) -> None:
        """Let everything wait that rests, whatever became of its source in the run so far."""
        self._records.tally.start_again(self._run.number)
        self._stopped.clear()
        self._full.clear()
        self._partly.clear()
        self._waiting.resting = set()
        self._waiting.wake_sources(number for number, _, _ in self._records.tasks.sources())

    def begin(self, spec: Spec, of_run: set[str], now: float) -> None:
        """Begin a start of the run, whose sources are in the state: let those rest that are not of it, by URL."""
        self._records.flush()
        self._records.set_meta("start_began", now)
        self._records.set_meta("taken_up", 0)
        for number, url, _ in self._records.tasks.sources():
            if url not in of_run:
                self._records.tally.stop(self._run.number, number, "")
        self.restore(spec)
        self._waiting.rest(set(self._waiting.resting))

    @property
    def is_taken_up(self) -> bool:
        """Tell whether the run is one that was finished, and goes on with what is reopened alone."""
        return bool(self._run.number) and int(self._records.meta("taken_up") or 0) == self._run.number

    def take_up(self, spec: Spec) -> None:
        """Let nothing rest of what will be reopened, whatever rested in the run; what rests goes on to do so."""
        self._records.set_meta("taken_up", self._run.number)
        self.restore(spec)

    def restore(self, spec: Spec) -> None:
        """Go on with the run as the state has it."""
        self._limits, self._stopped, self._full, self._partly = {}, {}, set(), set()
        self._waiting.resting, self._waiting.left, self._waiting.stirred = set(), {}, set()
        if self.is_taken_up:
            return
        self._began = float(self._records.meta("start_began") or 0.0)
        self._stopped = self._records.tally.stopped(self._run.number)
        limits = {site.name: site for site in spec.sites if site.max_time or site.max_images}
        sources = self._records.tasks.sources() if limits else []
        self._limits = {number: limits[detail.name] for number, _, detail in sources if detail.name in limits}
        self._run.watch(number for number, site in self._limits.items() if site.max_images)
        self._partly = self._records.resting.sources() & self._limits.keys() - self._stopped.keys()
        self._waiting.resting = set(self._stopped)
        self._count()

    def heed(self, now: float, *, always: bool = False) -> None:
        """Let sources rest that have come to their limits, and what has begun to wait of those that rest."""
        if not always and (now < self._next_look or not self._waiting.stirred):
            return
        self._next_look = now + LOOK_EVERY
        for source, site in self._limits.items():
            if source not in self._stopped and (why := self._limit(source, site, now)):
                self._stopped[source] = why
                self._records.tally.stop(self._run.number, source, why)
        self._count()
        self._full = {source for source, left in self._waiting.left.items() if left <= 0} - self._stopped.keys()
        before, self._waiting.resting = self._waiting.resting, self._stopped.keys() | self._full
        self._waiting.rest((self._waiting.stirred | (self._waiting.resting - before)) & self._waiting.resting)
        self._partly |= self._full
        self._wake_some()

    def _wake_some(self) -> None:
        """Let images wait again of sources that were at their limit, where some of the last ones failed."""
        idle = {source for source in self._partly - self._waiting.resting if not self._waiting.open_of(source)}
        if not idle:
            return
        for source in idle:
            if not self._waiting.wake_some(source, self._waiting.left.get(source, WAKE_AT_ONCE)):
                self._partly.discard(source)
        self._waiting.wake_wanted()

    def _limit(self, source: int, site: Site, now: float) -> str:
        """Return the limit that a source with something left to do has come to, or `""`."""
        saved = self._run.saved_of(source) if site.max_images else 0
        if not self._waiting.open_of(source) and source not in self._partly:
            return ""
        if site.max_images and saved >= site.max_images:
            return "max_images"
        return "max_time" if site.max_time and now - self._began >= site.max_time else ""

    def _count(self) -> None:
        """Count how many images may still be given out of sources that have a limit."""
        limited = {source: site.max_images for source, site in self._limits.items() if site.max_images}
        held = self._dispatch.held_images() if limited else {}
        for source, most in limited.items():
            self._waiting.left[source] = most - self._run.saved_of(source) - held.get(source, 0)
