"""The partitions of a job: which host is where, and calls on several of them in one round trip."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from crawler.brokers.redis.job import Job
from crawler.brokers.redis.rows import Row, pack_call
from crawler.brokers.redis.server import Server, partition_key
from crawler.brokers.words import ALONE_AFTER, DEADLY, DEADLY_AFTER, NOWHERE, PAGES_AT_A_TIME, mentions_shown
from crawler.errors import BrokerUnreachable
from crawler.outcomes import SUCCESSES, Outcome
from crawler.robots import MAX_AGE
from crawler.urls import address, normalise

#: Numbers of tasks and results: the partition, then a number of its own.
LOCAL_BITS: Final = 40
_SCHEMES = ("http://", "https://")
_WORDS: Final[dict[str, Any]] = {
    "successes": dict.fromkeys(SUCCESSES, True),
    "success": Outcome.SUCCESS,
    "opted_out": Outcome.OPTED_OUT,
    "host_down": Outcome.HOST_DOWN,
    "worker_died": Outcome.WORKER_DIED,
    "bad_url": Outcome.BAD_URL,
    "nowhere": NOWHERE,
    "alone_after": ALONE_AFTER,
    "deadly_after": DEADLY_AFTER,
    "deadly": DEADLY,
    "robots_age": MAX_AGE,
    "most_pages": PAGES_AT_A_TIME,
}


class Place(NamedTuple):
    """Where tasks with a URL wait."""

    partition: int
    origin: str
    authority: str


class Given(NamedTuple):
    """A task that a worker of this process was given: the partition and origin where it waits, and its row."""

    worker: str
    partition: int
    origin: str
    row: Row

    @property
    def home(self) -> int:
        """The partition that knows it."""
        return self.row.number >> LOCAL_BITS


class Partitions:
    """Calls the scripts of a job's partitions.

    Leases are renewed after `renew_every` seconds, or earlier; every `patrol_every` seconds somebody looks at each
    partition, where it is 0 nobody does.
    """

    def __init__(
        self, server: Server, job: Job, clock: Callable[[], float] | None, renew_every: float, patrol_every: float
    ) -> None:
        self._server = server
        self._job = job
        self._clock = clock
        self._renew_every = renew_every
        self._patrol_every = patrol_every

    @property
    def renew_every(self) -> float:
        return min(self._renew_every, self._job.spec.lease / 4)

    @property
    def _silence(self) -> float:
        """Return the seconds without any call of a partition after which Redis must have been gone, not the workers."""
        return max(self._job.spec.lease / 2, 2 * self._patrol_every) if self._patrol_every else math.inf

    def now(self) -> float:
        return self._clock() if self._clock else self._server.now()

    @property
    def all(self) -> range:
        return range(self._job.run.partitions)

    def place_of(self, url: str) -> Place:
        """Return where a URL's tasks wait; those of sources have no origin, those of what is no URL are NOWHERE."""
        if not url:
            return Place(self.of(""), "", "")
        where = address(url) if url.startswith(_SCHEMES) and normalise(url) is not None else None
        if where is None:
            return Place(self.of(NOWHERE), NOWHERE, "")
        return Place(self.of(where.authority), where.origin, where.authority)

    def of(self, authority: str) -> int:
        """Return the partition of a host."""
        return zlib.crc32(authority.encode("utf-8", "surrogatepass")) % self._job.run.partitions

    def key(self, partition: int, name: str) -> str:
        return partition_key(self._job.name, partition) + name

    def call(self, operation: str, calls: dict[int, dict[str, Any]]) -> dict[int, list[Any]]:
        """Call `operation` on partitions, and return their answers.

        A partition that is in a newer run is asked again when the job has been looked at.
        """
        answers: dict[int, list[Any]] = {}
        for _ in range(3):
            left = [partition for partition in calls if partition not in answers]
            if not left:
                return answers
            common = self._common(operation)
            packed = [
                (self.key(partition, ""), pack_call({**common, **calls[partition], "partition": partition}))
                for partition in left
            ]
            replies = zip(left, self._server.run(packed, grows=operation == "put"), strict=True)
            answers |= {partition: reply for partition, reply in replies if reply is not None}
            if len(answers) < len(calls):
                self._job.refresh()
        raise BrokerUnreachable(f"job {self._job.name} goes from run to run; look at who begins them")

    def _common(self, operation: str) -> dict[str, Any]:
        spec = self._job.spec
        return {
            **_WORDS,
            "operation": operation,
            "mentions_shown": mentions_shown(spec),
            "now": self._clock() if self._clock else 0,
            "run": self._job.run.number,
            "most": spec.requests_per_host,
            "delay": spec.delay,
            "robots": spec.obey_robots,
            "lease": spec.lease + self.renew_every,  # it counts from the last report, which need not have renewed it
            "silence": self._silence,
        }

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        return self._server.ask(*commands)

    # The texts of robots.txt, by digest

    def keep_robots(self, digest: str, body: str) -> None:
        self._server.ask(("HSET", self._texts(digest), digest, body.encode("utf-8", "surrogatepass")))

    def robots_text(self, digest: str) -> str:
        (found,) = self._server.ask(("HGET", self._texts(digest), digest))
        return (found or b"").decode("utf-8", "surrogatepass")

    def _texts(self, digest: str) -> str:
        return self.key(zlib.crc32(digest.encode()) % self._job.run.partitions, "texts")


def exchange_call(worker: str, **more: Any) -> dict[str, Any]:
    """Return a call of `exchange` that says and asks nothing but what `more` has."""
    nothing: dict[str, Any] = {
        "worker": worker, "stored": [], "settled": [], "held": "", "claims": [], "busy": {}, "latency": {},
        "heard": True, "gives": False, "room": [0, 0, 0, 0], "orphans": 0, "holds": 0,
        "feeds": False, "crowded": {},
    }  # fmt: skip
    return nothing | more
