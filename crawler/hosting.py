"""The broker's process of a job, as its door hosts it and others of this machine find it."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from multiprocessing.util import register_after_fork
from pathlib import Path

from crawler.brokers.client import ServerAddress
from crawler.brokers.connection import is_loopback
from crawler.brokers.local import STOP_SIGNAL, job_lock, refuse_second, whereabouts
from crawler.brokers.redis import shown_url
from crawler.brokers.wire import refuse_guessable
from crawler.building import KEY_NAME, local_key
from crawler.contracts import BrokerClient
from crawler.errors import CrawlerError, StateError, UsageError
from crawler.outputs import parse_output
from crawler.processes import BROKER, UNENCRYPTED, Link, broker_process, load
from crawler.settings import CollectSettings
from crawler.supervisor import Supervisor

log = logging.getLogger(__name__)


def local_link(directory: Path, link: Link) -> Link:
    """Return how processes of this machine reach the broker of the job in `directory`.

    Raises StateError where none has ever been there.
    """
    if link.redis:
        return link
    return link._replace(server=ServerAddress(path=whereabouts(directory).socket))


@contextlib.contextmanager
def hosted_broker(
    supervisor: Supervisor, directory: Path, listen: ServerAddress | None, link: Link,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[BrokerClient]:  # fmt: skip
    """Have a broker, and do `meanwhile` what there is to do while it begins.

    Whatever happens, all processes of `supervisor` end with this block.
    Raises the CrawlerError that kept the broker from beginning, such as AlreadyRunning.
    """
    _make_private(directory)
    with (
        job_lock(directory) if link.redis else contextlib.nullcontext(),
        _connected(supervisor, directory, listen, link, meanwhile) as broker,
    ):
        yield broker


@contextlib.contextmanager
def _connected(
    supervisor: Supervisor, directory: Path, listen: ServerAddress | None, link: Link, meanwhile: Callable[[], None]
) -> Iterator[BrokerClient]:
    broker: BrokerClient | None = None
    try:
        begun = contextlib.nullcontext() if link.redis else _beginning(supervisor, directory, listen, link)
        with begun:
            meanwhile()
        broker = local_link(directory, link).broker()
        yield broker
    finally:
        supervisor.stop(5.0)
        if broker is not None:
            broker.close()


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(
            f"the state directory {directory} cannot be made: {error.strerror}; choose another with --state"
        ) from error


@contextlib.contextmanager
def _beginning(supervisor: Supervisor, directory: Path, listen: ServerAddress | None, link: Link) -> Iterator[None]:
    """Start a broker, and wait at the end of this block until it has begun."""
    refuse_second(directory)
    load(BROKER)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    register_after_fork(ours, Pipe.close)  # so that a broker hears of it when nobody waits for it
    child = supervisor.start(
        "broker", broker_process, directory, listen, link, _FirstTime(theirs), stop_signal=STOP_SIGNAL
    )
    theirs.close()
    yield
    try:
        refusal = ours.recv()
    except EOFError:
        refusal = CrawlerError("the broker's process ended before it began; see the log")
    if refusal is not None:
        child.done = True
        raise refusal


class _FirstTime:
    """The end of a pipe that tells whether the broker began; one that is started again has nobody to tell.

    It hears so, by a BrokenPipeError, where it has an error to tell.
    """

    def __init__(self, pipe: Pipe | None) -> None:
        self._pipe = pipe

    def send(self, value: object) -> None:
        if self._pipe is not None and not self._pipe.closed:
            self._pipe.send(value)
        elif value is not None:
            raise BrokenPipeError

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def __reduce__(self) -> tuple[object, ...]:
        closed = self._pipe is None or self._pipe.closed
        return (_FirstTime, (None if closed else self._pipe,))


def listening(listen: ServerAddress | None) -> tuple[tuple[str, int], ...]:
    """Return the address and port at which a broker listens for other machines, if it does."""
    return ((_numeric(listen.host), listen.port),) if listen is not None else ()


def _numeric(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError as error:
        raise UsageError(f"--listen: the name {host} is not known on this machine") from error


def reachable(listen: ServerAddress, advertise: str) -> str:
    """Return the address by which workers of other machines reach this one."""
    if advertise:
        return advertise
    if listen.host not in ("0.0.0.0", "::"):
        return str(listen)
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing; asks the system which address it would use
        return f"{probe.getsockname()[0]}:{listen.port}"
    except OSError:
        return f"{socket.gethostname()}:{listen.port}"
    finally:
        probe.close()


def announce(settings: CollectSettings, listen: ServerAddress | None) -> None:
    """Print the very line to run on a worker, and what it needs."""
    if listen is None:
        log.info("workers: python -m crawler.download --server %s", shown_url(settings.server))
        return
    secret = local_key(settings.key_file, settings.state_directory)
    flags = " --unencrypted" if settings.unencrypted else ""
    if is_loopback(_numeric(listen.host)):
        log.info("workers of this machine: python -m crawler.download --server %s%s", listen, flags)
        return
    refuse_guessable(secret)
    key = settings.key_file or settings.state_directory / KEY_NAME
    where = reachable(listen, settings.advertise)
    output = parse_output(settings.output)
    needed = f"{output} mounted" if output.directory else f"credentials for {output} in its environment"
    if settings.store_endpoint:
        flags += f" --store-endpoint {shlex.quote(settings.store_endpoint)}"
    print(
        f"On each worker, with {needed} and the key file copied (mode 600):\n"
        f"  python -m crawler.download --server {where} --key-file {shlex.quote(key.name)}{flags}\n"
        f"The key file here is {key}",
        file=sys.stderr,
    )
    if settings.unencrypted:
        log.warning("%s", UNENCRYPTED)
