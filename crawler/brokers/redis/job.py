"""What a job has beside its partitions: its settings, its run, its workers, and a lock."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from crawler.brokers.redis.server import JOBS, Server, job_key
from crawler.brokers.sources import check_sources
from crawler.errors import BrokerUnreachable, StateError
from crawler.model import State, encode
from crawler.robots import digest
from crawler.spec import Spec

#: Raised by every change of what lies in Redis.
VERSION = 1
#: Seconds after which the lock of a process that died is free, at least and at most, and that it is waited for. It may
#: be freed under who is only slow: what it guards is written by who still has it, or not at all.
LOCK_TIME, LOCK_PATIENCE = (2.0, 10.0), 60.0
#: Seconds for which who reported counts as one of the fleet.
SEEN_WITHIN = 30.0
_OFTEN_READ = ("version", "digest", "run", "partitions", "images_before", "began", "ended")
_DECODE_SPEC = msgspec.msgpack.Decoder(Spec)


class Run(NamedTuple):
    """The latest run of a job; number 0 is before the first."""

    number: int
    began: float
    ended: float
    partitions: int
    sources: dict[int, str]  #: URLs by the numbers of their tasks


class Job:
    """The keys of one job that all partitions share."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self.name = name
        self.spec = Spec(job="")
        self.spec_digest = ""
        self.run = Run(0, 0.0, 0.0, 0, {})
        self.images_before = 0
        self.fleet = 1  #: workers of our kind that reported of late
        self.ready: set[int] = set()
        self._token = ""  #: of the lock, while it is ours

    @property
    def _key(self) -> str:
        return job_key(self.name)

    @property
    def state(self) -> State:
        return State.FINISHED if self.run.ended else State.OPEN

    def refresh(self, worker: str = "", feeds: bool = False, now: float = 0.0) -> None:
        """Read what others changed; `worker` is noted as one that lives.

        Raises StateError where another version of the program made it.
        """
        if not self.name:
            return
        commands: list[tuple[object, ...]] = [
            ("HMGET", self._key + "job", *_OFTEN_READ), ("SMEMBERS", self._key + "ready"),
        ]  # fmt: skip
        if worker:
            fleet = self._key + ("feeders" if feeds else "workers")
            commands += [("ZADD", fleet, now, worker), ("ZCOUNT", fleet, now - SEEN_WITHIN, "+inf")]
        (version, digest, *numbers), ready, *counted = self._server.ask(*commands)
        self.ready = {int(number) for number in ready}
        self.fleet = int(counted[1]) if worker else self.fleet
        if version is None and self.run.number and self.spec.job:
            raise self._gone()
        if version is None:
            self.spec, self.run = Spec(job=""), Run(0, 0.0, 0.0, 0, {})
            return
        if int(version) != VERSION:
            raise StateError(
                f"job {self.name} in {self._server.shown} has version {int(version)}, this program reads "
                f"version {VERSION}; use the program that made it, or another --job"
            )
        number, partitions, self.images_before = map(int, numbers[:3])
        began, ended = map(float, numbers[3:])
        if self.spec_digest != digest.decode() or self.run.number != number:
            self._read_settings()
        self.run = Run(number, began, ended, partitions, self.run.sources)

    def _read_settings(self) -> None:
        """Read what is large, and changes only when a run begins."""
        ((digest, spec, sources),) = self._server.ask(("HMGET", self._key + "job", "digest", "spec", "sources"))
        if digest is None:
            raise self._gone()
        self.spec, self.spec_digest = _DECODE_SPEC.decode(spec), digest.decode()
        self.run = self.run._replace(sources=msgspec.json.decode(sources, type=dict[int, str]))

    def _gone(self) -> StateError:
        return StateError(f"job {self.name} is gone from {self._server.shown}: it was emptied, or lost its file")

    @contextlib.contextmanager
    def undone_where_it_fails(self) -> Iterator[None]:
        """Look at the job, and forget what becomes of it here if it does not become so in Redis: it is tried again."""
        self.refresh()
        before = self.spec, self.spec_digest, self.run
        whole = False
        try:
            yield
            whole = True
        finally:
            if not whole:
                self.spec, self.spec_digest, self.run = before

    def adopt(self, spec: Spec) -> str:
        """Keep `spec` as the job's settings, and return the job's id; raises UsageError where it has other sources."""
        known = self.spec if self.run.number else None
        if known:
            check_sources(known, spec, 0 if self.run.ended else self.run.number)
        self.spec = replace(spec, job_id=known.job_id if known else uuid.uuid4().hex)
        self.spec_digest = digest(encode(self.spec).hex())
        return self.spec.job_id

    @property
    def site_names(self) -> dict[str, str]:
        """What people call the sources, by URL."""
        return {url: detail.name or url for url, detail in self.spec.sources}

    def write(self, run: Run, images_before: int, before: int) -> None:
        """Keep `run` as the latest, in place of the one with number `before`; the lock is ours.

        Raises BrokerUnreachable where that took so long that others may have gone on.
        """
        kept = {
            "version": VERSION, "spec": encode(self.spec), "digest": self.spec_digest, "run": run.number,
            "began": run.began, "ended": run.ended, "partitions": run.partitions,
            "sources": msgspec.json.encode(run.sources), "images_before": images_before,
        }  # fmt: skip
        self._server.ask(("SADD", JOBS, self.name))
        if not self._change(before, kept):
            raise BrokerUnreachable(f"another process went on with job {self.name} in {self._server.shown} meanwhile")
        self.run, self.images_before = run, images_before

    def end(self, now: float) -> None:
        """Note when the run ended, 0 that it goes on; the lock is ours.

        It stays as it is where we were away for so long that others may have gone on.
        """
        if self._change(self.run.number, {"ended": now}):
            self.run = self.run._replace(ended=now)

    def _change(self, run: int, fields: dict[str, Any]) -> bool:
        return self._server.change(self._key + "job", self._key + "lock", self._token, run, fields)

    def note_ready(self, partitions: set[int]) -> None:
        """Tell everybody that these partitions have something to give out; others may have found them empty since."""
        if partitions:
            self._server.ask(("SADD", self._key + "ready", *partitions))
            self.ready |= partitions

    def note_empty(self, partitions: set[int]) -> None:
        if gone := partitions & self.ready:
            self._server.ask(("SREM", self._key + "ready", *gone))
            self.ready -= gone

    def workers(self, since: float) -> tuple[list[str], list[str]]:
        """Return the names of download workers and of others that reported after `since`."""
        found = []
        for name in ("workers", "feeders"):
            names, _ = self._server.ask(
                ("ZRANGEBYSCORE", self._key + name, since, "+inf"),
                ("ZREMRANGEBYSCORE", self._key + name, "-inf", since - 3600),
            )
            found.append([worker.decode() for worker in names])
        return found[0], found[1]

    def first_for(self, what: str, milliseconds: int) -> bool:
        """Tell whether nobody has done `what` in this time, and we do it now."""
        if not milliseconds:
            return True
        (done,) = self._server.ask(("SET", self._key + what, 1, "NX", "PX", milliseconds))
        return bool(done)

    @property
    def _lock_time(self) -> int:
        """Return milliseconds, so few that who waits for them loses none of its own leases."""
        least, most = LOCK_TIME
        return int(1000 * min(most, max(least, self.spec.lease / 2)))

    @contextlib.contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the job's lock; tell whether it is held, which without `wait` another may do.

        Raises BrokerUnreachable where another holds it for long.
        """
        token = uuid.uuid4().hex
        until = time.monotonic() + LOCK_PATIENCE
        while not self._server.ask(("SET", self._key + "lock", token, "NX", "PX", self._lock_time))[0]:
            if not wait:
                yield False
                return
            if time.monotonic() > until:
                raise BrokerUnreachable(f"another process holds the lock of job {self.name} in {self._server.shown}")
            time.sleep(0.02)
        self._token = token
        try:
            yield True
        finally:
            self._token = ""
            self._server.unlock(self._key + "lock", token)
