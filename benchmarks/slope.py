"""Images a second once a tool is under way: what a long list takes longer than a short one, without start and end."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.comparison import ceilings
from benchmarks.plan import Found, Plan
from benchmarks.rounds import Course, course
from benchmarks.sets import Set

_SHORT_PART = 10


@dataclass
class _Slope:
    """A tool on a set, with the seconds that it took for few images and for many."""

    entry: Set
    tool: Found
    many: int
    seconds: dict[int, list[float]] = field(default_factory=dict)

    @property
    def few(self) -> int:
        return max(1, self.many // _SHORT_PART)

    def measure(self, made: Course) -> None:
        for count in (self.few, self.many):
            self.seconds.setdefault(count, []).append(made.run(self.tool, count).cost.seconds)

    def told(self) -> str:
        short, long = (statistics.median(self.seconds[count]) for count in (self.few, self.many))
        rate = (self.many - self.few) / (long - short)
        name = f"{self.entry.name}: {self.tool.tool.name} {self.tool.version}"
        return f"{name}: {self.few:,} in {short:.2f} s, {self.many:,} in {long:.2f} s: {rate:,.0f} images/s"


def print_slopes(plan: Plan, entries: Sequence[Set]) -> bool:
    """Print the slope of each tool on each set, all by turns; false where no tool is installed."""
    slopes = [_Slope(entry, each, plan.count(entry)) for entry in entries for each in plan.find(entry)[0]]
    for entry in entries:
        plan.check_room(entry.kind, plan.runs * sum(slope.few + slope.many for slope in slopes))
    with contextlib.ExitStack() as stack:
        made = {entry.name: stack.enter_context(course(plan, entry)) for entry in entries}
        for each in made.values():
            ceilings(plan, each)
        for _ in range(plan.runs):
            for slope in slopes:
                slope.measure(made[slope.entry.name])
    for slope in slopes:
        print(slope.told())
    return bool(slopes)
