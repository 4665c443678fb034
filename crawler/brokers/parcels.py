"""Results as they lie in the state: those that are alike together, in columns."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from crawler.model import Message


class Result(NamedTuple):
    """One result; its sequence number is its parcel's and its place there."""

    task: int
    kind: int
    outcome: str
    message: str
    size: int
    body: msgspec.Raw


class Parcel(Message):
    """Results of one kind and outcome, in columns; `messages` is empty where none of them has one."""

    kind: int
    outcome: str
    tasks: list[int]
    sizes: list[int]
    bodies: list[msgspec.Raw]
    messages: list[str]

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, place: int) -> Result:
        message = self.messages[place] if self.messages else ""
        return Result(self.tasks[place], self.kind, self.outcome, message, self.sizes[place], self.bodies[place])

    def part(self, start: int, end: int) -> Parcel:
        """Return the results from one place up to another."""
        at = slice(start, end)
        return Parcel(
            self.kind, self.outcome, self.tasks[at], self.sizes[at], self.bodies[at], self.messages[at]
        )  # fmt: skip


class Told(NamedTuple):
    """In which run, when and by whom the results of a parcel were told."""

    run: int
    time: float
    worker: str


class Current(NamedTuple):
    """A result of an image that no later one replaced."""

    task: int
    url: str
    source: int
    origin: int
    outcome: str
    run: int
    size: int
    kept: int  #: number of the result by which it can be asked for conditionally, or 0
