"""A loop whose tasks are worked on by threads, as pages and sources are."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from queue import Empty, SimpleQueue

from crawler import answers
from crawler.contracts import Broker
from crawler.errors import FetchError, LeaseLapsed
from crawler.leave import Leave
from crawler.model import Found, Kind, Settlement, Task, Verb, encode
from crawler.outcomes import NO_CONNECTION, PAUSING, Outcome
from crawler.spec import Spec
from crawler.work import NO_REQUEST, WorkLoop

log = logging.getLogger(__name__)

#: Bytes of what a task names that go into one settlement.
PORTION = 4 * 2**20


class PooledLoop(WorkLoop):
    """Works on up to `threads` tasks at a time."""

    def __init__(self, broker: Broker, worker: str, spec: Spec, patience: float, threads: int) -> None:
        self._ended: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        super().__init__(broker, worker, spec, patience, threads)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "task")
        self._running = 0
        self._leave = Leave()  #: of what is begun now

    @abstractmethod
    def _do(self, task: Task, leave: Leave) -> tuple[Settlement | None, Task | None]:
        """Work on a task in a thread of the pool: return its settlement, or the task to go on with at the same host.

        Requests are made as long as `leave` is. Raises FetchError where it fails, LeaseLapsed where it is to go back.
        """

    def _refusal(self, task: Task) -> Settlement | None:
        """Return the settlement of a task for which no request is to be made."""
        return None

    def _wake(self) -> None:
        self._ended.put(None)

    def _close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, now: float) -> None:
        while self._running < self._threads and (task := self._agenda.next(now)) is not None:
            refusal = self._refusal(task)
            if refusal is None:
                self._running += 1
                self._pool.submit(self._work, task, self._leave)
            else:
                self._agenda.ended(task, now - NO_REQUEST)
                refusal.unasked = True
                self._agenda.settle(refusal)

    def _progress(self, now: float) -> None:
        timeout = self._agenda.wakes_in(now, 0.05)
        try:
            while True:
                act = self._ended.get(timeout=timeout) if timeout > 0 else self._ended.get_nowait()
                timeout = 0.0
                if act is not None:
                    act()
        except Empty:
            return

    def _abandon(self, now: float) -> None:
        self._leave.end()
        self._leave = Leave()

    def _work(self, task: Task, leave: Leave) -> None:
        started = time.monotonic()
        again: Task | None = None
        try:
            settlement, again = self._do(task, leave)
            settlements = _portions(settlement) if settlement is not None else []
        except FetchError as error:
            settlements = [answers.failed(task, error)]
        except LeaseLapsed:
            settlements = [Settlement(number=task.number, verb=Verb.RETURNED)]
        # Logged and told: what strangers send may meet any defect of ours, and that costs its own task only, which is
        # `internal_error` in the ledger.
        except Exception as error:
            log.exception("%s cannot be worked on", task.at)
            settlements = [answers.failed(task, FetchError(Outcome.INTERNAL_ERROR, repr(error)[:300]))]
        latency = 0.0 if task.kind is Kind.SOURCE else time.monotonic() - started
        self._ended.put(lambda: self._settle(task, settlements, again, latency))

    def _settle(self, task: Task, settlements: list[Settlement], again: Task | None, latency: float) -> None:
        now = time.monotonic()
        self._running -= 1
        answered = not any(settlement.outcome in NO_CONNECTION for settlement in settlements)
        self._agenda.ended(task, now, latency, lasted=latency, answered=answered)
        if again is not None:
            self._agenda.again(again)
        for settlement in settlements:
            if settlement.outcome in PAUSING:
                self._agenda.pause(task, settlement.retry_after, now)
            self._agenda.settle(settlement)


def _portions(settlement: Settlement) -> list[Settlement]:
    """Return a settlement, with what was found beyond one portion in settlements that go before it."""
    sizes = accumulate(len(encode(found)) for found in settlement.found)
    portions: dict[int, list[Found]] = {}
    for found, size in zip(settlement.found, sizes, strict=True):
        portions.setdefault(size // PORTION, []).append(found)
    *before, settlement.found = portions.values() if portions else [[]]
    return [*(Settlement(number=settlement.number, verb=Verb.FOUND, found=part) for part in before), settlement]
