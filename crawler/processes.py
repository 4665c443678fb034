"""What each process of this machine runs: where the rooms are put together.

Each names its rooms when it begins, since a door that only tells of processes needs none. One that starts them imports
these before, once for all that are forked from it.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from crawler import logs
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.contracts import BrokerClient, JobFolder, ResultArchive
from crawler.errors import BrokerUnreachable, CrawlerError
from crawler.forking import parent_lives, ready_for_signals
from crawler.lasting import lasting
from crawler.model import State
from crawler.outputs import parse_output
from crawler.spec import Spec
from crawler.stores import open_folder
from crawler.stores.files import worker_name

if TYPE_CHECKING:
    from crawler.brokers.redis.broker import RedisBroker
    from crawler.work import WorkLoop

log = logging.getLogger(__name__)

#: What the broker imports, and those that read sources, that read pages, and that fetch images.
BROKER, SOURCES, PAGES = "crawler.brokers.process", "crawler.sources.loop", "crawler.pages.loop"
IMAGES = "crawler.images.filing"
#: Seconds for which processes beside the broker wait for it to be started again.
LOCAL_PATIENCE = 60.0
#: Seconds between looks for a job with work: at first, and in the end, for a thousand may look at one Redis.
LOOK_FOR_JOBS = (0.2, 2.0)
#: Seconds for which everybody waits for a Redis that is gone: it may be moved to another machine.
REDIS_PATIENCE = 3600.0
#: What is said at both ends where `--unencrypted` is given.
UNENCRYPTED = (
    "--unencrypted: who sees the network's packets reads all URLs and the job's cookies, headers and certificates, "
    "and can forge tasks, settings and results"
)


class Link(NamedTuple):
    """How a process reaches the broker, where else the broker listens (address and port), and how it logs.

    With `redis`, the URL of one, the broker is there; `job` is the one that is meant, `""` any that has work.
    """

    server: ServerAddress
    key: bytes
    encrypt: bool = True
    log_file: Path | None = None
    quiet: bool = False
    listening: tuple[tuple[str, int], ...] = ()
    redis: str = ""
    job: str = ""
    archive: Callable[[], ResultArchive] | None = None  #: opens what was written out of a Redis; only doors read it

    def broker(self) -> BrokerClient:
        return self.redis_broker() if self.redis else ManagerBroker(self.server, self.key, encrypt=self.encrypt)

    def redis_broker(self) -> RedisBroker:
        from crawler.brokers.redis.broker import RedisBroker
        from crawler.brokers.redis.server import Server

        return RedisBroker(Server(self.redis), self.job, self.archive() if self.archive else None)

    @property
    def patience(self) -> float:
        """For how many seconds the processes of a run wait for a broker that is gone."""
        return REDIS_PATIENCE if self.redis else LOCAL_PATIENCE


class Place(NamedTuple):
    """How a download worker stores and waits; times in seconds."""

    connections: int
    output: str = ""
    store_endpoint: str = ""
    keep_local: bool = False
    forever: bool = False
    wait: float = LOCAL_PATIENCE


def load(*rooms: str) -> None:
    """Import what processes need, before they are forked from this one."""
    with lasting():
        for room in rooms:
            importlib.import_module(room)


class _Stopper:
    """Hands SIGTERM to the loop that runs now; SIGINT is the door's."""

    def __init__(self) -> None:
        self.stopped = False
        self.loop: WorkLoop | None = None
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)
        ready_for_signals()

    def _on_term(self, *_: object) -> None:
        self.stopped = True
        if self.loop is not None:
            self.loop.stop()


def broker_process(directory: Path, listen: ServerAddress | None, link: Link, ready: object) -> None:
    from crawler.brokers.process import run_broker

    logs.set_up(link.log_file, link.quiet)
    run_broker(directory, listen, link.key, link.encrypt, ready)  # type: ignore[arg-type]


def source_process(link: Link) -> None:
    """Read sources until the run is over."""
    from crawler.sources.loop import SourceLoop

    def make(broker: BrokerClient, spec: Spec) -> tuple[WorkLoop, Callable[[], None]]:
        return SourceLoop(broker, worker_name(), spec, patience=link.patience), lambda: None

    _work(link, link.patience, forever=False, make=make)


def page_process(link: Link) -> None:
    """Read pages until the run is over."""
    from crawler.pages.loop import PageLoop

    def make(broker: BrokerClient, spec: Spec) -> tuple[WorkLoop, Callable[[], None]]:
        own = (*link.listening, *broker.addresses)
        return PageLoop(broker, worker_name(), spec, patience=link.patience, own=own), lambda: None

    _work(link, link.patience, forever=False, make=make)


