"""The jobs of this machine, and what becomes of them, in words."""

from __future__ import annotations

import datetime
from pathlib import Path

from crawler.account import Counts
from crawler.brokers.client import ServerAddress
from crawler.brokers.local import is_running, whereabouts
from crawler.brokers.offline import STATE_FILE, read_counts
from crawler.brokers.redis import check_url
from crawler.building import local_key
from crawler.errors import CrawlerError, UsageError
from crawler.hosting import local_link
from crawler.limits import saved
from crawler.model import State
from crawler.outcomes import PAGES_READ, SUCCESSES, Outcome
from crawler.processes import Link
from crawler.progress import attention, size
from crawler.reading import job_names, jobs_here
from crawler.settings import StatusSettings, changed
from crawler.shown import shown


def counts_of(directory: Path, settings: StatusSettings) -> Counts:
    """Return the numbers of a job, from its broker where one runs, else from its state."""
    if not is_running(directory):
        return read_counts(directory / STATE_FILE)
    key = local_key(settings.key_file, settings.state_directory)
    broker = local_link(directory, Link(ServerAddress(), key)).broker()
    try:
        return broker.counts()
    finally:
        broker.close()


def line(directory: Path, counts: Counts) -> str:
    if not is_running(directory):
        how = "finished" if counts.state is State.FINISHED else "stopped; the same command goes on"
        return f"{directory.name}: {how}; {_numbers(counts)}"
    door = whereabouts(directory).door
    return f"{directory.name}: running, pid {door}; {_numbers(counts)}{_progress(counts)}; stop it with: kill {door}"


def shared_line(name: str, counts: Counts) -> str:
    """Return what a job in a Redis has come to."""
    if counts.state is State.FINISHED:
        return f"{name}: finished; {_numbers(counts)}"
    return f"{name}: open; {_numbers(counts)}{_progress(counts)}"


def _numbers(counts: Counts) -> str:
    failed = sum(number for outcome, number in counts.images.items() if outcome not in SUCCESSES)
    same = counts.images.get(Outcome.UNCHANGED, 0)
    unchanged = f"{same:,} unchanged, " if same else ""
    began = datetime.datetime.fromtimestamp(counts.began).strftime("%Y-%m-%d %H:%M")
    return f"run {counts.run} of {began}: {saved(counts):,} saved, {unchanged}{failed:,} failed, {size(counts.bytes)}"


def _progress(counts: Counts) -> str:
    there = sum(counts.images.get(name, 0) for name in SUCCESSES)
    seconds = max(datetime.datetime.now().timestamp() - counts.began, 1.0)
    return f", {there / seconds:.1f} images/s, {counts.waiting_images:,} waiting, {counts.workers} workers"


def details(counts: Counts) -> list[str]:
    pages = sum(counts.pages.get(name, 0) for name in PAGES_READ)
    lines = [f"  {pages:,} pages read, {counts.waiting_pages:,} waiting, {counts.held:,} tasks held by workers"]
    lines += [f"  ! {text}" for text in (counts.notice, *attention(counts)) if text]
    lines += [f"  {number:>9,}  {outcome:<20} {origin}" for origin, outcome, number in counts.hosts[:40]]
    return lines


def report(settings: StatusSettings) -> int:
    if settings.image:
        if settings.job or settings.image not in job_names(settings):
            from crawler.lookup import look_up

            return look_up(settings)
        settings = changed(settings, job=settings.image, image="")  # a job may be called as an image is named
    return _report_shared(settings) if settings.server else _report_here(settings)


def _report_shared(settings: StatusSettings) -> int:
    """Tell of the jobs in a Redis."""
    from crawler.brokers.redis.broker import RedisBroker, jobs_in
    from crawler.brokers.redis.server import Server

    server = Server(check_url(settings.server))
    jobs = sorted(jobs_in(server))
    if settings.job:
        jobs = [name for name in jobs if name == settings.job]
        if not jobs:
            raise UsageError(f"no job {settings.job!r} in {server.shown}")
    if not jobs:
        print(f"no jobs in {server.shown}")
    for name in jobs:
        broker = RedisBroker(server, name)
        counts = broker.counts()
        print(shown(shared_line(name, counts)))
        if settings.job:
            print("\n".join(shown(text) for text in details(counts)))
    server.close()
    return 0


def _report_here(settings: StatusSettings) -> int:
    state, jobs = settings.state_directory, jobs_here(settings)
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
