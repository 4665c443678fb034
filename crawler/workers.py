"""The download workers of one machine: started, watched, and asked to end."""

from __future__ import annotations

import logging
import signal
import time

from crawler.brokers.client import ServerAddress, parse_server
from crawler.brokers.redis import check_url, is_redis
from crawler.building import worker_key
from crawler.checks import check_store
from crawler.errors import UsageError
from crawler.forking import apart
from crawler.outputs import parse_output
from crawler.processes import IMAGES, UNENCRYPTED, Link, Place, download_process, job_folder, load, wait_for_job
from crawler.settings import DownloadSettings
from crawler.supervisor import Supervisor

log = logging.getLogger(__name__)

#: Seconds that a collector is waited for, without --forever and --wait.
WAIT = 60.0
#: Seconds that workers get to finish what is under way.
STOP_TIME = 30.0


def _settled(settings: DownloadSettings) -> tuple[Link, Place]:
    if settings.processes < 1 or settings.connections < 1:
        raise UsageError("--processes and --connections must be at least 1")
    check_store(settings, parse_output(settings.output) if settings.output else None)
    link = _link(settings)
    wait = float("inf") if settings.forever else WAIT
    if settings.wait is not None:
        wait = settings.wait
    if settings.unencrypted and not link.server.path and not link.redis:
        log.warning("%s", UNENCRYPTED)
    return link, Place(
        settings.connections, settings.output, settings.store_endpoint, settings.keep_local, settings.forever, wait
    )


def _link(settings: DownloadSettings) -> Link:
    if is_redis(settings.server):
        redis = check_url(settings.server)
        return Link(
            ServerAddress(), b"", True, settings.log_file, settings.quiet, redis=redis, job=settings.job
        )  # fmt: skip
    if settings.job:
        raise UsageError("--job chooses among the jobs in a Redis; a collector has one")
    server = parse_server(settings.server)
    key = worker_key(settings.key_file, settings.state_directory, server)
    return Link(server, key, not settings.unencrypted, settings.log_file, settings.quiet)


def work(settings: DownloadSettings) -> int:
    """Check what can be checked at once, then keep the processes running until they are done."""
    link, place = _settled(settings)
    load(IMAGES)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.append(received))
    broker = link.broker()
    idle = place.wait if link.redis else float("inf")
    spec = wait_for_job(broker, place.wait, place.forever, lambda: not signals, idle=idle)
    broker.close()
    if spec is None:
        return 128 + signals[0] if signals else 0
    if link.redis and not place.forever:
        link = link._replace(job=spec.job)  # all processes work on the same
    folder = job_folder(place, spec)
    if place.keep_local and folder.path is None:
        raise UsageError(
            f"--keep-local keeps images on this machine, and {folder} is not: name a directory by --output"
        )
    if place.keep_local:
        folder.mark(spec.job_id)
    elif folder.path is None:
        apart(lambda: folder.check_mark(spec.job_id))
    else:
        folder.check_mark(spec.job_id)
    return _supervise(link, place, settings.processes, signals)


def _supervise(link: Link, place: Place, processes: int, signals: list[int]) -> int:
    supervisor = Supervisor()
    try:
        children = [
            supervisor.start(f"download {number + 1}", download_process, link, place) for number in range(processes)
        ]
        while not signals and not all(child.done for child in children):
            supervisor.watch()
            time.sleep(0.1)
        if signals:
            _stop(supervisor, signals)
            return 128 + signals[0]
        return max(child.exit_code for child in children)
    finally:
        supervisor.stop(1.0)


def _stop(supervisor: Supervisor, signals: list[int]) -> None:
    """Let the processes finish; a second signal ends them at once."""
    for child in supervisor.children:
        child.ask_to_end()
    until = time.monotonic() + STOP_TIME
    while time.monotonic() < until and len(signals) < 2:
        if not any(child.is_alive for child in supervisor.children):
            return
        time.sleep(0.05)
    for child in supervisor.children:
        if child.process is not None and child.is_alive:
            child.process.kill()
