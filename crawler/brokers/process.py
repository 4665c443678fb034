"""The broker's own process: it holds the job's lock, serves its state, and ends with its parent."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import signal
import socket
import sqlite3
import sys
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import NoReturn

from crawler.brokers.client import ServerAddress
from crawler.brokers.connection import is_loopback
from crawler.brokers.listen import listen_tcp, listen_unix
from crawler.brokers.local import STOP_SIGNAL, job_lock, socket_path, write_whereabouts
from crawler.brokers.manager import Manager
from crawler.brokers.offline import STATE_FILE
from crawler.brokers.schema import refuse_network_file_system
from crawler.brokers.sqlite import SqliteBroker
from crawler.brokers.wire import refuse_guessable
from crawler.errors import CrawlerError, StateError
from crawler.forking import parent_lives
from crawler.model import State

log = logging.getLogger(__name__)

#: Seconds that a stopping broker waits for workers to report what is under way.
DRAIN_TIME = 30.0
#: Seconds that a finished broker stays, so that workers hear of it.
FAREWELL_TIME = 6.0
#: What says that nothing can be written, which starting again does not cure; SQLite tells it in words alone (3.10).
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_SAID_UNWRITABLE = ("disk is full", "readonly database")


def run_broker(directory: Path, listen: ServerAddress | None, key: bytes, encrypt: bool, ready: Pipe) -> None:
    """Serve the state in `directory` until told to stop by STOP_SIGNAL or the parent's end.

    Sends None, or the CrawlerError that prevents it, through `ready`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(100_000, 20, 20)  # tasks are many and form no cycles
    try:
        refuse_network_file_system(directory)
        with job_lock(directory):
            path = socket_path(directory)
            # Before the state is opened: where this is refused, no worker can have come since it was closed.
            listeners = [listen_unix(path), *([_listen_far(listen, key)] if listen is not None else [])]
            broker = SqliteBroker(directory / STATE_FILE)
            manager = Manager(broker, key, encrypt=encrypt)
            for listener in listeners:
                manager.listen(listener)
            write_whereabouts(directory, path, str(listen or ""))
            ready.send(None)
            ready.close()
            _serve(broker, manager)
            path.unlink(missing_ok=True)
    except CrawlerError as error:
        with contextlib.suppress(OSError):
            ready.send(error)
    except (OSError, sqlite3.OperationalError) as error:
        if not _is_unwritable(error):
            raise
        _refuse(StateError(f"the state in {directory} cannot be written: {error}; the same command goes on"), ready)


def _listen_far(listen: ServerAddress, key: bytes) -> socket.socket:
    """Return a socket for workers of other machines; raises UsageError."""
    listener = listen_tcp(listen.host, listen.port)
    if not is_loopback(listener.getsockname()[0]):
        refuse_guessable(key)
    return listener


def _is_unwritable(error: OSError | sqlite3.OperationalError) -> bool:
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    return any(words in str(error) for words in _SAID_UNWRITABLE)


def _refuse(error: StateError, ready: Pipe) -> NoReturn:
    """End with what the door takes for a reason not to start us again; log it where nobody waits for it any more."""
    try:
        ready.send(error)
    except OSError:
        log.error("%s", error)
    sys.exit(error.exit_code)


def _serve(broker: SqliteBroker, manager: Manager) -> None:
    wakeup, wakeup_write = socket.socketpair()
    wakeup_write.setblocking(False)
    signal.set_wakeup_fd(wakeup_write.fileno(), warn_on_full_buffer=False)
    told = []
    signal.signal(STOP_SIGNAL, lambda *_: told.append(time.monotonic()))
    manager.watch(wakeup.fileno())
    while not told and parent_lives():
        manager.turn()
    if told:
        _farewell(broker, manager, told, wakeup)
    manager.close()
    broker.close()


def _farewell(broker: SqliteBroker, manager: Manager, told: list[float], wakeup: socket.socket) -> None:
    """Let workers hear the end: of a finished run briefly, of a stopped one until all is reported or returned."""
    wakeup.recv(4096)
    finished = broker.state is State.FINISHED
    if not finished:
        broker.drain()
    until = told[0] + (FAREWELL_TIME if finished else DRAIN_TIME)
    while time.monotonic() < until and len(told) < 2 and not broker.deserted():
        manager.turn()