def download_process(link: Link, place: Place) -> None:
    """Fetch images until the run is over, or for ever."""

    def make(broker: BrokerClient, spec: Spec) -> tuple[WorkLoop, Callable[[], None]]:
        folder = job_folder(place, spec)
        if not place.keep_local:
            folder.check_mark(spec.job_id)
        folder.sweep()
        make_loop = _shard_loop if spec.store == "shards" else _file_loop
        return make_loop(
            broker, spec, folder, connections=place.connections,
            patience=max(place.wait, link.patience) if link.redis else place.wait,
            own=(*link.listening, *broker.addresses),
        )  # fmt: skip

    gc.set_threshold(100_000, 20, 20)  # images are many and few form cycles: 4.5 to 1.3 µs of each in shards
    _work(link, place.wait, forever=place.forever, make=make)


def _file_loop(broker: BrokerClient, spec: Spec, folder: JobFolder, **how: Any) -> tuple[WorkLoop, Callable[[], None]]:
    from crawler.brokers.schema import is_on_network
    from crawler.images.filing import FileLoop

    worker = worker_name()
    store = folder.open_store(worker, slow=folder.path is not None and bool(is_on_network(folder.path)))
    return FileLoop(broker, worker, spec, store, folder.file_name, **how), store.close


def _shard_loop(broker: BrokerClient, spec: Spec, folder: JobFolder, **how: Any) -> tuple[WorkLoop, Callable[[], None]]:
    from crawler.images.sharding import ShardLoop
    from crawler.shards.samples import check_installed, keep_out

    check_installed()
    keep_out("pandas", "numpy")
    worker = worker_name()
    shards = folder.open_shards(worker, spec.transform.encode or "jpg")
    return ShardLoop(broker, worker, spec, shards, **how), shards.close


def job_folder(place: Place, spec: Spec) -> JobFolder:
    """Return the folder of a job's images: in the output named here, or where the collector has it."""
    return open_folder(parse_output(place.output or spec.output), spec.job, place.store_endpoint)


Maker: TypeAlias = "Callable[[BrokerClient, Spec], tuple[WorkLoop, Callable[[], None]]]"


def _work(link: Link, wait: float, *, forever: bool, make: Maker) -> None:
    logs.set_up(link.log_file, link.quiet)
    stopper = _Stopper()
    finished = ""
    try:
        while not stopper.stopped and parent_lives():
            broker = link.broker()
            spec = wait_for_job(broker, wait, forever, lambda: not stopper.stopped and parent_lives(), after=finished)
            if spec is None:
                break
            loop, close = make(broker, spec)
            stopper.loop = loop
            if stopper.stopped:
                loop.stop()
            try:
                ended = loop.run(parent_lives)
            finally:
                stopper.loop = None
                close()
                broker.close()
            finished = spec.job if ended is State.FINISHED else ""
            if finished and not forever:
                break
            if finished:
                log.info("job %s is finished; waiting for the next", finished)
                gc.collect()  # its loop and its handles hold each other
    except CrawlerError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    if not parent_lives():
        os._exit(1)  # threads may still wait for servers that nobody asks for any more


def wait_for_job(
    broker: BrokerClient, wait: float, forever: bool, go_on: Callable[[], bool], *, after: str = "",
    idle: float = float("inf"),
) -> Spec | None:  # fmt: skip
    """Return the settings of the job that the broker has work for; None when told to stop or it is finished.

    `after` is the job that ended before: its collector may well be gone, which is worth no warning.
    Raises BrokerUnreachable after `wait` seconds without a collector, or `idle` seconds without a job.
    """
    begun = time.monotonic()
    until = begun + wait
    said, pause = bool(after), LOOK_FOR_JOBS[0]
    while go_on():
        try:
            spec, counts = broker.spec(), broker.counts()
        except BrokerUnreachable as error:
            if time.monotonic() > until:
                raise
            if not said:
                log.warning("%s; waiting for a collector", error)
                said = True
            time.sleep(0.5)
            continue
        if spec.job and counts.state is State.OPEN:
            return spec
        if counts.state is State.FINISHED and spec.job and not forever:
            return None
        if not spec.job and time.monotonic() > begun + idle:
            raise BrokerUnreachable("no job has work")
        until = max(until, time.monotonic() + wait)
        time.sleep(pause)
        pause = min(2 * pause, LOOK_FOR_JOBS[1])
    return None
