"""A worker's side of the exchange: what it holds, what it may start now, and what it is to tell."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from msgspec import Raw
from msgspec.structs import replace

from crawler.model import Grant, Kind, Reply, Report, Settlement, ShardReport, State, Stored, Task, Verb, encode
from crawler.turns import Host, Turns
from crawler.urls import address

#: Results that make an exchange worth while at once.
BATCH = 256
#: Part of a lease, from the report that won it, in which a worker goes on: then nothing of it is under way when others
#: get what it held.
SURE = 0.9
#: Bytes of settlements with many finds in one report, beyond which the rest waits for the next.
MOST_BYTES = 8 * 2**20
#: Longest time between two exchanges in seconds, and least number of them in a lease.
EVERY, IN_A_LEASE = 5.0, 3
#: Shortest time between two that could be one: of many hosts that fail or rest, one or other always has news.
BREATH = 0.05
#: Longest time between two while nothing can be started.
HUNGER = 1.0
#: Tasks of hosts that rest, for each for which there is room otherwise; and the most of either kind.
RESTING, MOST_HELD = 8, 50_000
#: Seconds for which a host that fails or complains is left alone while the broker has not answered.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 4.0


class Agenda:
    """The tasks that a worker holds, started only as the broker's grants allow. No I/O; one thread uses it."""

    def __init__(self, lease: float, connections: int) -> None:
        self.state = State.OPEN
        self.spec_digest = ""
        self.notice = ""
        self.robots: dict[str, str] = {}
        self._lease = lease
        self._every = min(EVERY, lease / IN_A_LEASE)
        self.wants_shard = False
        self.shard_numbers: list[int] = []
        self._shards: list[ShardReport] = []
        self._bound: set[int] = set()  #: held, and in a shard that is not settled
        self._held: dict[int, Host] = {}  #: by number of the task
        self._hosts: dict[str, Host] = {}
        self._turns = Turns(connections)
        self._settlements: list[Settlement] = []
        self._stored = Stored()
        self._unchanged = Stored()
        self._ready = 0
        self._level = 0  #: what could be begun soon at the last reply
        self._begun = 0  #: requests since then
        self._heard = 0
        self._urgent = False
        self._reaches = False
        self._sent = 0.0
        self._retry_at = 0.0
        self._valid_until = 0.0
        self._waiting = False

    @property
    def held(self) -> int:
        """Return how many tasks are not done, and not in a shard either."""
        return len(self._held) - len(self._bound)

    @property
    def under_way(self) -> int:
        return self.held - self._ready

    @property
    def all_told(self) -> bool:
        """Nothing is held, and all that was done has been reported."""
        return not self._held and not self._to_tell and not self._waiting

    @property
    def _to_tell(self) -> int:
        return len(self._settlements) + len(self._stored.numbers) + len(self._unchanged.numbers) + len(self._shards)

    def lapsed(self, now: float) -> bool:
        """Tell whether something is under way though the lease may be over: others may have our tasks and grants."""
        return self.under_way > 0 and now > self._valid_until

    def room(self, most: int, now: float) -> int:
        """Return how many more tasks there is room for, of `most`; those whose hosts rest take none of it."""
        resting = sum(len(host.ready) + host.busy for host in self._hosts.values() if host.rests(now))
        most, most_resting = min(most, MOST_HELD), min(RESTING * most, MOST_HELD)
        return max(0, min(most - self.held + resting, most_resting - resting))

    # Starting and ending requests

    def next(self, now: float, spare: float = inf) -> Task | None:
        """Return the next task that may be started, counted as under way from now on.

        Where all connections are in use, some are `spare` for those that are held up.
        """
        if now > self._valid_until or (host := self._turns.next(now, spare)) is None:
            return None
        self._ready -= 1
        self._begun += 1
        return host.ready.popleft()

    def wakes_in(self, now: float, most: float) -> float:
        """Return the seconds until a delayed host may be asked, or `most`."""
        return self._turns.wakes_in(now, most)

    def ended(
        self, task: Task, now: float, latency: float = 0.0, *, lasted: float = 0.0, answered: bool = False
    ) -> None:
        """Count a request of `task` as over, which was under way for `lasted` seconds; 0 where none was made."""
        host = self._held[task.number]
        if latency:
            host.latency += latency
            host.answers += 1
        self._turns.ended(host, now, lasted, answered=answered)

    def pause(self, task: Task, seconds: float, now: float) -> None:
        """Ask the host of `task` nothing for `seconds` at least, and tell the broker at once.

        Until the broker answers, the host gets one request at a time, with growing pauses: where we cannot reach the
        broker either, it may be our own network that fails.
        """
        host = self._hosts[address(task.at).authority]
        if now >= host.not_before:  # one pause for all answers of the same moment
            host.pause = min(max(2 * host.pause, FIRST_PAUSE), LONGEST_PAUSE)
        host.not_before = max(host.not_before, now + max(seconds, host.pause))
        host.allow(replace(host.grant, count=min(host.grant.count, 1)))
        self._urgent = True

    def again(self, task: Task) -> None:
        """Put a task with another URL at the same host in front."""
        host = self._held[task.number] = self._hosts[address(task.at).authority]
        host.ready.appendleft(task)
        self._ready += 1
        self._turns.enrol(host)

    def settle(self, settlement: Settlement) -> None:
        """Report `settlement` at the next exchange; its task is held no longer, unless it is still worked on."""
        held = self._held.get if settlement.verb is Verb.FOUND else self._held.pop
        if held(settlement.number, None) is not None:
            self._bound.discard(settlement.number)
            self._settlements.append(settlement)

    def stored(self, task: Task, size: int, result: Raw) -> None:
        """Report at the next exchange that the image of `task` is in the store, with `size` bytes."""
        if self._held.pop(task.number, None) is not None:
            self._stored.add(task.number, size, result)

    def unchanged(self, task: Task, size: int, result: Raw) -> None:
        """Report at the next exchange that the image of `task` is what the store has, with `size` bytes."""
        if self._held.pop(task.number, None) is not None:
            self._unchanged.add(task.number, size, result)

    def bind(self, task: Task) -> None:
        """Hold a task on that is in a shard now."""
        if task.number in self._held:
            self._bound.add(task.number)

    def tell_shard(self, shard: ShardReport) -> None:
        """Report at once that a shard is in its place."""
        self._shards.append(shard)
        self._urgent = True

    def tell_reach(self) -> None:
        """Report at once that our own network works."""
        self._reaches = self._urgent = True

    def release(self, numbers: Iterable[int]) -> None:
        """Hold tasks no longer of which the broker knows."""
        for number in numbers:
            self._held.pop(number, None)
            self._bound.discard(number)

    def return_ready(self) -> None:
        """Return all that is not under way."""
        for host in self._hosts.values():
            self._urgent = self._urgent or bool(host.ready)
            self._return(host)

    def _return(self, host: Host) -> None:
        for task in host.ready:
            self.settle(Settlement(number=task.number, verb=Verb.RETURNED))
        self._ready -= len(host.ready)
        host.ready.clear()

    # Exchanging

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to exchange."""
        if self._waiting:
            return False
        if self.wants_shard or self._to_tell >= BATCH or now - self._sent >= self._every:
            return True
        if self._level and self._begun >= self._level - self._level // 2:
            return True
        if self._urgent and now - self._sent >= BREATH:
            return True
        if self._to_tell and not self.under_way and not self._turns.is_anyones:
            # what is left must wait, and others may wait for the hosts that we are done with
            return not self._turns.is_anyones_later or now - self._sent >= BREATH
        if self._ready and not self._turns.is_a_quick_ones and now - self._sent >= HUNGER:
            return True
        return now >= self._retry_at and not self._ready

    def report(self, room: dict[Kind, int], now: float) -> Report:
        """Return what is to be told, and wait for the reply from now on."""
        if now > self._valid_until:
            self._let_go()
        settlements, stored, unchanged, shards = self._bounded(), self._stored, self._unchanged, self._shards
        self._stored, self._unchanged, self._shards = Stored(), Stored(), []
        reaches, self._reaches = self._reaches, False
        self._waiting, self._urgent, self._sent = True, bool(self._settlements), now
        busy, latency, idle = {}, {}, []
        for authority, host in self._hosts.items():
            if host.busy:
                self._turns.look(host, now)
                busy[authority] = host.busy
            elif not host.ready:
                idle.append(authority)
            if host.answers:
                latency[authority] = host.latency / host.answers
                host.latency, host.answers = 0.0, 0
        if not self._settlements:
            self._forget(idle)
        bound = self._bound.difference(*(shard.numbers for shard in shards))
        return Report(
            stored=stored, unchanged=unchanged, settlements=settlements, held=list(self._held.keys() - self._bound),
            bound=list(bound), shards=shards, shard_numbers=self.shard_numbers, wants_shard=self.wants_shard,
            busy=busy, latency=latency, room=room, heard=self._heard, reaches=reaches,
        )  # fmt: skip

    def _forget(self, idle: list[str]) -> None:
        """Forget those hosts of which we hold nothing, as the broker does when it is told so."""
        needed = set(self._held.values())
        for authority in idle:
            if self._hosts[authority] not in needed:
                del self._hosts[authority]
                for scheme in ("https://", "http://"):
                    self.robots.pop(scheme + authority, None)

    def _let_go(self) -> None:
        """Give up what the last lease gave: tasks that were not begun, and grants; the broker is to tell all anew."""
        self.return_ready()
        for host in self._hosts.values():
            host.allow(Grant(0))
        self._heard = 0

    def _bounded(self) -> list[Settlement]:
        """Take the settlements out that go into one report."""
        settlements, size = self._settlements, 0
        for number, settlement in enumerate(settlements, 1):
            size += len(encode(settlement)) if settlement.found else 0
            if size > MOST_BYTES:
                self._settlements = settlements[number:]
                return settlements[:number]
        self._settlements = []
        return settlements

    def absorb(self, reply: Reply, now: float) -> None:
        """Take the broker's answer."""
        self._waiting = False
        self._heard = reply.serial
        self.state, self.notice = reply.state, reply.notice
        self.spec_digest = reply.spec_digest
        self._valid_until = self._sent + SURE * self._lease
        self.robots.update(reply.robots)
        for authority, grant in reply.grants.items():
            host = self._hosts.setdefault(authority, Host())
            host.allow(grant)
            host.pause = 0.0
            if grant.wait:
                host.not_before = max(host.not_before, now + grant.wait)
        for host in self._hosts.values():
            if host.not_before > now + host.grant.delay:
                self._return(host)  # it is left alone for longer than is usual, and may be taken to be down
        for task in reply.tasks:
            if task.number in self._held:
                continue
            authority = "" if task.kind is Kind.SOURCE else address(task.at).authority
            host = self._hosts.get(authority) or self._hosts.setdefault(authority, Host(Grant(0 if authority else 1)))
            self._held[task.number] = host
            host.ready.append(task)
            self._ready += 1
        self._level = self._begun = 0
        for host in self._hosts.values():
            self._turns.enrol(host)
            self._level += 0 if host.rests(now) else len(host.ready)
        self._retry_at = now + reply.retry_in
