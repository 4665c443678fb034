"""The thread of a worker that talks to the broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue

from crawler.contracts import Broker
from crawler.errors import BrokerUnreachable
from crawler.model import Reply, Report

log = logging.getLogger(__name__)


class Courier(threading.Thread):
    """The one thread of a worker that talks to the broker: reports in, replies and robots texts out.

    While the broker cannot be reached it tries the same report again, for `patience` seconds at most; then, and for
    every error that will not pass, the error comes out instead of a reply.
    """

    def __init__(self, broker: Broker, worker: str, patience: float, wake: Callable[[], None]) -> None:
        super().__init__(name="courier", daemon=True)
        self._broker = broker
        self._worker = worker
        self._patience = patience
        self._wake = wake
        self._reports: SimpleQueue[Report | None] = SimpleQueue()
        self._replies: SimpleQueue[tuple[Reply, dict[str, str]] | Exception] = SimpleQueue()
        self._known: set[str] = {""}

    def send(self, report: Report) -> None:
        self._reports.put(report)

    def received(self) -> tuple[Reply, dict[str, str]] | None:
        """Return a reply and the robots texts that it names for the first time, or None; raises what ended the talk."""
        if self._replies.empty():
            return None
        reply = self._replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def forget(self, digests: Iterable[str]) -> None:
        """Bring these robots texts again where a reply names them; only while there is no report under way."""
        self._known.difference_update(digests)

    def stop(self) -> None:
        self._reports.put(None)

    def run(self) -> None:
        while (report := self._reports.get()) is not None:
            try:
                self._replies.put(self._exchange(report))
            # Handed over: `received` raises it in the loop's own thread. Were one missed, the loop would wait for ever.
            except Exception as error:  # noqa: BLE001
                self._replies.put(error)
            self._wake()

    def _exchange(self, report: Report) -> tuple[Reply, dict[str, str]]:
        patience = time.monotonic() + self._patience
        said = False
        while True:
            try:
                reply = self._broker.exchange(self._worker, report)
                texts = {digest: self._broker.robots(digest) for digest in set(reply.robots.values()) - self._known}
            except BrokerUnreachable as error:
                if time.monotonic() > patience:
                    raise
                if not said:
                    log.warning("%s; trying again", error)
                    said = True
                time.sleep(0.5)
            else:
                self._known |= texts.keys()
                if said:
                    log.warning("connected again")
                return reply, texts
