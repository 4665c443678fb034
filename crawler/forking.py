"""How the processes of this machine come to be, and know that they are still wanted."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

#: Kept from children until they can handle them: a service manager and Ctrl-C send them to every process.
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_OUR_THREADS = Path("/proc/self/task")


def start_process(name: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """Start a process that begins with STOP_SIGNALS blocked: a fork of this one, which has all that is imported here.

    Where threads run here it starts anew, since a fork would have what they were in the middle of and never go on.
    Raises OSError where the system has no room for it.
    """
    gc.freeze()  # not looked through for garbage, which would copy it into each: 0.13 of 0.45 s for 100 images
    fresh = len(list(_OUR_THREADS.iterdir())) > 1
    if fresh:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it would let the signals through
    context = multiprocessing.get_context("spawn") if fresh else multiprocessing.get_context("fork")
    process: BaseProcess = context.Process(target=target, args=arguments, name=name, daemon=True)
    with _blocked_signals():
        process.start()
    return process


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
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
