"""Which worker gets which task, under which grant: the part of the broker that lives in memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from msgspec import Raw
from msgspec.structs import replace

from crawler.brokers.lanes import STRETCH, Lane, Pending, Worker
from crawler.brokers.outage import PROBE_EVERY
from crawler.brokers.pace import TURN, Pace
from crawler.brokers.records import Records
from crawler.model import Grant, Kind, Report, RobotsFile, Spec, Task
from crawler.robots import MAX_AGE, digest
from crawler.urls import address

#: Lanes looked at in one exchange.
SCAN = 512
#: Requests for pages at a time per host, at most.
PAGES_AT_A_TIME = 2
_HOSTED = (Kind.PAGE, Kind.IMAGE)


class Dispatch:
    """Lanes, workers and leases; `open` counts by kind what is not done, held or not."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._spec = Spec(job="")
        self._run = 0
        self._lanes: dict[str, Lane] = {}
        self._numbered: dict[int, Lane] = {}
        self._paces: dict[str, Pace] = {}
        self.resident: dict[int, Pending] = {}
        self._rotation: dict[Kind, deque[Lane]] = {kind: deque() for kind in Kind}
        self._robots_wanted: deque[Pending] = deque()
        self._sleeping: list[tuple[float, int, Lane, Kind]] = []
        self._closed: set[Lane] = set()
        self._images_of: dict[int, int] = {}
        self._next_probe = 0.0
        self.workers: dict[str, Worker] = {}
        self.open: dict[Kind, int] = {Kind.SOURCE: 0, Kind.PAGE: 0, Kind.IMAGE: 0}

    # Lanes

    def configure(self, spec: Spec) -> None:
        self._spec = spec
        for pace in self._paces.values():
            pace.most, pace.delay = spec.requests_per_host, max(pace.delay, spec.delay)

    def new_run(self, run: int) -> None:
        """Forget what the last run taught of hosts, and take up what came in since."""
        for kept in (self._lanes, self._numbered, self._paces, self.resident, self._closed, self._robots_wanted):
            kept.clear()
        for rotation in self._rotation.values():
            rotation.clear()
        self._images_of.clear()
        self.open = dict.fromkeys(self.open, 0)
        self.restore(run)

    def restore(self, run: int) -> None:
        """Take up what waits in the state."""
        self._run = run
        for origin, kind, source, number in self._records.waiting_counts():
            lane = self.by_number(origin)
            lane.queue(Kind(kind)).waiting += number
            self._enlist(lane, Kind(kind), source, number)

    def of(self, url: str) -> Lane:
        """Return the lane of a URL's origin; that of sources has no origin."""
        origin = address(url).origin if url else ""
        lane = self._lanes.get(origin)
        if lane is None:
            self._records.db.execute("INSERT INTO origins(url) VALUES(?) ON CONFLICT DO NOTHING", (origin,))
            lane = self._read_lane("url = ?", origin)
        return lane

    def by_number(self, number: int) -> Lane:
        return self._numbered.get(number) or self._read_lane("origin = ?", number)

    def _read_lane(self, where: str, key: str | int) -> Lane:
        number, url, robots, crawl_delay, robots_run, robots_time, closed, why, closed_run = self._records.db.execute(
            "SELECT origin, url, robots, crawl_delay, robots_run, robots_time, closed, closed_why, closed_run "
            f"FROM origins WHERE {where}",
            (key,),
        ).fetchone()
        authority = url.partition("://")[2]
        pace = self._paces.get(authority)
        if pace is None:
            most = self._spec.requests_per_host
            pace = self._paces[authority] = Pace(most, min(PAGES_AT_A_TIME, most), self._spec.delay)
        lane = Lane(number, url, authority, pace)
        if not self._spec.obey_robots or not url:
            lane.robots, lane.robots_time = "", float("inf")
        elif robots is not None and robots_run == self._run and self._clock() - robots_time < MAX_AGE:
            lane.robots, lane.robots_time = robots, robots_time
            pace.delay = max(pace.delay, crawl_delay)
        if closed and closed_run == self._run:
            lane.closed, lane.closed_why = closed, why
        self._lanes[url] = self._numbered[number] = lane
        return lane

    def add(self, lane: Lane, kind: Kind, number: int, source: int) -> None:
        """Count a task that has just begun to wait in the state."""
        queue = lane.queue(kind)
        queue.waiting += 1
        queue.cursor = min(queue.cursor, number - 1)
        self._enlist(lane, kind, source, 1)

    def _enlist(self, lane: Lane, kind: Kind, source: int, number: int) -> None:
        self.open[kind] += number
        if kind is Kind.IMAGE:
            self._images_of[source] = self._images_of.get(source, 0) + number
        self._enrol(lane, kind)

    def _enrol(self, lane: Lane, kind: Kind, *, first: bool = False) -> None:
        queue = lane.queue(kind)
        if queue.in_rotation or not queue.waiting:
            return
        if lane.closed:
            self._closed.add(lane)
        elif lane.robots is None:
            self._want_robots(lane)
        else:
            queue.in_rotation = True
            rotation = self._rotation[kind]
            (rotation.appendleft if first else rotation.append)(lane)

    def _sleep(self, lane: Lane, kind: Kind, until: float) -> None:
        heapq.heappush(self._sleeping, (until, id(lane), lane, kind))

    def _wake(self, now: float) -> None:
        while self._sleeping and self._sleeping[0][0] <= now:
            _, _, lane, kind = heapq.heappop(self._sleeping)
            if kind is Kind.ROBOTS:
                self._robots_wanted.append(self.resident[-lane.number])
            else:
                self._enrol(lane, kind)

    def _load(self, lane: Lane, kind: Kind, now: float) -> None:
        queue = lane.queue(kind)
        while not queue.loaded and queue.waiting > len(queue.delayed):
            rows = self._records.waiting(lane.number, kind, queue.cursor, STRETCH)
            if not rows:
                return
            queue.cursor = rows[-1][0]
            resident = self.resident
            for row in rows:
                number, _, url, at, detail, hops, candidate, attempts, source, lost, due, _ = row
                if number in resident:
                    continue
                task = Task(number, kind, url, at or url, Raw(detail), hops, candidate, attempts)
                pending = resident[number] = Pending(task, source, lane, lost)
                if due > now:
                    heapq.heappush(queue.delayed, (due, number, pending))
                else:
                    queue.loaded.append(pending)

    # Tasks by number

    def pending(self, number: int) -> Pending | None:
        """Return a task that is not done, from memory or from the state."""
        pending = self.resident.get(number)
        if pending is None and number > 0:
            row = self._records.waiting_task(number)
            if row is not None:
                _, kind, url, at, detail, hops, candidate, attempts, source, lost, _, origin = row
                lane = self.by_number(origin)
                task = Task(number, Kind(kind), url, at or url, Raw(detail), hops, candidate, attempts)
                pending = self.resident[number] = Pending(task, source, lane, lost)
                lane.queue(task.kind).loaded.append(pending)
        return pending

    def release(self, pending: Pending) -> None:
        self.workers[pending.holder].release(pending)

    def put_back(self, pending: Pending, task: Task, *, due: float = 0.0, last: bool = False) -> None:
        """Let a released task wait again."""
        pending.task = task
        pending.lane.queue(task.kind).put_back(pending, due, last=last)
        self._enrol(pending.lane, task.kind)
        if due:
            self._sleep(pending.lane, task.kind, due)

    def finished(self, pending: Pending) -> None:
        """Forget a task that is done."""
        kind = pending.task.kind
        if pending.holder:
            self.release(pending)
        else:
            pending.lane.queue(kind).remove(pending)
        del self.resident[pending.task.number]
        self.open[kind] -= 1
        if kind is Kind.IMAGE:
            self._images_of[pending.source] -= 1

    def images_finished(self, worker: Worker, lane: Lane, source: int, number: int) -> None:
        """Count images of one lane as done that `worker` held; it names them no longer."""
        worker.release_many(lane.authority, number)
        self.open[Kind.IMAGE] -= number
        self._images_of[source] -= number

    # Workers and leases

    def worker(self, name: str, pages: bool, now: float) -> Worker:
        worker = self.workers.get(name)
        if worker is None:
            worker = self.workers[name] = Worker(name, self._records.worker_row(name), pages, now)
        worker.reported = now
        return worker

    def held(self, kind: Kind | None = None) -> int:
        """Return how many tasks are held, of one kind or of all."""
        if kind is None:
            return sum(len(worker.held) for worker in self.workers.values())
        held = (pending for worker in self.workers.values() for pending in worker.held.values())
        return sum(pending.task.kind is kind for pending in held)

    def downloaders(self) -> int:
        return sum(not worker.pages for worker in self.workers.values())

    def renew(self, worker: Worker, report: Report, now: float) -> None:
        """Renew the leases that `report` names, and take what it says of hosts."""
        known = worker.serial > 0
        heard = report.heard == worker.serial
        for number in report.held:
            pending = self.pending(number)
            if pending is None:
                continue
            if pending.holder == worker.name:
                pending.named = now
            elif not pending.holder and number > 0:
                pending.lane.queue(pending.task.kind).remove(pending)
                worker.take(pending, now)
        for authority in list(worker.granted):
            pace = self._paces.get(authority)
            if pace is not None:
                pace.confirm(worker.name, report.busy.get(authority, 0), heard, authority in worker.held_at, now)
            if pace is None or worker.name not in pace.shares:
                del worker.granted[authority]
        if not heard:
            worker.granted = dict.fromkeys(worker.granted, Grant(-1))
        if not known:
            for authority, busy in report.busy.items():
                if authority in self._paces:
                    self._paces[authority].adopt(worker.name, busy, worker.pages)
        for authority, latency in report.latency.items():
            if authority in self._paces:
                self._paces[authority].answered(latency)

    def forget(self, worker: Worker) -> None:
        for authority in worker.granted:
            if authority in self._paces:
                self._paces[authority].forget(worker.name)
        del self.workers[worker.name]

    def expire(self, now: float) -> list[Pending]:
        """Let go of what is not named any more; return what its last worker lost."""
        lease = self._spec.lease
        lost: list[Pending] = []
        for worker in list(self.workers.values()):
            silent = now - worker.reported > lease
            for pending in list(worker.held.values()):
                if silent or now - pending.named > lease:
                    worker.release(pending)
                    if pending.task.kind is Kind.ROBOTS:
                        self._robots_wanted.append(pending)
                        continue
                    pending.lost += silent
                    lost.append(pending)
                    self.put_back(pending, pending.task, last=True)
            if silent:
                self.forget(worker)
        self._records.lose((pending.lost, pending.task.number) for pending in lost)
        return lost

    # Handing out

    def hand_out(self, worker: Worker, room: dict[Kind, int], now: float, *, probe: bool = False) -> list[Task]:
        """Return the tasks that `worker` holds from now on; `probe` asks for a single one now and then."""
        self._wake(now)
        if worker.waits_for_alone or any(pending.alone for pending in worker.held.values()):
            if worker.held:
                return []
            worker.waits_for_alone = False
        if probe:
            if now < self._next_probe:
                return []
            self._next_probe = now + PROBE_EVERY
            room = {kind: min(number, 1) for kind, number in room.items()}
        tasks = self._robots_for(worker, room.get(Kind.ROBOTS, 0), now)
        for kind in (Kind.SOURCE, Kind.PAGE, Kind.IMAGE):
            left = room.get(kind, 0)
            rotation = self._rotation[kind]
            for _ in range(min(len(rotation), SCAN)):
                if left <= 0 or worker.waits_for_alone:
                    break
                left -= self._serve(worker, rotation.popleft(), kind, left, now, tasks)
        return tasks

    def _serve(self, worker: Worker, lane: Lane, kind: Kind, room: int, now: float, tasks: list[Task]) -> int:
        queue = lane.queue(kind)
        queue.in_rotation = False
        if now - lane.robots_time > MAX_AGE:
            lane.robots = None
        queue.wake(now)
        self._load(lane, kind, now)
        if not queue.loaded:
            if queue.delayed:
                self._sleep(lane, kind, queue.delayed[0][0])
            return 0
        if lane.pace.blocked_until > now:
            self._sleep(lane, kind, lane.pace.blocked_until)
            return 0
        most = min(room, self._most(worker, lane, kind, now)) if not lane.closed and lane.robots is not None else 0
        before = len(tasks)
        while queue.loaded and len(tasks) - before < most:
            pending = queue.loaded[0]
            if pending.alone and (worker.held or tasks):
                worker.waits_for_alone = True
                break
            queue.loaded.popleft()
            queue.waiting -= 1
            worker.take(pending, now)
            tasks.append(pending.task)
            if pending.alone:
                worker.waits_for_alone = True
                break
        self._enrol(lane, kind, first=worker.waits_for_alone)
        return len(tasks) - before

    def _most(self, worker: Worker, lane: Lane, kind: Kind, now: float) -> int:
        """Return how many tasks of a lane `worker` may be given now."""
        if (
            kind is not Kind.IMAGE
            and self._images_of.get(lane.queue(kind).loaded[0].source, 0) > self._spec.queue_limit
        ):
            return 0
        if kind is Kind.SOURCE:
            return 1
        pace = lane.pace
        if pace.yields(worker.name, now):
            return 0
        requests = pace.allot(worker.name, kind is Kind.PAGE, lane.waits(Kind.PAGE), now)
        if not requests:
            return 0
        worker.granted.setdefault(lane.authority, Grant(-1))
        turn = max(1, int(TURN / pace.delay)) if pace.delay else 0
        return max(0, worker.room_at(lane.authority, requests, turn, now))

    def grants(self, worker: Worker, tasks: list[Task], now: float) -> tuple[dict[str, Grant], dict[str, str]]:
        """Return the grants of `worker` that changed, and the robots digests of the origins of `tasks`."""
        changed: dict[str, Grant] = {}
        for authority in set(worker.held_at) | set(worker.granted):
            pace = self._paces.get(authority)
            if pace is None or not authority:
                continue
            lane_pages = self.open[Kind.PAGE] > 0
            if authority in worker.held_at:
                pace.allot(worker.name, worker.pages, lane_pages, now)
            grant = pace.grant(worker.name, now) if worker.name in pace.shares else Grant(0, pace.delay, 0.0)
            if grant.wait or worker.granted.get(authority) != grant:
                changed[authority] = worker.granted[authority] = grant
        lanes = {worker.held[task.number].lane for task in tasks}
        return changed, {lane.origin: lane.robots or "" for lane in lanes}

    def retry_in(self, now: float) -> float:
        """Return in how many seconds it is worth asking again."""
        if self._robots_wanted or any(self._rotation[kind] for kind in (Kind.SOURCE, *_HOSTED)):
            return 0.1
        if self._sleeping:
            return min(max(self._sleeping[0][0] - now, 0.02), 0.5)
        return 0.25

    # robots.txt

    def _want_robots(self, lane: Lane) -> None:
        if lane.robots_asked:
            return
        lane.robots_asked = True
        url = lane.origin + "/robots.txt"
        pending = Pending(Task(-lane.number, Kind.ROBOTS, url, url, Raw(b"\xc0")), 0, lane)
        self.resident[-lane.number] = pending
        self._robots_wanted.append(pending)

    def _robots_for(self, worker: Worker, room: int, now: float) -> list[Task]:
        tasks: list[Task] = []
        for _ in range(min(len(self._robots_wanted), SCAN)):
            if len(tasks) >= room:
                break
            pending = self._robots_wanted.popleft()
            pace = pending.lane.pace
            free = now >= pace.blocked_until and not pace.yields(worker.name, now)
            if free and pace.allot(worker.name, worker.pages, False, now):
                worker.granted.setdefault(pending.lane.authority, Grant(-1))
                worker.take(pending, now)
                tasks.append(pending.task)
            else:
                self._robots_wanted.append(pending)
        return tasks

    def robots_known(self, pending: Pending, robots: RobotsFile, now: float) -> None:
        """Keep the text of an origin's robots.txt, and let its tasks go."""
        lane = self._forget_robots(pending)
        lane.robots, lane.robots_time = digest(robots.text), now
        lane.pace.delay = max(self._spec.delay, robots.crawl_delay)
        db = self._records.db
        db.execute("INSERT INTO robots VALUES(?,?) ON CONFLICT DO NOTHING", (lane.robots, robots.text))
        db.execute(
            "UPDATE origins SET robots = ?, crawl_delay = ?, robots_run = ?, robots_time = ? WHERE origin = ?",
            (lane.robots, robots.crawl_delay, self._run, now, lane.number),
        )
        self._enrol_all(lane)

    def _forget_robots(self, pending: Pending) -> Lane:
        lane = self.by_number(-pending.task.number)
        if pending.holder:
            self.release(pending)
        del self.resident[pending.task.number]
        lane.robots_asked = False
        return lane

    def _enrol_all(self, lane: Lane) -> None:
        for kind in _HOSTED:
            self._enrol(lane, kind)

    def robots_moved(self, pending: Pending, at: str, hops: int) -> None:
        self.release(pending)
        pending.lane = self.of(at)
        pending.task = replace(pending.task, at=at, hops=hops)
        self._robots_wanted.append(pending)

    def robots_again(self, pending: Pending, due: float) -> None:
        """Ask once more from `due` on."""
        self.release(pending)
        pending.lane = self.by_number(-pending.task.number)
        pending.task = replace(pending.task, at=pending.task.url, hops=0)
        self._sleep(pending.lane, Kind.ROBOTS, due)

    # Closed lanes

    def close(self, lane: Lane, outcome: str, why: str) -> None:
        """End all tasks of an origin with `outcome`, for the rest of the run."""
        lane.closed, lane.closed_why = outcome, why
        self._records.db.execute(
            "UPDATE origins SET closed = ?, closed_why = ?, closed_run = ? WHERE origin = ?",
            (outcome, why, self._run, lane.number),
        )
        pending = self.resident.get(-lane.number)
        if pending is not None and pending.holder:
            self._forget_robots(pending)
        self._closed.add(lane)

    def take_closed(self, most: int) -> Iterator[Pending]:
        """Give up to `most` waiting tasks of closed lanes; each must be finished before the next is taken."""
        for lane in list(self._closed):
            for kind in _HOSTED:
                queue = lane.queue(kind)
                queue.wake(float("inf"))
                while queue.waiting and most > 0:
                    self._load(lane, kind, float("inf"))
                    if not queue.loaded:
                        break
                    most -= 1
                    yield queue.loaded[0]
            if not any(lane.waits(kind) for kind in _HOSTED):
                self._closed.discard(lane)
