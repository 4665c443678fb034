"""How the processes of this machine come to be, and know that they are still wanted.

All are forked from one that imports what they need, once, while their door still reads its settings.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Sequence
from functools import lru_cache

#: What a run over lists takes, what pages take beside, and what download workers alone take.
BROKER = "crawler.brokers.process"
LISTS = ("crawler.processes", BROKER, "crawler.sources.loop", "crawler.images.filing")
PAGES = ("crawler.pages.loop",)
DOWNLOAD = ("crawler.processes", "crawler.images.filing")
#: What all of them take in place of BROKER where it is in a Redis.
REDIS = ("crawler.brokers.redis.broker",)
#: What is imported last.
INHERITED = "crawler.inherited"
#: Kept from children until they can handle them: a service manager and Ctrl-C send them to every process.
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
#: How often a process looks whether its door lives.
LOOKS_A_SECOND = 10
_ONLY_TELLS = frozenset({"--help", "-h", "--help-all", "--version"})


def prepare(rooms: Sequence[str], arguments: Sequence[str]) -> None:
    """Begin to import what children need, unless the command line only asks for help."""
    if _ONLY_TELLS.isdisjoint(arguments):
        if any(map(_names_redis, arguments)) and importlib.util.find_spec("redis") is not None:
            rooms = [*(room for room in rooms if room != BROKER), *REDIS]
        import multiprocessing

        multiprocessing.set_forkserver_preload([*rooms, INHERITED])
        start_server()


def _names_redis(argument: str) -> bool:
    """Tell whether a word of the command line is a Redis, by its scheme, alone or behind its flag."""
    value = argument.partition("=")[2] if argument.startswith("--") else argument
    return value.startswith(("redis://", "rediss://"))


def prepare_run(arguments: Sequence[str]) -> None:
    """Begin to import what a run takes; where a list is named pages wait until they are needed."""
    named = any(argument.partition("=")[0] == "--urls" for argument in arguments)
    prepare(LISTS if named else LISTS + PAGES, arguments)


def start_server() -> None:
    """Start the process that children are forked from, unless it runs; it and they begin with STOP_SIGNALS blocked."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # it would let the signals through
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def parent_lives() -> bool:
    """Tell whether our door lives, and the process we were forked from: without it our door takes us for dead."""
    return os.getppid() == _forked_by() and _door_lives(int(time.monotonic() * LOOKS_A_SECOND))


@lru_cache(maxsize=1)
def _forked_by() -> int:
    return os.getppid()


@lru_cache(maxsize=1)
def _door_lives(_moment: int) -> bool:
    """Look at most once in a moment: at each turn of a loop it took 2% of a worker's time."""
    import multiprocessing

    door = multiprocessing.parent_process()
    return door is None or door.is_alive()
