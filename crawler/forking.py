"""How the processes of this machine come to be, and know that they are still wanted."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from crawler.errors import CrawlerError

T = TypeVar("T")

#: Kept from children until they can handle them: a service manager and Ctrl-C send them to every process.
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_OUR_THREADS = Path("/proc/self/task")


def new_process(name: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """Return a process to be started: a fork of this one, which has all that is imported here.

    Where threads run here, as those of an object store or of a progress bar, it starts anew and imports by itself,
    since a fork would have what they were in the middle of and never go on.
    """
    gc.freeze()  # not looked through for garbage, which would copy it into each: 0.13 of 0.45 s for 100 images
    has_threads = _has_threads()
    if has_threads:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it would let signals through that are to be blocked
    context = multiprocessing.get_context("spawn") if has_threads else multiprocessing.get_context("fork")
    return context.Process(target=target, args=arguments, name=name, daemon=True)


def apart(work: Callable[[], T]) -> T:
    """Return what `work` does in a fork of this process, so that the threads that it starts are not in this one.

    Where there are some already it is done here. Raises what `work` does, and CrawlerError where its process dies.
    """
    if _has_threads():
        return work()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_tell, args=(work, theirs), daemon=True)
    with ours:
        with theirs, blocked_signals():
            process.start()
        try:
            error, result = ours.recv()
        except EOFError as failure:
            process.join()
            raise CrawlerError(f"the process that was to look ended by {ending(process.exitcode or 0)}") from failure
        finally:
            process.kill()  # it has told all that it had to, or nobody waits for it any more
            process.join()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def ending(code: int) -> str:
    """Return the exit code of a process in words."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _tell(work: Callable[[], object], pipe: Connection) -> None:
    try:
        pipe.send((None, work()))
    # Handed over: `apart` raises it in the process that asked.
    except Exception as error:  # noqa: BLE001
        pipe.send((error, None))


def _has_threads() -> bool:
    return len(list(_OUR_THREADS.iterdir())) > 1


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Let a process start with STOP_SIGNALS blocked; those that come meanwhile come when it is known who it is."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def ready_for_signals() -> None:
    """Let the signals come that were kept from this child while it started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def parent_lives() -> bool:
    """Tell whether the process that started this one lives."""
    parent = multiprocessing.parent_process()
    return parent is None or os.getppid() == parent.pid
