"""Which worker gets which task, under which grant, and for how long it is theirs."""

from __future__ import annotations

from collections import Counter, deque

from msgspec.structs import replace

from crawler.brokers.lanes import STRETCH, Lane, Pending, Queue
from crawler.brokers.leases import Worker
from crawler.brokers.outage import PROBE_EVERY
from crawler.brokers.pace import TURN
from crawler.brokers.records import Records
from crawler.brokers.waiting import Waiting
from crawler.brokers.wire import HERE
from crawler.errors import WireError
from crawler.model import Grant, Kind, Report
from crawler.robots import MAX_AGE
from crawler.spec import Spec

#: Lanes looked at in one exchange.
SCAN = 512
#: Bytes of tasks in one reply.
MOST_BYTES = 8 * 2**20


class Dispatch:
    """Workers and what they hold; only memory: after a restart they name what is theirs."""

    def __init__(self, records: Records, waiting: Waiting) -> None:
        self._records = records
        self._waiting = waiting
        self._spec = Spec(job="")
        self._next_probe = 0.0
        self.workers: dict[str, Worker] = {}

    def configure(self, spec: Spec) -> None:
        self._spec = spec

    # Workers and leases

    def worker(self, name: str, feeds: bool, now: float, host: str = HERE) -> Worker:
        """Return the worker of this name, which has begun to exchange where it is new.

        Raises WireError where it is one of another host.
        """
        worker = self.workers.get(name)
        if worker is None:
            worker = self.workers[name] = Worker(name, self._records.worker_row(name), feeds, now, host)
        if worker.host != host:
            raise WireError(f"it speaks for {name}, a worker of {worker.host}")
        worker.reported = now
        return worker

    def held(self, kind: Kind | None = None) -> int:
        """Return how many tasks are held, of one kind or of all."""
        if kind is None:
            return sum(len(worker.held) for worker in self.workers.values())
        held = (pending for worker in self.workers.values() for pending in worker.held.values())
        return sum(pending.task.kind is kind for pending in held)

    def downloaders(self) -> int:
        return sum(not worker.feeds for worker in self.workers.values())

    def release(self, pending: Pending) -> None:
        self.workers[pending.holder].release(pending)

    def finished(self, pending: Pending) -> None:
        """Forget a task that is done, held or not."""
        if pending.holder:
            self.release(pending)
        else:
            pending.lane.queue(pending.task.kind).remove(pending)
        self._waiting.forget(pending)

    def renew(self, worker: Worker, report: Report, now: float) -> None:
        """Renew the leases that `report` names, and take what it says of hosts."""
        for number in worker.name_held([*report.held, *report.bound] if report.bound else report.held, now):
            pending = self._waiting.pending(number)
            free = pending is not None and not pending.holder and number > 0
            if pending is not None and free and worker.may_have(pending.task.kind):
                pending.lane.queue(pending.task.kind).remove(pending)
                worker.take([pending])
                worker.holds_alone |= pending.alone
        if report.bound:
            worker.bind(report.bound)
        self._renew_grants(worker, report, now)
        paces = self._waiting.paces
        for authority, latency in report.latency.items():
            if authority in paces:
                paces[authority].answered(latency, worker.feeds)

    def _renew_grants(self, worker: Worker, report: Report, now: float) -> None:
        paces = self._waiting.paces
        heard = report.heard == worker.serial
        for authority in list(worker.granted):
            pace = paces.get(authority)
            if pace is not None:
                pace.confirm(worker.name, report.busy.get(authority, 0), heard, authority in worker.held_at, now)
            if pace is None or worker.name not in pace.shares:
                del worker.granted[authority]
                worker.allowances.pop(authority, None)
        if not heard:
            worker.granted = dict.fromkeys(worker.granted, Grant(-1))
        if worker.serial == 0:
            for authority, busy in report.busy.items():
                if authority in paces:
                    paces[authority].adopt(worker.name, busy, worker.feeds)
                    worker.granted[authority] = Grant(-1)

    def forget(self, worker: Worker, now: float) -> None:
        for authority in worker.granted:
            if authority in self._waiting.paces:
                self._waiting.paces[authority].forget(worker.name, now)
        del self.workers[worker.name]

    def expire(self, now: float) -> list[Pending]:
        """Let go of what is not named any more; return what its last worker lost."""
        lease = self._spec.lease
        lost: list[Pending] = []
        for worker in list(self.workers.values()):
            silent = now - worker.reported > lease
            for pending in worker.lost(lease, now):
                was_bound = pending.task.number in worker.bound
                worker.release(pending)
                if pending.task.kind is Kind.ROBOTS:
                    self._waiting.robots_wanted.append(pending)
                    continue
                pending.lost += silent and not was_bound  # what is in a shard has killed nobody
                lost.append(pending)
                self._waiting.put_back(pending, pending.task, last=True)
            if silent:
                self.forget(worker, now)
        self._records.tasks.lose((pending.lost, pending.place) for pending in lost)
        return lost

    # Handing out

    def hand_out(self, worker: Worker, room: dict[Kind, int], now: float, *, probe: bool = False) -> list[Pending]:
        """Return the tasks that `worker` holds from now on; `probe` asks for a single one now and then."""
        self._waiting.wake(now)
        waited = worker.waits_for_alone or worker.holds_alone
        if waited:
            if worker.held:
                return []
            worker.waits_for_alone = worker.holds_alone = False
        if probe:
            if now < self._next_probe:
                return []
            self._next_probe = now + PROBE_EVERY
            room = {kind: min(number, 1) for kind, number in room.items()}
        # The next that is given out by itself comes before any robots.txt.
        given = [] if waited else self._robots_for(worker, room.get(Kind.ROBOTS, 0), now)
        for kind in (Kind.SOURCE, Kind.PAGE, Kind.IMAGE):
            left = room.get(kind, 0)
            rotation = self._waiting.rotation[kind]
            for _ in range(min(len(rotation), SCAN)):
                if left <= 0 or worker.waits_for_alone or worker.holds_alone:
                    break
                taken = self._serve(worker, rotation.popleft(), kind, left, now)
                left -= len(taken)
                given += taken
        return given

    def _serve(self, worker: Worker, lane: Lane, kind: Kind, room: int, now: float) -> list[Pending]:
        """Give `worker` up to `room` tasks of a lane that has its turn."""
        queue = lane.queue(kind)
        queue.in_rotation = False
        if not self._is_ready(lane, kind, now):
            return []
        most = min(room, self._most(worker, lane, kind, now)) if not lane.closed and lane.robots is not None else 0
        taken: list[Pending] = []
        if most > 0:
            self._waiting.load(lane, kind, now, min(most, STRETCH))
            taken = self._take(worker, queue, most)
            self._waiting.spare(queue, kind)
            if not taken and not self._is_ready(lane, kind, now):
                return []  # all that was loaded is to be tried again later
        self._waiting.enrol(lane, kind, first=worker.waits_for_alone or worker.holds_alone)
        return taken

    def _take(self, worker: Worker, queue: Queue, most: int) -> list[Pending]:
        """Let `worker` hold up to `most` tasks of a queue; one that must be alone only as the first that it holds."""
        orphans = queue.orphans
        if orphans and orphans[0].alone and not worker.held:
            taken = self._within_limits(orphans, [orphans.popleft()])
            worker.holds_alone = bool(taken)
        else:
            taken = self._within_limits(queue.loaded, _take_loaded(queue.loaded, most))
            if orphans and not queue.loaded:
                taken += self._within_limits(orphans, _take_orphans(orphans, most - len(taken), worker))
        queue.waiting -= len(taken)
        worker.take(taken)
        return taken

    def _within_limits(self, line: deque[Pending], taken: list[Pending]) -> list[Pending]:
        """Put those back into their line that are of a source that rests or has come to its limit."""
        waiting = self._waiting
        if not waiting.left and not waiting.resting:
            return taken
        kept: list[Pending] = []
        for pending in taken:
            left = waiting.left.get(pending.source, 1) if pending.task.kind is Kind.IMAGE else 1
            if left <= 0 or pending.source in waiting.resting:
                line.append(pending)
                waiting.stirred.add(pending.source)
                continue
            kept.append(pending)
            if pending.source in waiting.left and pending.task.kind is Kind.IMAGE:
                waiting.left[pending.source] -= 1
        return kept

    def bound_images(self) -> Counter[int]:
        """Return how many images of each source are in shards that are not settled."""
        return Counter(w.held[number].source for w in self.workers.values() for number in w.bound)

    def all_held(self) -> int:
        """Return how many tasks are held, robots.txt among them."""
        return sum(len(worker.held) for worker in self.workers.values())

    def held_images(self) -> Counter[int]:
        """Return how many images of each source are held."""
        held = (pending for worker in self.workers.values() for pending in worker.held.values())
        return Counter(pending.source for pending in held if pending.task.kind is Kind.IMAGE)

    def _is_ready(self, lane: Lane, kind: Kind, now: float) -> bool:
        """Tell whether a lane may have a task for now; let it sleep until its time where it has none.

        Nothing is loaded for images: of most hosts, when there are many, this worker may have nothing now.
        """
        queue = lane.queue(kind)
        if now - lane.robots_time > MAX_AGE:
            lane.robots = None
        queue.wake(now)
        if kind is not Kind.IMAGE:
            self._waiting.load(lane, kind, now)
        if not queue.ready and queue.is_loaded:
            if queue.delayed:
                self._waiting.sleep(lane, kind, queue.delayed[0][0])
            return False
        if lane.pace.blocked_until > now:
            self._waiting.sleep(lane, kind, lane.pace.blocked_until)
            return False
        return True

    def _most(self, worker: Worker, lane: Lane, kind: Kind, now: float) -> int:
        """Return how many tasks of a lane `worker` may be given now."""
        queue = lane.queue(kind)
        if not queue.loaded and queue.is_loaded and not worker.room_for_orphans():
            return 0  # before it has a share of requests that it would not use
        if kind is not Kind.IMAGE and self._waiting.crowded(queue.ready[0].source):
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

    def _robots_for(self, worker: Worker, room: int, now: float) -> list[Pending]:
        wanted = self._waiting.robots_wanted
        given: list[Pending] = []
        for _ in range(min(len(wanted), SCAN)):
            if len(given) >= room:
                break
            pending = wanted.popleft()
            pace = pending.lane.pace
            free = now >= pace.blocked_until and not pace.yields(worker.name, now)
            if free and pace.allot(worker.name, worker.feeds, False, now):
                worker.granted.setdefault(pending.lane.authority, Grant(-1))
                worker.take([pending])
                given.append(pending)
            else:
                wanted.append(pending)
        return given

    def grants(self, worker: Worker, now: float, *, allot: bool) -> dict[str, Grant]:
        """Return the grants of `worker` that changed; it gets more only if it is to `allot` what is free."""
        changed: dict[str, Grant] = {}
        pages_wait = self._waiting.open[Kind.PAGE] > 0
        for authority in set(worker.held_at) | set(worker.granted):
            pace = self._waiting.paces.get(authority)
            if pace is None or not authority:
                continue
            if allot and authority in worker.held_at:
                pace.allot(worker.name, worker.feeds, pages_wait, now)
            grant = pace.grant(worker.name, now) if worker.name in pace.shares else Grant(0, pace.delay, 0.0)
            if grant.wait or worker.granted.get(authority) != grant:
                changed[authority] = worker.granted[authority] = grant
        return changed

    # robots.txt under way

    def robots_moved(self, pending: Pending, at: str, hops: int) -> None:
        self.release(pending)
        pending.lane = self._waiting.of(at)
        pending.task = replace(pending.task, at=at, hops=hops)
        self._waiting.robots_wanted.append(pending)

    def robots_again(self, pending: Pending, due: float) -> None:
        """Ask once more from `due` on."""
        self.release(pending)
        pending.lane = self._waiting.by_number(-pending.task.number)
        pending.task = replace(pending.task, at=pending.task.url, hops=0)
        self._waiting.sleep(pending.lane, Kind.ROBOTS, due)

    def close(self, lane: Lane, outcome: str, why: str) -> None:
        """End all tasks of an origin with `outcome`, for the rest of the run."""
        pending = self._waiting.resident.get(-lane.number)
        if pending is not None and pending.holder:
            self.release(pending)
            self._waiting.forget_robots(lane)
        self._waiting.close(lane, outcome, why)


def _take_loaded(loaded: deque[Pending], most: int) -> list[Pending]:
    """Take up to `most` tasks out, and no more than one reply may have."""
    taken: list[Pending] = []
    size = 0
    while loaded and len(taken) < most and size < MOST_BYTES:
        pending = loaded.popleft()
        taken.append(pending)
        size += len(pending.task.url) + len(pending.task.detail)
    return taken


def _take_orphans(orphans: deque[Pending], most: int, worker: Worker) -> list[Pending]:
    """Take up to `most` orphans out, and no more than `worker` may have; it must wait for one that must be alone."""
    taken: list[Pending] = []
    for _ in range(min(most, len(orphans), worker.room_for_orphans())):
        if orphans[0].alone:
            worker.waits_for_alone = True
            break
        taken.append(orphans.popleft())
    return taken
