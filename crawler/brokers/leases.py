"""Who holds which task, as the broker has it in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from crawler.brokers.lanes import Pending
from crawler.model import Grant


@dataclass(slots=True)
class Allowance:
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


@dataclass(slots=True)
class Worker:
    """One process that exchanges: what it holds and what it was last told."""

    name: str
    row: int
    pages: bool
    reported: float
    serial: int = 0
    held: dict[int, Pending] = field(default_factory=dict)
    held_at: dict[str, int] = field(default_factory=dict)  #: number of held tasks by authority
    allowances: dict[str, Allowance] = field(default_factory=dict)
    granted: dict[str, Grant] = field(default_factory=dict)
    waits_for_alone: bool = False  #: nothing until it holds nothing: its next task is given out by itself
    holds_alone: bool = False  #: such a task is all that it holds
    told: bool = False  #: that the run is over or the broker stops

    def take(self, pending: Pending, now: float) -> None:
        pending.holder = self.name
        pending.named = now
        self.held[pending.task.number] = pending
        authority = pending.lane.authority
        self.held_at[authority] = self.held_at.get(authority, 0) + 1

    def release(self, pending: Pending) -> None:
        """Take back one task."""
        pending.holder = ""
        del self.held[pending.task.number]
        self.release_many(pending.lane.authority, 1)

    def release_many(self, authority: str, number: int) -> None:
        """Count `number` tasks of a host as held no longer."""
        left = self.held_at[authority] - number
        if left:
            self.held_at[authority] = left
        else:
            del self.held_at[authority]

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
