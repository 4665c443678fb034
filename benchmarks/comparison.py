"""A set's tools, compared by turns."""

from __future__ import annotations

import random
import sys

from benchmarks import servers
from benchmarks.ceiling import WRK, ceiling
from benchmarks.machine import facts
from benchmarks.plan import QUICK_PARTS, Plan
from benchmarks.report import Report, Row
from benchmarks.rounds import Course, course
from benchmarks.sets import Set

_CEILING_CONNECTIONS = (64, 256)
_CEILING_SECONDS = 6


def compare(plan: Plan, entry: Set) -> Report | None:
    """Run the tools of a set by turns; None where none of them is installed."""
    found, absent = plan.find(entry)
    if not found:
        return None
    plan.check_room(entry.kind, plan.runs * sum(each.count for each in found))
    title = entry.title(plan.count(entry))
    print(f"{entry.name}: {title}", flush=True)
    rows = [Row(each.tool.name, each.version, each.count if each.part else None, each.tool.encoded) for each in found]
    turns = list(zip(found, rows, strict=True))
    with course(plan, entry) as made:
        limits = ceilings(plan, made)
        for _ in range(plan.runs):
            for each, row in random.sample(turns, len(turns)):  # else one would always follow the same other
                row.runs.append(made.run(each, each.count))
    server = f"nginx {servers.version()} with one worker on the same machine; runs by turns: {plan.runs}, medians"
    return Report(entry.name, title, f"{facts()}; {server}.", limits, rows, absent)


def ceilings(plan: Plan, made: Course) -> dict[str, float]:
    """Return what the server alone gives, by how it was asked."""
    if WRK.find(plan.data) is None:
        print(f"the server's limit is not measured, wrk is missing: {WRK.cure}", file=sys.stderr)
        return {}
    paths = made.listed("paths", "", len(made.data.digests))
    seconds = _CEILING_SECONDS // QUICK_PARTS + 1 if plan.quick else _CEILING_SECONDS
    limits = {}
    for connections in sorted({*_CEILING_CONNECTIONS, made.connections}):
        rate = ceiling(made.url, paths, connections, seconds)
        print(f"  the server alone, {connections} connections: {rate:,.0f} images/s", flush=True)
        limits[f"wrk {WRK.version(WRK.name)}, {connections} connections"] = rate
    return limits
