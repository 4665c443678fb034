"""Who holds which task, as the broker has it in memory."""

from __future__ import annotations

import msgspec

from crawler.brokers.lanes import Pending
from crawler.brokers.wire import HERE
from crawler.brokers.words import ORPHANS_AT_A_TIME
from crawler.model import Grant, Kind

#: Kinds of which a worker of another machine may have some.
FAR_KINDS = frozenset({Kind.IMAGE, Kind.ROBOTS})


class Allowance(msgspec.Struct):
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


#: Seconds after which a worker without news asks again: at first, and in the end.
FIRST_REST, LONGEST_REST = 0.02, 0.25


class Worker(msgspec.Struct):
    """One process that exchanges: what it holds and what it was last told."""

    name: str
    row: int
    feeds: bool  #: it takes sources or pages, not images
    reported: float
    host: str = HERE
    named: float = 0.0  #: when it last named what it holds
    serial: int = 0
    held: dict[int, Pending] = msgspec.field(default_factory=dict)
    unnamed: dict[int, float] = msgspec.field(default_factory=dict)  #: held tasks that it did not name, and since when
    bound: set[int] = msgspec.field(default_factory=set)  #: held tasks whose images are in shards that are not settled
    orphans: set[int] = msgspec.field(default_factory=set)  #: it was given; some may be held no longer
    held_at: dict[str, int] = msgspec.field(default_factory=dict)  #: by authority, less those bound
    allowances: dict[str, Allowance] = msgspec.field(default_factory=dict)
    granted: dict[str, Grant] = msgspec.field(default_factory=dict)
    waits_for_alone: bool = False  #: nothing until it holds nothing: its next task is given out by itself
    holds_alone: bool = False  #: such a task is all that it holds
    told: bool = False  #: that the run is over or the broker stops
    rest: float = FIRST_REST

    def rests(self, *, news: bool) -> float:
        """Return in how many seconds it may ask again: soon after news, then ever later."""
        self.rest = FIRST_REST if news else min(2 * self.rest, LONGEST_REST)
        return self.rest

    def may_have(self, kind: Kind) -> bool:
        """Tell whether it may hold and settle tasks of a kind: sources and pages are this machine's own."""
        return self.host == HERE or kind in FAR_KINDS

    def take(self, taken: list[Pending]) -> None:
        """Hold tasks of one lane from now on."""
        held = self.held
        for pending in taken:
            pending.holder = self.name
            held[pending.task.number] = pending
            if pending.orphan:
                self.orphans.add(pending.task.number)
        if taken:
            authority = taken[0].lane.authority
            self.held_at[authority] = self.held_at.get(authority, 0) + len(taken)

    def name_held(self, numbers: list[int], now: float) -> set[int]:
        """Note which tasks it says it holds; return those that it does not hold as far as we know."""
        named = set(numbers)
        held = self.held.keys()
        self.named, before = now, self.named
        if named == held:
            self.unnamed = {}
            return set()
        self.unnamed = {number: self.unnamed.get(number, before) for number in held - named}
        return named - held

    def lost(self, lease: float, now: float) -> list[Pending]:
        """Return what it holds and has not named for longer than `lease` seconds."""
        if now - self.reported > lease:
            return list(self.held.values())
        late = [number for number, since in self.unnamed.items() if now - since > lease]
        return [self.held[number] for number in late if number in self.held]

    def release(self, pending: Pending) -> None:
        """Take back one task."""
        pending.holder = ""
        number = pending.task.number
        del self.held[number]
        if number in self.bound:
            self.bound.discard(number)
        else:
            self.release_many(pending.lane.authority, 1)

    def bind(self, numbers: list[int]) -> None:
        """Note that the images of these tasks are in its shards: nothing more is asked of their hosts for them."""
        for number in set(numbers) - self.bound:
            if number in self.held:
                self.bound.add(number)
                self.release_many(self.held[number].lane.authority, 1)

    def unbind(self, numbers: list[int]) -> None:
        """Take tasks for held like any others."""
        for number in self.bound.intersection(numbers):
            self.bound.discard(number)
            authority = self.held[number].lane.authority
            self.held_at[authority] = self.held_at.get(authority, 0) + 1

    def release_many(self, authority: str, number: int) -> None:
        """Count `number` tasks of a host as held no longer."""
        left = self.held_at[authority] - number
        if left:
            self.held_at[authority] = left
        else:
            del self.held_at[authority]

    def room_for_orphans(self) -> int:
        """Return how many more orphans it may take."""
        self.orphans = {number for number in self.orphans if number in self.held}
        return max(0, ORPHANS_AT_A_TIME - len(self.orphans))

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
