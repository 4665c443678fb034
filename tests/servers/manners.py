"""How a site was asked, by its own record: requests at a time and the gaps between them, by host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from servers.records import between

#: Seconds after it goes on in which what a stopped process had begun may still come.
_AFTER_STOP = 1.0


class Asked(NamedTuple):
    """A request, with times of time.monotonic() and the addresses of both ends; status 0: it was never answered."""

    start: float
    end: float
    host: str
    client: str
    status: int
    path: str


class Stopped(NamedTuple):
    """From when to when all processes of a client were stopped."""

    client: str
    start: float
    end: float


def read_record(record: Path) -> list[Asked]:
    """Return what was asked, in its order; a line that is still being written is not there yet."""
    rows = (line.split("\t") for line in record.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return sorted(
        Asked(float(start), float(end), host, client, int(status), path.rstrip())
        for start, end, host, client, status, path in rows
    )


def apart(asked: Iterable[Asked], stops: Sequence[Stopped]) -> tuple[list[Asked], list[Asked]]:
    """Return what processes asked that ran, and what those asked that were stopped meanwhile."""
    kinds: tuple[list[Asked], list[Asked]] = [], []
    for one in asked:
        kinds[any(_is_of(one, stop) for stop in stops)].append(one)
    return kinds


def _is_of(one: Asked, stop: Stopped) -> bool:
    return one.client == stop.client and one.start < stop.end + _AFTER_STOP and one.end > stop.start


def at_once(asked: Iterable[Asked]) -> list[int]:
    """Return how many requests were under way at its host as each began, itself included."""
    counts = []
    for requests in _by_host(asked):
        changes = sorted([(one.start, 1) for one in requests] + [(one.end, -1) for one in requests])
        under_way = 0
        for _, change in changes:  # of the same moment an end comes first
            under_way += change
            counts += [under_way] if change > 0 else []
    return counts


def gaps(asked: Iterable[Asked]) -> list[float]:
    """Return the seconds from the end of all before it at its host to the start of each; below 0 where they overlap."""
    return [gap for requests in _by_host(asked) for gap in between((one.start, one.end) for one in requests)]


def _by_host(asked: Iterable[Asked]) -> Iterable[list[Asked]]:
    hosts: dict[str, list[Asked]] = defaultdict(list)
    for one in sorted(asked):
        hosts[one.host].append(one)
    return hosts.values()
