"""The broker's process of a job, as its door hosts it and others of this machine find it."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import STOP_SIGNAL, refuse_second, whereabouts
from crawler.errors import CrawlerError, StateError
from crawler.processes import Link, broker_process
from crawler.supervisor import Supervisor


def local_link(directory: Path, link: Link) -> Link:
    """Return how processes of this machine reach the broker of the job in `directory`.

    Raises StateError where none has ever been there.
    """
    return link._replace(server=ServerAddress(path=whereabouts(directory).socket))


@contextlib.contextmanager
def hosted_broker(
    supervisor: Supervisor, directory: Path, listen: ServerAddress | None, link: Link
) -> Iterator[ManagerBroker]:
    """Have a broker's process; whatever happens, all processes of `supervisor` end with this block.

    Raises the CrawlerError that kept it from beginning, such as AlreadyRunning.
    """
    broker: ManagerBroker | None = None
    try:
        _start(supervisor, directory, listen, link)
        broker = local_link(directory, link).broker()
        yield broker
    finally:
        supervisor.stop(5.0)
        if broker is not None:
            broker.close()


def _start(supervisor: Supervisor, directory: Path, listen: ServerAddress | None, link: Link) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(
            f"the state directory {directory} cannot be made: {error.strerror}; choose another with --state"
        ) from error
    refuse_second(directory)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = supervisor.start(
        "broker", broker_process, directory, listen, link, _FirstTime(theirs), stop_signal=STOP_SIGNAL
    )
    theirs.close()
    try:
        refusal = ours.recv()
    except EOFError:
        refusal = CrawlerError("the broker's process ended before it began; see the log")
    if refusal is not None:
        child.done = True
        raise refusal


class _FirstTime:
    """The end of a pipe that tells whether the broker began; one that is started again has nobody to tell."""

    def __init__(self, pipe: Pipe | None) -> None:
        self._pipe = pipe

    def send(self, value: object) -> None:
        if self._pipe is not None:
            self._pipe.send(value)

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def __reduce__(self) -> tuple[object, ...]:
        closed = self._pipe is None or self._pipe.closed
        return (_FirstTime, (None if closed else self._pipe,))
