"""The shape that both loops have: take, work, settle."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from crawler.access import Agents
from crawler.contracts import Broker
from crawler.courier import Courier
from crawler.exchange import Agenda
from crawler.model import Kind, Reply, State, Task
from crawler.robots import Rules
from crawler.spec import Spec
from crawler.urls import address

log = logging.getLogger(__name__)

#: How long ago a request is taken to have ended that was not made, so that none waits for it.
NO_REQUEST = 3600.0
#: Texts of robots.txt that are kept beyond those of the hosts of which we have tasks.
SPARE_TEXTS = 256
#: Seconds that a stopping worker gives to what is under way.
STOP_TIME = 25.0


class WorkLoop(ABC):
    """Works on one job until its run is finished, the broker stops, or `stop` is called."""

    def __init__(self, broker: Broker, worker: str, spec: Spec, patience: float, connections: int) -> None:
        self._spec = spec
        self._agenda = Agenda(spec.lease, connections)
        self._courier = Courier(broker, worker, patience, self._wake)
        self._agents = Agents(spec.user_agent, spec.access)
        self._rules: dict[str, dict[str, Rules]] = {}
        self._learn("", "")
        self._stop_at = 0.0
        self._spec_digest = ""

    def stop(self) -> None:
        """Return what is not under way, finish the rest; may be called by a signal handler."""
        if not self._stop_at:
            self._stop_at = time.monotonic()
            self._wake()

    def run(self, alive: Callable[[], bool]) -> State | None:
        """Work, and return how it ended: None when the job's settings changed and work begins anew.

        `alive` is asked each turn and ends the loop at once by saying no. Raises CrawlerError where the broker is gone
        for longer than `patience`, or refuses us.
        """
        self._courier.start()
        try:
            while alive():
                now = time.monotonic()
                self._talk(now)
                if self._agenda.all_told and self._is_idle():
                    if self._stop_at:
                        return State.DRAINING
                    if self._agenda.state is not State.OPEN:
                        return self._agenda.state
                    if self._changed():
                        return None
                if self._stop_at and now - self._stop_at > STOP_TIME:
                    return State.DRAINING
                self._progress(now)
            return State.DRAINING
        finally:
            self._courier.stop()
            self._close()

    def _talk(self, now: float) -> None:
        """Hear the broker, start what it allows, and report what is due."""
        self._receive(now)
        if self._agenda.lapsed(now):
            self._abandon(now)
        if self._stop_at:
            self._agenda.return_ready()
        else:
            self._start(now)
        if self._agenda.is_due(now):
            room = {} if self._stop_at or self._changed() else self._room(now)
            report = self._agenda.report(room, now)
            self._forget_rules()
            self._courier.send(report)

    def _receive(self, now: float) -> None:
        received = self._courier.received()
        if received is None:
            return
        reply, texts = received
        for digest, text in texts.items():
            self._learn(digest, text)
        if reply.notice and reply.notice != self._agenda.notice:
            log.warning("%s", reply.notice)
        self._agenda.absorb(reply, now)
        self._hear(reply)
        self._spec_digest = self._spec_digest or reply.spec_digest
        if self._stop_at or reply.state is not State.OPEN or self._changed():
            self._agenda.return_ready()

    def _changed(self) -> bool:
        return bool(self._spec_digest) and self._agenda.spec_digest != self._spec_digest

    def _learn(self, digest: str, text: str) -> None:
        """Keep what a robots.txt says, for each name that we have anywhere."""
        self._rules[digest] = {agent: Rules(text, agent) for agent in self._agents.tokens}

    def _forget_rules(self) -> None:
        """Forget, now and then, what the robots.txt of hosts said that the agenda has forgotten."""
        if len(self._rules) <= SPARE_TEXTS + len(self._agenda.robots):
            return
        forgotten = self._rules.keys() - {"", *self._agenda.robots.values()}
        for digest in forgotten:
            del self._rules[digest]
        self._courier.forget(forgotten)

    def _rules_of(self, url: str) -> Rules:
        """Return what the robots.txt of a URL's origin says to us."""
        return self._rules[self._agenda.robots.get(address(url).origin, "")][self._agents.of(url)]

    def _allowed(self, task: Task) -> bool:
        """Tell whether robots.txt lets the next request of `task` be made."""
        return self._rules_of(task.at).allows(task.at)

    @abstractmethod
    def _wake(self) -> None:
        """Let `_progress` return at once; called from any thread."""

    @abstractmethod
    def _room(self, now: float) -> dict[Kind, int]:
        """Return how many more tasks of each kind are wanted."""

    @abstractmethod
    def _start(self, now: float) -> None:
        """Start what the agenda allows."""

    @abstractmethod
    def _progress(self, now: float) -> None:
        """Let what is under way go on for a moment, and settle what ended."""

    def _hear(self, reply: Reply) -> None:
        """Take what a reply says beside what all loops heed."""
        return

    def _abandon(self, now: float) -> None:
        """End the requests under way that can be ended."""
        return

    def _is_idle(self) -> bool:
        """Tell whether nothing is under way that the agenda does not know."""
        return True

    @abstractmethod
    def _close(self) -> None:
        """Let go of threads and connections."""
