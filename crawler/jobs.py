"""The jobs of this machine, and what becomes of them, in words."""

from __future__ import annotations

import datetime
from pathlib import Path

from crawler.brokers.client import ServerAddress
from crawler.brokers.local import is_running, whereabouts
from crawler.brokers.offline import read_counts
from crawler.building import local_key
from crawler.errors import CrawlerError, UsageError
from crawler.hosting import local_link
from crawler.model import Counts, State
from crawler.outcomes import PAGES_READ, SUCCESSES
from crawler.processes import Link
from crawler.progress import attention, size
from crawler.settings import StatusSettings
from crawler.shown import shown


def counts_of(directory: Path, settings: StatusSettings) -> Counts:
    """Return the numbers of a job, from its broker where one runs, else from its state."""
    if not is_running(directory):
        return read_counts(directory / "queue.sqlite")
    key = local_key(settings.key_file, settings.state_directory)
    broker = local_link(directory, Link(ServerAddress(), key)).broker()
    try:
        return broker.counts()
    finally:
        broker.close()


def line(directory: Path, counts: Counts) -> str:
    saved = sum(counts.images.get(name, 0) for name in SUCCESSES)
    failed = sum(counts.images.values()) - saved
    began = datetime.datetime.fromtimestamp(counts.began).strftime("%Y-%m-%d %H:%M")
    numbers = f"run {counts.run} of {began}: {saved:,} saved, {failed:,} failed, {size(counts.bytes)}"
    if not is_running(directory):
        how = "finished" if counts.state is State.FINISHED else "stopped; the same command goes on"
        return f"{directory.name}: {how}; {numbers}"
    door = whereabouts(directory).door
    seconds = max(datetime.datetime.now().timestamp() - counts.began, 1.0)
    return (
        f"{directory.name}: running, pid {door}; {numbers}, {saved / seconds:.1f} images/s, "
        f"{counts.waiting_images:,} waiting, {counts.workers} workers; stop it with: kill {door}"
    )


def details(counts: Counts) -> list[str]:
    pages = sum(counts.pages.get(name, 0) for name in PAGES_READ)
    lines = [f"  {pages:,} pages read, {counts.waiting_pages:,} waiting, {counts.held:,} tasks held by workers"]
    lines += [f"  ! {text}" for text in (counts.notice, *attention(counts)) if text]
    lines += [f"  {number:>9,}  {outcome:<20} {origin}" for origin, outcome, number in counts.hosts[:40]]
    return lines


def report(settings: StatusSettings) -> int:
    state = settings.state_directory
    jobs = sorted(path.parent for path in state.glob("*/queue.sqlite")) if state.is_dir() else []
    if settings.job:
        jobs = [path for path in jobs if path.name == settings.job]
        if not jobs:
            raise UsageError(f"no job {settings.job!r} in {state}")
    if not jobs:
        print(f"no jobs in {state}")
    worst = 0
    for directory in jobs:
        try:
            counts = counts_of(directory, settings)
            print(shown(line(directory, counts)))
        except CrawlerError as error:
            print(shown(f"{directory.name}: cannot be read: {error}"))
            worst = max(worst, error.exit_code)
            continue
        if settings.job:
            print("\n".join(shown(text) for text in details(counts)))
    return worst
