"""How the broker's process of a job is found on this machine: its lock, its socket, and the door that it belongs to."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.util import register_after_fork
from pathlib import Path
from typing import NamedTuple

from crawler.errors import AlreadyRunning, StateError

#: What the door stops its broker with; SIGTERM and SIGINT are for the door, which lets workers report first.
STOP_SIGNAL = signal.SIGUSR1
#: Seconds that a broker whose door was killed gets to end.
ORPHAN_PATIENCE = 5.0
#: Seconds that those who only ask may hold the lock.
GLANCE = 0.2


class Whereabouts(NamedTuple):
    """What a broker writes about itself: process ids, its socket, and where workers of other machines connect."""

    pid: int
    door: int
    socket: str
    listen: str


@contextlib.contextmanager
def job_lock(directory: Path) -> Iterator[None]:
    """Hold the job's lock, which the system releases however this process ends.

    Raises AlreadyRunning where another holds it.
    """
    with (directory / "lock").open("a") as file:
        register_after_fork(file, io.TextIOWrapper.close)  # a child would hold it on
        until = time.monotonic() + GLANCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise AlreadyRunning(f"job {directory.name} is running already") from None
                time.sleep(0.01)
        yield


def is_running(directory: Path) -> bool:
    """Tell whether some process holds the job's lock."""
    try:
        with (directory / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise StateError(f"the lock of {directory} cannot be looked at: {error.strerror}") from error
    return False


def refuse_second(directory: Path) -> None:
    """Raise AlreadyRunning where the job runs; a broker whose door was killed is waited for, since it will end."""
    until = time.monotonic() + ORPHAN_PATIENCE
    while is_running(directory):
        if time.monotonic() > until or not _is_orphan(directory):
            raise AlreadyRunning(f"job {directory.name} is running already")
        time.sleep(0.02)


def _is_orphan(directory: Path) -> bool:
    try:
        return not Path(f"/proc/{whereabouts(directory).door}").exists()
    except StateError:
        return False


def whereabouts(directory: Path) -> Whereabouts:
    """Return what the job's latest broker wrote about itself.

    Raises StateError where none has ever been there.
    """
    try:
        return Whereabouts(**json.loads((directory / "broker.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StateError(f"job {directory.name} has no broker: {error}") from error


def write_whereabouts(directory: Path, socket: Path, listen: str) -> None:
    draft = directory / ".broker.json"
    door = multiprocessing.parent_process()
    known = Whereabouts(os.getpid(), (door and door.pid) or os.getppid(), str(socket), listen)
    draft.write_text(json.dumps(known._asdict()))
    draft.replace(directory / "broker.json")


def socket_path(directory: Path) -> Path:
    """Return where the local socket of a job is: beside its state, or where that path is too long, by its hash."""
    path = directory / "broker.sock"
    if len(os.fsencode(path)) < 100:
        return path
    short = Path("/tmp") / f"crawler-{os.getuid()}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid() or short.is_symlink():
        raise StateError(f"{short} belongs to somebody else; choose a shorter --state, whose sockets need it not")
    return short / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}.sock"
