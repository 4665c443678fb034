"""What a worker is given: which partitions are asked, and what their answers say together."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from crawler.brokers.outage import PROBE_EVERY, Outage
from crawler.brokers.redis.job import Job
from crawler.brokers.redis.partitions import Given, Partitions
from crawler.brokers.redis.rows import keys_of, read_row, text
from crawler.brokers.redis.settling import Calls, Settling
from crawler.brokers.words import ALONE_AFTER, ORPHANS_AT_A_TIME
from crawler.model import Grant, Kind, Reply, Report, State
from crawler.outcomes import SUCCESSES

#: Partitions asked in one round where nothing is held, and in each that follows.
FIRST_GROUP, GROUP = 4, 16
#: Partitions asked beside those that are told something anyway, so that none is forgotten.
OTHERS = 1
#: Seconds after which a worker without news asks again: at first, in the end, and where the fleet is large.
FIRST_REST, LONGEST_REST, LONGEST_OF_FLEET = 0.02, 0.5, 5.0
#: Requests a second that all workers without news make together: they cost a Redis 2% of a core.
ASKED_IN_VAIN = 200
#: Seconds between two looks at how many images of each source wait.
LOOK_AT_SOURCES = 0.2
_KINDS = (Kind.SOURCE, Kind.PAGE, Kind.IMAGE, Kind.ROBOTS)


class Memory(msgspec.Struct):
    """What is remembered of a worker of this process."""

    serial: int = 0
    rest: float = FIRST_REST
    alone: str = ""  #: `waits` until it holds nothing, or `holds` a task that is given out by itself
    at: set[int] = msgspec.field(default_factory=set)  #: partitions where it has grants
    renewed: dict[int, float] = msgspec.field(default_factory=dict)  #: when partitions last heard of it


class Taken(msgspec.Struct):
    """What answers said so far in one exchange."""

    room: dict[Kind, int]
    orphans: int  #: how many more it may be given
    given: list[Given] = msgspec.field(default_factory=list)
    grants: dict[str, Grant] = msgspec.field(default_factory=dict)
    robots: dict[str, str] = msgspec.field(default_factory=dict)
    next_time: float = math.inf


class Share(NamedTuple):
    """For how many tasks a partition is asked, by kind, and how many of them may be orphans."""

    room: list[int]
    orphans: int


_NO_SHARE = Share([0] * len(_KINDS), 0)


class Asker(NamedTuple):
    """A worker that exchanges, and what it holds by partition."""

    worker: str
    report: Report
    feeds: bool
    now: float
    memory: Memory
    held: dict[int, list[Given]]
    heard: bool  #: the last reply came to it
    asked: set[int]  #: partitions that were told in this exchange


class Taking:
    """Asks partitions for tasks, for the workers of this process."""

    def __init__(self, partitions: Partitions, job: Job, settling: Settling, outage: Outage) -> None:
        self._partitions = partitions
        self._job = job
        self._settling = settling
        self._outage = outage
        self._memories: dict[str, Memory] = defaultdict(Memory)
        self._next_probe = 0.0
        self._turn = 0
        self._crowded: dict[str, bool] = {}
        self._looked_at_sources = -math.inf

    def nothing(self, worker: str) -> Reply:
        """Return the reply where no run has begun."""
        memory = self._memories[worker]
        memory.serial += 1
        return Reply(serial=memory.serial, state=State.OPEN)

    def hungers(self, worker: str) -> bool:
        """Tell whether a worker got nothing the last time."""
        return self._memories[worker].rest > FIRST_REST

    def is_idle(self, worker: str) -> bool:
        """Tell whether a worker got nothing for some time."""
        return self._memories[worker].rest >= LONGEST_REST

    def exchange(self, worker: str, report: Report, feeds: bool, calls: Calls, now: float) -> Reply:
        memory = self._memories[worker]
        if report.reaches:
            self._outage.dismiss(now)
        down = self._outage.check(now)
        held = self._held(report)
        asker = Asker(worker, report, feeds, now, memory, held, report.heard == memory.serial, set())
        memory.serial += 1  # by now: a reply may be lost on its way
        orphans = sum(given.row.orphan for given in chain(*held.values()))
        taken = Taken(self._room(report, memory, down, now), max(0, ORPHANS_AT_A_TIME - orphans))
        if not report.held:
            memory.alone = ""
        with self._counted(taken.room):
            self._rounds(asker, calls, taken)
        if down and taken.given:
            self._next_probe = now + PROBE_EVERY
        self._forget_others(report, taken)
        return self._reply(memory, report, taken, down, now)

    @contextlib.contextmanager
    def _counted(self, room: dict[Kind, int]) -> Iterator[None]:
        """Let nobody else take images while some are taken of which the job has only so many."""
        if not self._job.spec.max_images or not room.get(Kind.IMAGE):
            yield
            return
        with self._job.lock():
            room[Kind.IMAGE] = min(room[Kind.IMAGE], self._left_of_most())
            yield

    # What there is room for

    def _room(self, report: Report, memory: Memory, down: bool, now: float) -> dict[Kind, int]:
        if (memory.alone and report.held) or self._job.run.ended or (down and now < self._next_probe):
            return {}
        room = dict(report.room)
        if memory.alone:
            room.pop(Kind.ROBOTS, None)  # the next that is given out by itself comes first
        return {kind: min(number, 1) for kind, number in room.items()} if down else room

    def _left_of_most(self) -> int:
        """Return how many images may still be given out until there are --max-images."""
        answers = self._partitions.call("counts", {at: {"closely": True} for at in self._partitions.all})
        there = _there(answers.values()) - self._job.images_before
        held = sum(int(answer[5]) for answer in answers.values())
        return max(0, self._job.spec.max_images - there - held)

    def images_there(self) -> int:
        """Return how many images of the run are there."""
        answers = self._partitions.call("counts", {at: {"closely": False} for at in self._partitions.all})
        return _there(answers.values())

    def _look_at_sources(self, now: float) -> None:
        """Learn of which sources so many images wait that they must pause."""
        if 0 < now - self._looked_at_sources < LOOK_AT_SOURCES:
            return
        self._looked_at_sources = now
        waiting: dict[str, int] = defaultdict(int)
        for found in self._partitions.ask(
            *(("HGETALL", self._partitions.key(at, "sources")) for at in self._partitions.all)
        ):
            for source, number in _pairs(found):
                waiting[source.decode()] += int(number)
        limit = self._job.spec.queue_limit
        self._crowded = {source: True for source, number in waiting.items() if number > limit}

    # Rounds

    def _rounds(self, asker: Asker, calls: Calls, taken: Taken) -> None:
        if asker.feeds and taken.room:
            self._look_at_sources(asker.now)
        told = calls.partitions
        ready = self._in_turn()
        takers = self._turned(sorted(told))[:FIRST_GROUP]
        takers += [at for at in ready if at not in takers][: max(OTHERS, FIRST_GROUP - len(takers))]
        group = told | self._to_renew(asker) | set(takers)
        offered: set[int] = set()
        while group:
            shares = self._shares(takers, taken)
            answers = self._ask(asker, group, shares, calls, taken)
            calls = Calls()
            offered |= {at for at, share in shares.items() if any(share.room)}
            self._absorb(asker, answers, taken)
            if asker.memory.alone or not any(taken.room.values()):
                return
            generous = [at for at, answer in answers.items() if answer[1] and answer[7]]
            takers = generous + [at for at in ready if at not in offered][:GROUP]
            group = set(takers)

    def _to_renew(self, asker: Asker) -> set[int]:
        """Return the partitions where its leases and grants have not been renewed for some time."""
        renewed = asker.memory.renewed
        late = asker.now - self._partitions.renew_every
        return {at for at in asker.memory.at.union(asker.held) if renewed.get(at, late) <= late}

    def _in_turn(self) -> list[int]:
        """Return the partitions that have something to give out, another one first each time."""
        self._turn += 1
        return self._turned(sorted(self._job.ready))

    def _turned(self, partitions: list[int]) -> list[int]:
        at = self._turn * 7 % max(len(partitions), 1)
        return partitions[at:] + partitions[:at]

    def _held(self, report: Report) -> dict[int, list[Given]]:
        held: dict[int, list[Given]] = defaultdict(list)
        for number in report.held:
            given = self._settling.given.get(abs(number))
            if given is not None:
                held[given.partition].append(given)
        return held

    def _shares(self, takers: list[int], taken: Taken) -> dict[int, Share]:
        """Return for how many tasks each partition is asked, together for no more than there is room for."""
        shares = {}
        wanted = [max(0, taken.room.get(kind, 0)) for kind in _KINDS]
        for place, at in enumerate(takers):
            turn = (place + self._turn) % len(takers)
            *room, orphans = [n // len(takers) + (turn < n % len(takers)) for n in (*wanted, taken.orphans)]
            shares[at] = Share(room, orphans)
        return shares

    def _ask(
        self, asker: Asker, group: Iterable[int], shares: dict[int, Share], calls: Calls, taken: Taken
    ) -> dict[int, list[Any]]:
        report, memory = asker.report, asker.memory
        busy = self._by_partition(report.busy)
        latency = self._by_partition(report.latency)
        requests = {}
        for at in group:
            named = asker.held.get(at, [])
            also = [given.row.number for given in taken.given if given.partition == at]
            share = shares.get(at, _NO_SHARE)
            late = asker.now - memory.renewed.get(at, asker.now) > self._job.spec.lease / 2
            requests[at] = calls.call(
                at, asker.worker, held=keys_of([*(given.row.number for given in named), *also]),
                claims=[[given.row.number, text(given.origin), int(given.row.kind)] for given in named if late],
                busy=busy.get(at, {}), latency={} if taken.given else latency.get(at, {}),
                heard=asker.heard and at not in asker.asked,
                gives=any(share.room), room=share.room, orphans=share.orphans,
                holds=len(report.held) + len(taken.given), feeds=asker.feeds, crowded=self._crowded,
            )  # fmt: skip
        memory.at.update(requests)  # until they answer: they may have given what we never heard of
        answers = self._partitions.call("exchange", requests)
        memory.renewed.update(dict.fromkeys(requests, asker.now))
        asker.asked.update(requests)
        self._tell(asker.worker, self._settling.strange(asker.worker, calls, answers))
        return answers

    def _by_partition(self, values: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Return what is said of authorities, by where they are."""
        found: dict[int, dict[str, Any]] = defaultdict(dict)
        for authority, value in values.items():
            found[self._partitions.of(authority)][authority] = value
        return found

    def _tell(self, worker: str, calls: Calls) -> None:
        for told in (calls.before, calls.after):
            if told:
                self._partitions.call("settle", {at: {"worker": worker, "settled": said} for at, said in told.items()})

    def _absorb(self, asker: Asker, answers: dict[int, list[Any]], taken: Taken) -> None:
        for at, (_, tasks, grants, alone, next_time, *_) in answers.items():
            if float(next_time):
                taken.next_time = min(taken.next_time, float(next_time))
            asker.memory.alone = alone.decode() or asker.memory.alone
            for origin, digest, rows in tasks:
                self._absorb_lane(asker, at, origin.decode("utf-8", "surrogatepass"), rows, taken)
                taken.robots[origin.decode("utf-8", "surrogatepass")] = digest.decode()
            for authority, count, delay, wait in grants:
                taken.grants[authority.decode("utf-8", "surrogatepass")] = Grant(count, float(delay), float(wait))
            (asker.memory.at.add if grants else asker.memory.at.discard)(at)
        ready = {at for at, answer in answers.items() if answer[7]}
        self._job.note_ready(ready - self._job.ready)
        self._job.note_empty(answers.keys() - ready)
        if any(answer[3] == b"holds" for answer in answers.values()):
            self._keep_alone(asker.worker, taken)

    def _absorb_lane(self, asker: Asker, partition: int, origin: str, rows: list[bytes], taken: Taken) -> None:
        for packed in rows:
            given = Given(asker.worker, partition, origin, read_row(packed))
            taken.given.append(given)
            taken.orphans -= given.row.orphan
            self._settling.given[given.row.number] = given
        kind = taken.given[-1].row.kind
        taken.room[kind] = taken.room.get(kind, 0) - len(rows)

    def _keep_alone(self, worker: str, taken: Taken) -> None:
        """Give back what came together with a task that is given out by itself."""
        alone = next(given for given in taken.given if given.row.lost >= ALONE_AFTER)
        rest = [given for given in taken.given if given is not alone]
        back = Calls()
        for given in rest:
            back.after[given.partition].append({"verb": "back", "number": given.row.number})
        self._partitions.call("exchange", {at: back.call(at, worker) for at in back.partitions})  # grants go back, too
        self._job.note_ready(back.partitions)
        taken.given = [alone]

    def _forget_others(self, report: Report, taken: Taken) -> None:
        """Forget what nobody of this process will speak of any more."""
        known = self._settling.given
        if len(known) > 2 * (len(report.held) + len(taken.given)) + 10_000:
            kept = {abs(number) for number in report.held} | {given.row.number for given in taken.given}
            for number in [number for number in known if number not in kept]:
                del known[number]

    def _reply(self, memory: Memory, report: Report, taken: Taken, down: bool, now: float) -> Reply:
        news = bool(taken.given or report.settlements or report.stored.numbers)
        longest = min(max(LONGEST_REST, self._job.fleet / ASKED_IN_VAIN), LONGEST_OF_FLEET)
        memory.rest = FIRST_REST if news else min(2 * memory.rest, longest)
        return Reply(
            serial=memory.serial,
            state=self._job.state,
            tasks=[given.row.task for given in taken.given],
            grants=taken.grants,
            robots=taken.robots,
            retry_in=min(memory.rest, max(taken.next_time - now, FIRST_REST)),
            spec_digest=self._job.spec_digest,
            notice=self._outage.notice() if down else "",
        )


def _pairs(found: Any) -> Iterable[tuple[bytes, bytes]]:
    return found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)


def _there(answers: Iterable[list[Any]]) -> int:
    there = 0
    for answer in answers:
        for name, number in _pairs(answer[1]):
            kind, _, rest = name.decode().partition(":")
            if kind == str(int(Kind.IMAGE)) and rest.partition(":")[2] in SUCCESSES:
                there += int(number)
    return there
