"""`python -m crawler.status`: the jobs of this machine, and what becomes of them."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

from crawler.brokers.client import ServerAddress
from crawler.brokers.process import is_running
from crawler.brokers.sqlite import read_counts
from crawler.brokers.wire import read_key
from crawler.building import KEY_NAME
from crawler.door import enter
from crawler.errors import UsageError
from crawler.hosting import local_link
from crawler.model import PAGES_READ, SUCCESSES, Counts, State
from crawler.processes import Link
from crawler.progress import attention, shown, size
from crawler.settings import StatusSettings

ABOUT = "List the jobs of this machine: where they stand, and how to stop them."


def counts_of(directory: Path, state: Path) -> Counts:
    """Return the numbers of a job, from its broker where one runs, else from its state."""
    if is_running(directory):
        link = local_link(directory, Link(ServerAddress(), read_key(state / KEY_NAME)))
        broker = link.broker()
        try:
            return broker.counts()
        finally:
            broker.close()
    return read_counts(directory / "queue.sqlite")


def line(directory: Path, counts: Counts) -> str:
    saved = sum(counts.images.get(name, 0) for name in SUCCESSES)
    failed = sum(counts.images.values()) - saved
    began = datetime.datetime.fromtimestamp(counts.began).strftime("%Y-%m-%d %H:%M")
    numbers = f"run {counts.run} of {began}: {saved:,} saved, {failed:,} failed, {size(counts.bytes)}"
    if not is_running(directory):
        how = "finished" if counts.state is State.FINISHED else "stopped; the same command goes on"
        return f"{directory.name}: {how}; {numbers}"
    door = json.loads((directory / "broker.json").read_text())["door"]
    seconds = max(datetime.datetime.now().timestamp() - counts.began, 1.0)
    return (
        f"{directory.name}: running, pid {door}; {numbers}, {saved / seconds:.1f} images/s, "
        f"{counts.waiting_images:,} waiting, {counts.workers} workers; stop it with: kill {door}"
    )


def details(counts: Counts) -> list[str]:
    pages = sum(counts.pages.get(name, 0) for name in PAGES_READ)
    lines = [f"  {pages:,} pages read, {counts.waiting_pages:,} waiting, {counts.held:,} tasks held by workers"]
    lines += [f"  ! {text}" for text in attention(counts)]
    lines += [f"  {number:>9,}  {outcome:<20} {origin}" for origin, outcome, number in counts.hosts[:40]]
    return lines


def run(settings: StatusSettings) -> int:
    state = settings.state_directory
    jobs = sorted(path.parent for path in state.glob("*/queue.sqlite")) if state.is_dir() else []
    if settings.job:
        jobs = [path for path in jobs if path.name == settings.job]
        if not jobs:
            raise UsageError(f"no job {settings.job!r} in {state}")
    if not jobs:
        print(f"no jobs in {state}")
    for directory in jobs:
        counts = counts_of(directory, state)
        print(shown(line(directory, counts)))
        if settings.job:
            print("\n".join(shown(text) for text in details(counts)))
    return 0


if __name__ == "__main__":
    sys.exit(enter(StatusSettings, "python -m crawler.status", ABOUT, run, sys.argv[1:]))
