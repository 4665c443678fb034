"""Images a second once a tool is under way: what a long list takes longer than a short one, without start and end."""

from __future__ import annotations

import statistics

from benchmarks.plan import Plan
from benchmarks.rounds import course
from benchmarks.sets import SLOPE

_SHORT_PART = 10


def print_slopes(plan: Plan) -> bool:
    """Print the slope of each tool, with its seconds for both lists; false where no tool is installed."""
    found, _ = plan.find(SLOPE)
    if not found:
        return False
    many = plan.count(SLOPE)
    few = max(1, many // _SHORT_PART)
    plan.check_room(SLOPE.kind, plan.runs * len(found) * (few + many))
    seconds: dict[tuple[str, int], list[float]] = {}
    with course(plan, SLOPE) as made:
        for _ in range(plan.runs):
            for each in found:
                for count in (few, many):
                    taken = made.run(each, count).cost.seconds
                    seconds.setdefault((each.tool.name, count), []).append(taken)
    for each in found:
        short, long = (statistics.median(seconds[each.tool.name, count]) for count in (few, many))
        rate = (many - few) / (long - short)
        print(
            f"{each.tool.name} {each.version}: {few:,} in {short:.2f} s, {many:,} in {long:.2f} s: {rate:,.0f} images/s"
        )
    return True
