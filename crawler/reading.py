"""The ledgers of jobs for who only looks: asked of a broker, or read from a state, which stays as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from crawler.account import LedgerPage
from crawler.brokers.client import ServerAddress
from crawler.brokers.local import is_running
from crawler.brokers.offline import STATE_FILE, StateReader
from crawler.brokers.redis import check_url, shown_url
from crawler.building import local_key
from crawler.contracts import BrokerClient
from crawler.errors import BrokerUnreachable, StateError, UsageError
from crawler.hosting import local_link
from crawler.outputs import parse_output
from crawler.processes import Link
from crawler.settings import Telling
from crawler.spec import Spec
from crawler.stores import open_folder


class Reader(Protocol):
    """What is read of a job."""

    def spec(self) -> Spec: ...

    def ledger(self, cursor: str, limit: int) -> LedgerPage: ...

    def close(self) -> None: ...


class JobReader:
    """Reads a job of this machine from its broker, and from its state where none runs, or none any more.

    Their cursors are alike, so that a reading goes on where it was when the run ends.
    """

    def __init__(self, directory: Path, settings: Telling) -> None:
        self._path = directory / STATE_FILE
        self._state: StateReader | None = None
        self._broker = _broker_of(directory, settings) if is_running(directory) else None

    def spec(self) -> Spec:
        if self._broker is not None:
            with contextlib.suppress(BrokerUnreachable):
                return self._broker.spec()
        return self._from_state().spec()

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        if self._broker is not None:
            with contextlib.suppress(BrokerUnreachable):
                return self._broker.ledger(cursor, limit)
        return self._from_state().ledger(cursor, limit)

    def _from_state(self) -> StateReader:
        """Return what reads the state, from now on."""
        if self._broker is not None:
            self._broker.close()
            self._broker = None
        if self._state is None:
            self._state = StateReader(self._path)
        return self._state

    def close(self) -> None:
        for reader in (self._broker, self._state):
            if reader is not None:
                reader.close()


def _broker_of(directory: Path, settings: Telling) -> BrokerClient | None:
    """Return the broker of a job that runs, None while it is about to begin."""
    try:
        link = local_link(directory, Link(ServerAddress(), local_key(settings.key_file, settings.state_directory)))
    except StateError:
        return None
    return link.broker()


def jobs_here(settings: Telling) -> list[Path]:
    """Return the directories of the jobs of this machine."""
    state = settings.state_directory
    return sorted(path.parent for path in state.glob(f"*/{STATE_FILE}")) if state.is_dir() else []


def job_names(settings: Telling) -> list[str]:
    """Return the names of the jobs of this machine, or of the Redis that is named."""
    if not settings.server:
        return [path.name for path in jobs_here(settings)]
    from crawler.brokers.redis.broker import jobs_in
    from crawler.brokers.redis.server import Server

    server = Server(check_url(settings.server))
    try:
        return sorted(jobs_in(server))
    finally:
        server.close()


def place_of(settings: Telling) -> str:
    """Return where the jobs are looked for."""
    return shown_url(settings.server) if settings.server else str(settings.state_directory)


def check_job(settings: Telling, job: str) -> None:
    """Raise UsageError where there is no such job."""
    if job not in job_names(settings):
        raise UsageError(f"no job {job!r} in {place_of(settings)}")


@contextlib.contextmanager
def opened(settings: Telling, job: str) -> Iterator[Reader]:
    """Have a reader of a job that is there."""
    directory = settings.state_directory / job
    reader = _shared(settings, job) if settings.server else JobReader(directory, settings)
    try:
        yield reader
    finally:
        reader.close()


def _shared(settings: Telling, job: str) -> BrokerClient:
    """Return a broker that also reads what of the job was written out of its Redis."""
    link = Link(ServerAddress(), b"", redis=check_url(settings.server), job=job)
    with contextlib.closing(link.broker()) as broker:
        output = broker.spec().output
    folder = open_folder(parse_output(output), job, settings.store_endpoint)
    return link._replace(archive=folder.open_archive).broker()
