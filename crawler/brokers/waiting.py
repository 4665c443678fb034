"""The lanes together: which of them have work that may be given out, and which tasks are in memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Raw

from crawler.brokers.lanes import SHORT_STRETCH, STRETCH, Lane, Pending, Queue
from crawler.brokers.origins import Origin
from crawler.brokers.pace import Pace
from crawler.brokers.records import Records
from crawler.brokers.resting import Stock
from crawler.brokers.tasks import WaitingRow
from crawler.brokers.words import NOWHERE, PAGES_AT_A_TIME
from crawler.model import Kind, RobotsFile, Task
from crawler.outcomes import Outcome
from crawler.robots import MAX_AGE, digest
from crawler.spec import Spec
from crawler.urls import address, normalise, without_www

#: New tasks are kept in memory up to this many, which spares reading them: what a source lets wait by default, and a
#: few stretches more. Once one is not kept, no later one is until all are read: 5.4, not 2 µs an image of a long list.
MOST_KEPT = 60_000
#: Tasks in memory from which on a lane loads only the images that it gives out: of a hundred thousand lanes each would
#: have most of a stretch. What is to be tried again later stays.
FULL = 2 * MOST_KEPT
#: Kinds whose tasks belong to a host.
HOSTED = (Kind.PAGE, Kind.IMAGE)
_SCHEMES = ("http://", "https://")


class Waiting:
    """Lanes and their tasks; `open` counts by kind what is not done, held or not."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._spec = Spec(job="")
        self._delays: dict[str, float] = {}
        self._crawl_delays: dict[str, float] = {}  #: by authority
        self._run = 0
        self._lanes: dict[str, Lane] = {}
        self._numbered: dict[int, Lane] = {}
        self._sleeping: list[tuple[float, int, Lane, Kind]] = []
        self._closed: set[Lane] = set()
        self._open_of: dict[tuple[Kind, int], int] = {}
        self.left: dict[int, int] = {}  #: images that may still be given out, of sources that have a limit
        self.resting: set[int] = set()  #: sources of which nothing is given out
        self.bound: Mapping[int, int] = {}  #: images in shards that are not settled, by source; revised every second
        self.stirred: set[int] = set()  #: those of them of which something has begun to wait
        self.asked_until = 0.0  #: when workers may last have asked on the word of the process before this one
        self.paces: dict[str, Pace] = {}
        self.resident: dict[int, Pending] = {}
        self.rotation: dict[Kind, deque[Lane]] = {kind: deque() for kind in Kind}
        self.robots_wanted: deque[Pending] = deque()
        self.open: dict[Kind, int] = {Kind.SOURCE: 0, Kind.PAGE: 0, Kind.IMAGE: 0}

    def configure(self, spec: Spec) -> None:
        self._spec = spec
        self._delays = dict(spec.delays)
        for authority, pace in self.paces.items():
            pace.most, pace.delay = spec.requests_per_host, self._delay_at(authority)

    def _delay_at(self, authority: str) -> float:
        """Return the seconds between requests there, as the settings and its robots.txt have them."""
        ours = self._delays.get(without_www(authority), self._spec.delay) if self._delays else self._spec.delay
        return max(ours, self._crawl_delays.get(authority, 0.0))

    def new_run(self, run: int) -> None:
        """Forget what the last run taught of hosts, and take up what came in since."""
        for kept in (
            self._lanes, self._numbered, self.paces, self.resident, self._closed, self.robots_wanted, self._crawl_delays
        ):  # fmt: skip
            kept.clear()
        for rotation in self.rotation.values():
            rotation.clear()
        self._open_of.clear()
        self.open = dict.fromkeys(self.open, 0)
        self.restore(run)

    def restore(self, run: int) -> None:
        """Take up what waits in the state."""
        self._run = run
        self._bring_in(self._records.tasks.waiting_counts())

    def _bring_in(self, stocks: list[Stock]) -> None:
        """Count tasks that wait in the state and that nobody counted."""
        for stock in stocks:
            lane, kind = self.by_number(stock.origin), Kind(stock.kind)
            queue = lane.queue(kind)
            queue.waiting += stock.number
            queue.cursor = min(queue.cursor, stock.first - 1)
            self._enlist(lane, kind, stock.source, stock.number)

    # Lanes

    def of(self, url: str) -> Lane:
        """Return the lane of a URL's origin; that of sources has no origin, that of what is no URL is NOWHERE."""
        origin = address(url).origin if url.startswith(_SCHEMES) else NOWHERE if url else ""
        lane = self._lanes.get(origin)
        if lane is None:
            if origin and normalise(url) is None:
                origin = NOWHERE
            lane = self._lanes.get(origin) or self._lane(self._records.origins.of(origin))
        return lane

    def by_number(self, number: int) -> Lane:
        return self._numbered.get(number) or self._lane(self._records.origins.by_number(number))

    def _lane(self, row: Origin) -> Lane:
        authority = row.url.partition("://")[2]
        pace = self.paces.get(authority)
        if pace is None:
            most = self._spec.requests_per_host
            pace = self.paces[authority] = Pace(most, min(PAGES_AT_A_TIME, most), self._delay_at(authority))
        lane = Lane(row.number, row.url, authority, pace)
        if not self._spec.obey_robots or not row.url:
            lane.robots, lane.robots_time = "", float("inf")
        elif row.robots is not None and row.robots_run == self._run and self._clock() - row.robots_time < MAX_AGE:
            lane.robots, lane.robots_time = row.robots, row.robots_time
            self._heed_crawl_delay(lane, row.crawl_delay)
        pace.asked(self.asked_until)
        if row.url == NOWHERE:
            lane.closed, lane.closed_why = Outcome.BAD_URL, "no http or https URL"
        if row.closed and row.closed_run == self._run:
            lane.closed, lane.closed_why = row.closed, row.closed_why
        self._lanes[row.url] = self._numbered[row.number] = lane
        return lane

    def add(self, lane: Lane, kind: Kind, number: int, source: int, task: Task | None = None) -> None:
        """Count a task that has just begun to wait in the state, and keep it in memory where it comes next anyway."""
        queue = lane.queue(kind)
        if task is not None and queue.is_loaded and len(self.resident) < MOST_KEPT:
            pending = self.resident[number] = Pending(task, source, lane)
            queue.load(pending)
            queue.cursor = number
        else:
            queue.cursor = min(queue.cursor, number - 1)
        queue.waiting += 1
        self._enlist(lane, kind, source, 1)

    def add_all(self, lane: Lane, images: list[Task], source: int) -> None:
        """Count new images of a lane, in their order, and keep in memory those that come next anyway."""
        queue = lane.queue(Kind.IMAGE)
        kept = images[: max(0, MOST_KEPT - len(self.resident))] if queue.is_loaded else []
        if kept:
            pending = [Pending(task, source, lane) for task in kept]
            self.resident.update(zip([task.number for task in kept], pending, strict=True))
            queue.load_all(pending)
            queue.cursor = kept[-1].number
        queue.waiting += len(images)
        self._enlist(lane, Kind.IMAGE, source, len(images))

    def _enlist(self, lane: Lane, kind: Kind, source: int, number: int) -> None:
        self.open[kind] += number
        self._open_of[kind, source] = self._open_of.get((kind, source), 0) + number
        if source in self.resting:
            self.stirred.add(source)
        self.enrol(lane, kind)

    def enrol(self, lane: Lane, kind: Kind, *, first: bool = False) -> None:
        """Let a lane with waiting tasks take its turn, or ask for its robots.txt first."""
        queue = lane.queue(kind)
        if not queue.waiting:
            return
        if lane.closed:
            self._closed.add(lane)
        elif queue.in_rotation:
            return
        elif lane.robots is None:
            self._want_robots(lane)
        else:
            queue.in_rotation = True
            rotation = self.rotation[kind]
            (rotation.appendleft if first else rotation.append)(lane)

    def sleep(self, lane: Lane, kind: Kind, until: float) -> None:
        heapq.heappush(self._sleeping, (until, id(lane), lane, kind))

    def wake(self, now: float) -> None:
        """Bring back the lanes whose time has come."""
        while self._sleeping and self._sleeping[0][0] <= now:
            _, _, lane, kind = heapq.heappop(self._sleeping)
            if kind is Kind.ROBOTS:
                self.robots_wanted.append(self.resident[-lane.number])
            else:
                self.enrol(lane, kind)

    def retry_in(self, now: float, rest: float) -> float:
        """Return in how many seconds it is worth asking again, for a worker that rests so long where nothing waits."""
        if self.robots_wanted or any(self.rotation[kind] for kind in (Kind.SOURCE, *HOSTED)):
            return 0.1
        if self._sleeping:
            return min(max(self._sleeping[0][0] - now, 0.02), 0.5)
        return rest

    def crowded(self, source: int) -> bool:
        """Tell whether so many images of a source wait that it must pause."""
        return self._open_of.get((Kind.IMAGE, source), 0) - self.bound.get(source, 0) > self._spec.queue_limit

    # Sources that rest

    def open_of(self, source: int) -> int:
        """Return how many tasks of a source are not done and do not rest, held or not."""
        return sum(self._open_of.get((kind, source), 0) for kind in (Kind.SOURCE, *HOSTED))

    def rest(self, sources: set[int]) -> None:
        """Let all rest that waits of these sources; what is held is let go on."""
        self.stirred -= sources
        sources = {source for source in sources if self.open_of(source)}
        if not sources:
            return
        self._records.flush()
        residents = [pending for pending in self.resident.values() if pending.source in sources]
        held = [pending.task.number for pending in residents if pending.holder]
        for stock in self._records.resting.rest(sources, held):
            kind, queue = Kind(stock.kind), self.by_number(stock.origin).queue(Kind(stock.kind))
            queue.leave_out(sources)
            queue.waiting -= stock.number
            self.count_done(kind, stock.source, stock.number)
        for pending in residents:
            if not pending.holder and pending.task.number > 0:
                del self.resident[pending.task.number]
        self.hand_over(self._records.resting.wanted_by_others(sources, self.resting, self._run))

    def wake_some(self, source: int, images: int) -> int:
        """Let so many images of a source wait again, and its pages; return how many tasks that are."""
        self._records.flush()
        stocks = self._records.resting.wake_some(source, images)
        self._bring_in(stocks)
        return sum(stock.number for stock in stocks)

    def wake_wanted(self) -> None:
        """Let images wait again that rest though a source names them that does not."""
        resting = self.resting
        self.hand_over(self._records.resting.wanted_by_others(resting, resting, self._run))

    def hand_over(self, images: dict[int, int]) -> None:
        """Let images that rest wait as those of other sources, which name them too; by number."""
        if images:
            self._bring_in(self._records.resting.hand_over(images))

    def wake_sources(self, sources: Iterable[int]) -> None:
        """Let all wait again that rests of these sources."""
        self._records.flush()
        self._bring_in(self._records.resting.wake(sources))

    # Tasks

    def load(self, lane: Lane, kind: Kind, now: float, least: int = 1) -> None:
        """Bring stretches of a lane into memory until at least so many of its tasks are there, or all."""
        queue = lane.queue(kind)
        while len(queue.loaded) < least and not queue.is_loaded:
            stretch = max(SHORT_STRETCH, least - len(queue.loaded), min(STRETCH, FULL - len(self.resident)))
            self._records.flush()
            rows = self._records.tasks.waiting(lane.number, kind, queue.cursor, stretch)
            if not rows:
                return
            queue.cursor = rows[-1][0]
            for row in rows:
                if row[0] in self.resident:
                    continue
                pending, due = self._resident(row, lane, kind)
                if due > now:
                    queue.delay(pending, due)
                else:
                    queue.load(pending)

    def spare(self, queue: Queue, kind: Kind) -> None:
        """Leave to the state what images a queue has not given out in its turn, while memory is full."""
        if kind is Kind.IMAGE and len(self.resident) > FULL:
            for pending in queue.unload():
                del self.resident[pending.task.number]

    def _resident(self, row: WaitingRow, lane: Lane, kind: Kind) -> tuple[Pending, float]:
        number, _, _, url, at, detail, hops, candidate, attempts, source, lost, due, seq = row
        known = self._records.results.known(seq) if seq else None
        task = Task(number, kind, url, at or url, Raw(detail), hops, candidate, attempts, known)
        pending = self.resident[number] = Pending(task, source, lane, lost)
        return pending, due

    def pending(self, number: int) -> Pending | None:
        """Return a task that is not done, from memory or from the state."""
        pending = self.resident.get(number)
        if pending is None and number > 0:
            self._records.flush()
            row = self._records.tasks.waiting_task(number)
            if row is None and (stocks := self._records.resting.wake_one(number)):
                self._bring_in(stocks)  # somebody holds it on, or has done it
                row = self._records.tasks.waiting_task(number)
            if row is not None:
                kind, lane = Kind(row[1]), self.by_number(row[2])
                pending, _ = self._resident(row, lane, kind)
                lane.queue(kind).load(pending)
        return pending

    def put_back(self, pending: Pending, task: Task, *, due: float = 0.0, last: bool = False) -> None:
        """Let a task wait again that nobody holds any more."""
        pending.task = task
        pending.lane.queue(task.kind).put_back(pending, due, last=last)
        self.enrol(pending.lane, task.kind)
        if due:
            self.sleep(pending.lane, task.kind, due)
        if pending.source in self.resting:
            self.stirred.add(pending.source)

    def forget(self, pending: Pending) -> None:
        """Forget a task that is done; nobody holds it, and it is in no queue."""
        del self.resident[pending.task.number]
        self.count_done(pending.task.kind, pending.source, 1)

    def count_done(self, kind: Kind, source: int, number: int) -> None:
        self.open[kind] -= number
        self._open_of[kind, source] -= number

    # robots.txt

    def _want_robots(self, lane: Lane) -> None:
        if lane.robots_asked:
            return
        lane.robots_asked = True
        url = lane.origin + "/robots.txt"
        pending = Pending(Task(-lane.number, Kind.ROBOTS, url, url, Raw(b"\xc0")), 0, lane)
        self.resident[-lane.number] = pending
        self.robots_wanted.append(pending)

    def robots_known(self, lane: Lane, robots: RobotsFile, now: float) -> None:
        """Keep the text of an origin's robots.txt, and let its tasks go."""
        self.forget_robots(lane)
        lane.robots, lane.robots_time = digest(robots.text), now
        self._heed_crawl_delay(lane, robots.crawl_delay)
        self._records.origins.set_robots(lane.number, lane.robots, robots.text, robots.crawl_delay, self._run, now)
        for kind in HOSTED:
            self.enrol(lane, kind)

    def _heed_crawl_delay(self, lane: Lane, seconds: float) -> None:
        if seconds:
            self._crawl_delays[lane.authority] = seconds
        else:
            self._crawl_delays.pop(lane.authority, None)
        lane.pace.delay = self._delay_at(lane.authority)

    def forget_robots(self, lane: Lane) -> None:
        """Forget the request for an origin's robots.txt, which nobody holds."""
        del self.resident[-lane.number]
        lane.robots_asked = False

    # Closed lanes

    def close(self, lane: Lane, outcome: str, why: str) -> None:
        """End all tasks of an origin with `outcome`, for the rest of the run."""
        lane.closed, lane.closed_why = outcome, why
        self._records.origins.close(lane.number, outcome, why, self._run)
        self._closed.add(lane)

    def open_again(self, lane: Lane) -> None:
        """Let tasks of an origin be asked for again that were ended with it."""
        if not lane.closed or lane.origin == NOWHERE:
            return
        self._records.origins.close(lane.number, "", "", 0)
        lane.closed = lane.closed_why = ""
        lane.robots_attempts = 0
        lane.pace.failures_in_row, lane.pace.blocked_until = 0, 0.0
        self._closed.discard(lane)

    def take_closed(self, most: int) -> Iterator[Pending]:
        """Give up to `most` waiting tasks of closed lanes; each must be finished before the next is taken."""
        for lane in list(self._closed):
            for kind in HOSTED:
                queue = lane.queue(kind)
                queue.wake(float("inf"))
                while queue.waiting and most > 0:
                    self.load(lane, kind, float("inf"))
                    if not queue.ready:
                        break
                    most -= 1
                    yield queue.ready[0]
            if not any(lane.waits(kind) for kind in HOSTED):
                self._closed.discard(lane)
