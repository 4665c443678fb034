"""The processes of this machine: start, watch, start again, stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import msgspec

from crawler.errors import BrokerUnreachable, CrawlerError, UsageError
from crawler.forking import blocked_signals, ending, new_process

log = logging.getLogger(__name__)

#: Deaths of one process within WINDOW seconds that are too many.
MOST_DEATHS = 20
WINDOW = 60.0
#: Exit codes after which a child is not started again: it is done, or trying again would end the same way.
FINAL_CODES = frozenset({0, UsageError.exit_code, BrokerUnreachable.exit_code})


class Child(msgspec.Struct):
    """One process that ought to run, and how it fared."""

    name: str
    target: Callable[..., None]
    arguments: tuple[Any, ...]
    stop_signal: int = signal.SIGTERM
    process: BaseProcess | None = None
    done: bool = False
    exit_code: int = 0
    deaths: list[float] = msgspec.field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def ask_to_end(self) -> None:
        if self.process is not None and self.process.pid is not None and self.process.is_alive():
            with contextlib.suppress(ProcessLookupError):  # it ended this very moment
                os.kill(self.process.pid, self.stop_signal)


class Supervisor:
    """Starts children; one that dies is started again, one that exits with one of FINAL_CODES is not."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._stopping = False

    def start(
        self, name: str, target: Callable[..., None], *arguments: Any, stop_signal: int = signal.SIGTERM
    ) -> Child:
        child = Child(name, target, arguments, stop_signal)
        self.children.append(child)
        self._spawn(child)
        return child

    def watch(self) -> None:
        """Start again what died.

        Raises CrawlerError where one dies again and again.
        """
        for child in self.children:
            process = child.process
            if child.done or process is None or process.is_alive():
                continue
            process.join()
            code = process.exitcode or 0
            if code in FINAL_CODES or self._stopping:
                child.done, child.exit_code = True, max(code, 0)
                continue
            self._note_death(child, code)
            self._spawn(child)

    def wait(self, seconds: float) -> bool:
        """Wait, but no longer than until a child ends, and tell whether one did."""
        running = [child.process for child in self.children if child.process is not None and not child.done]
        ended = connection.wait([process.sentinel for process in running], seconds)
        for process in running:
            if process.sentinel in ended:
                process.join()  # its files are closed a moment before it is gone
        return bool(ended)

    def stop(self, seconds: float, *, only: str = "") -> None:
        """Ask children to end by their signal, and kill what still runs after `seconds`."""
        self._stopping = not only
        chosen = [child for child in self.children if child.process is not None and child.name.startswith(only)]
        for child in chosen:
            child.ask_to_end()
        until = time.monotonic() + seconds
        for child in chosen:
            assert child.process is not None
            child.process.join(max(0.0, until - time.monotonic()))
            if child.process.is_alive():
                child.process.kill()
                child.process.join()
            child.done = True

    def _spawn(self, child: Child) -> None:
        try:
            process = new_process(child.name, child.target, child.arguments)
            with blocked_signals():
                process.start()
                child.process = process
        except OSError as error:
            raise CrawlerError(f"the {child.name} process cannot be started: {error.strerror}") from error

    def _note_death(self, child: Child, code: int) -> None:
        now = time.monotonic()
        child.deaths = [when for when in child.deaths if now - when < WINDOW] + [now]
        how = ending(code)
        log.warning("the %s process ended by %s; starting it again", child.name, how)
        if len(child.deaths) > MOST_DEATHS:
            raise CrawlerError(f"the {child.name} process died {MOST_DEATHS} times within a minute, the last by {how}")
