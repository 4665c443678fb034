"""The two queues for programs that have nothing but the standard library: what they see of the broker.

A connection of such a client is a worker with room for one image. What is set aside for it or taken by it goes back
when the connection ends, or after ten minutes.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from crawler.account import line_of
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import (
    Found,
    Grant,
    ImageDetail,
    ImageResult,
    Kind,
    Report,
    Settlement,
    State,
    Task,
    Verb,
    Words,
    encode,
    pack,
)
from crawler.outcomes import KEPT, OUTCOMES, Outcome
from crawler.robots import Rules, product_token
from crawler.urls import address, normalise

log = logging.getLogger(__name__)

#: Seconds that a stock client may take over one image.
HOLD = 600.0
#: Seconds between the reports that keep what it holds.
RENEW_EVERY = 2.0
ARROW = "--->"
#: Longest line that tells of a result.
MAX_LINE = 16_384


def parse_line(line: str) -> tuple[str, str, str]:
    """Return URL, outcome and message of a line `url--->what became of it`.

    Raises ValueError where it is no such line.
    """
    url, arrow, said = line.strip().partition(ARROW)
    if not arrow or not said.strip():
        raise ValueError(f"a result is a line like url{ARROW}success, not {line[:80]!r}")
    code, _, message = said.strip().partition(":")
    if code in KEPT:
        return url, Outcome.REPORTED, ""
    if code in OUTCOMES or (code.startswith("http_") and code[5:].isdigit()):
        return url, code, message.strip()
    return url, Outcome.REPORTED_ERROR, said.strip()


class _Taken(NamedTuple):
    """A task that a client works on: its number, its host, and since when."""

    number: int
    authority: str
    since: float


class StockClient:
    """What one connection has set aside or taken."""

    def __init__(self, broker: SqliteBroker, name: str) -> None:
        self._broker = broker
        self._name = name
        self._heard = 0
        self._reserved: Task | None = None
        self._ready = 0.0
        self._taken: dict[str, _Taken] = {}
        self._grants: dict[str, Grant] = {}
        self._renew_at = 0.0
        self._allowed = True

    def reserve(self) -> bool:
        """Try to set a task aside, and tell whether one is there that may be worked now."""
        now = time.monotonic()
        if self._reserved is None:
            self._reserved = self._ask(now)
        return self._reserved is not None and now >= self._ready and self._may_start(self._reserved)

    def _may_start(self, task: Task) -> bool:
        """Tell whether the host of `task` takes another request while those that were taken may be under way."""
        authority = address(task.at).authority
        grant = self._grants.get(authority)
        return self._busy().get(authority, 0) < max(1, grant.count if grant else 1)

    def _busy(self) -> dict[str, int]:
        return Counter(taken.authority for taken in self._taken.values())

    def take(self) -> str:
        """Return the URL of the task that was set aside."""
        assert self._reserved is not None
        task, self._reserved = self._reserved, None
        self._taken[task.url] = _Taken(task.number, address(task.at).authority, time.monotonic())
        return task.url

    def holds(self, url: str) -> bool:
        return url in self._taken

    @property
    def name(self) -> str:
        return self._name

    def settled(self, url: str) -> None:
        taken = self._taken.pop(url, None)
        grant = self._grants.get(taken.authority) if taken else None
        if grant is not None and grant.delay:
            self._ready = max(self._ready, time.monotonic() + grant.delay)

    def renew(self) -> None:
        """Name what is held, so that it is kept; let go what was held for too long."""
        now = time.monotonic()
        if now < self._renew_at or not (self._taken or self._reserved):
            return
        late = [url for url, taken in self._taken.items() if now - taken.since > HOLD]
        self._exchange(now, [Settlement(number=self._taken.pop(url).number, verb=Verb.RETURNED) for url in late])

    def close(self) -> None:
        """Return all that it holds."""
        numbers = [taken.number for taken in self._taken.values()]
        if self._reserved is not None:
            numbers.append(self._reserved.number)
        self._taken, self._reserved = {}, None
        self._exchange(0.0, [Settlement(number=number, verb=Verb.RETURNED) for number in numbers])

    def _exchange(self, now: float, settlements: list[Settlement], room: int = 0) -> list[Task]:
        self._renew_at = now + RENEW_EVERY
        held = [taken.number for taken in self._taken.values()]
        if self._reserved is not None:
            held.append(self._reserved.number)
        reply = self._broker.exchange(
            self._name,
            Report(settlements=settlements, held=held, busy=self._busy(), room={Kind.IMAGE: room}, heard=self._heard),
        )
        self._heard = reply.serial
        self._grants.update(reply.grants)
        for task in reply.tasks:
            wait = max((grant.wait for grant in reply.grants.values()), default=0.0)
            self._ready = max(self._ready, now + wait)
            self._allowed = self._allows(task, reply.robots)
        return reply.tasks

    def _ask(self, now: float) -> Task | None:
        while True:
            tasks = self._exchange(now, [], room=1)
            if not tasks:
                return None
            if self._allowed:
                return tasks[0]
            denied = Settlement(
                number=tasks[0].number, verb=Verb.DONE, outcome=Outcome.ROBOTS_DENIED, message="robots.txt forbids it"
            )
            self._exchange(now, [denied])

    def _allows(self, task: Task, robots: dict[str, str]) -> bool:
        text = self._broker.robots(robots.get(address(task.at).origin, ""))
        return Rules(text, product_token(self._broker.spec().user_agent)).allows(task.at)


class StockQueues:
    """`get_task_queue` and `get_result_queue`, as far as all connections share them."""

    def __init__(self, broker: SqliteBroker) -> None:
        self._broker = broker
        self._cursor = ""
        self._lines: deque[str] = deque()

    def put_task(self, url: object) -> None:
        """Add an image by its URL.

        Raises ValueError where it is none.
        """
        normal = normalise(url) if isinstance(url, str) else None
        if normal is None:
            raise ValueError(f"{str(url)[:200]!r} is no http or https URL")
        detail = pack(ImageDetail())
        self._broker.put([Found(Kind.IMAGE, normal, detail, Words(found_in="task_queue"))])

    def put_result(self, line: object, speaker: Callable[[str], str]) -> str:
        """Settle the image that `line` is about, as the worker that `speaker` names for its URL, and return the URL.

        Returns `""` where nothing is settled by it. Raises ValueError where it is no result line.
        """
        if not isinstance(line, str) or len(line) > MAX_LINE:
            raise ValueError(f"a result is a line of text, of at most {MAX_LINE} characters")
        url, outcome, message = parse_line(line)
        body = encode(ImageResult(line=line))
        if self._broker.settle_url(speaker(url), url, outcome, message, body):
            return url
        log.warning("a stock client reports an image that waits nowhere, or a failure of another's: %s", line[:500])
        return ""

    def get_line(self) -> str | None:
        """Return the next result line, or None while there is none."""
        return self._lines.popleft() if self.ready_lines() else None

    def ready_lines(self) -> int:
        """Return how many lines are at hand, reading on where none is."""
        if not self._lines:
            page = self._broker.results(self._cursor, 500)
            self._cursor = page.cursor
            run = self._broker.run
            self._lines.extend(line_of(row) for row in page.rows if row.run == run)
        return len(self._lines)

    def finished(self) -> bool:
        return self._broker.state is State.FINISHED

    def waiting(self) -> int:
        return self._broker.counts().waiting_images
