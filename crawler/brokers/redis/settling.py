"""A worker's report, as what each partition is told; what is tried again is decided here, by who tried it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from crawler.brokers.outage import Outage
from crawler.brokers.redis.job import Job
from crawler.brokers.redis.partitions import Given, Partitions, exchange_call
from crawler.brokers.redis.putting import Putting
from crawler.brokers.redis.rows import Row, binary, keys_of, numbers_of, text, unpacked, write_row
from crawler.brokers.retry import decide
from crawler.model import (
    Kind,
    Report,
    RobotsFile,
    Settlement,
    SourceDetail,
    Stored,
    Verb,
    decode,
    encode,
    pack,
)
from crawler.outcomes import COMPLAINTS, MAX_RETRY_AFTER, NO_CONNECTION, PAGES_READ, PAUSING, SUCCESSES, Outcome
from crawler.robots import digest
from crawler.urls import address

_NIL = Raw(b"\xc0")
_OK = {"ok": True}


class Calls(msgspec.Struct):
    """What partitions are told: `before` must be safe when what `after` has is told."""

    before: dict[int, list[dict[str, Any]]] = msgspec.field(default_factory=lambda: defaultdict(list))
    after: dict[int, list[dict[str, Any]]] = msgspec.field(default_factory=lambda: defaultdict(list))
    stored: dict[int, list[dict[str, Any]]] = msgspec.field(default_factory=lambda: defaultdict(list))

    def call(self, partition: int, worker: str, **more: Any) -> dict[str, Any]:
        return exchange_call(worker, settled=self.after[partition], stored=self.stored[partition], **more)

    @property
    def partitions(self) -> set[int]:
        return {at for at, said in (*self.after.items(), *self.stored.items()) if said}


class Settling:
    """Turns settlements into calls; remembers what the workers of this process were given."""

    def __init__(
        self, partitions: Partitions, job: Job, putting: Putting, outage: Outage, chance: Callable[[], float]
    ) -> None:
        self._partitions = partitions
        self._job = job
        self._putting = putting
        self._outage = outage
        self._chance = chance
        self.given = putting.given

    def calls_for(self, worker: str, report: Report, now: float) -> Calls:
        """Put what was found, and return what partitions are to be told of the rest."""
        calls = Calls()
        self._add_stored(worker, report.stored, calls)
        for said in report.settlements:
            self._add(worker, said, calls, now)
        return calls

    # Images that are in the store

    def _add_stored(self, worker: str, stored: Stored, calls: Calls) -> None:
        groups: dict[tuple[int, int, str], tuple[list[int], list[int], list[Raw]]] = {}
        for number, size, result in zip(stored.numbers, stored.sizes, stored.results, strict=True):
            given = self.given.get(number)
            if given is None:
                continue
            if given.worker != worker or given.partition != given.home or given.row.kind is not Kind.IMAGE:
                self._add_success(worker, given, size, result, calls)
                continue
            group = groups.setdefault((given.partition, given.row.source, given.origin), ([], [], []))
            group[0].append(number)
            group[1].append(size)
            group[2].append(binary(bytes(result)))
            self._outage.answered()
        for (partition, source, origin), (numbers, sizes, bodies) in groups.items():
            calls.stored[partition].append(
                {"origin": text(origin), "source": source, "keys": keys_of(numbers), "sizes": sizes, "bodies": bodies}
            )

    def _add_success(self, worker: str, given: Given, size: int, result: Raw, calls: Calls) -> None:
        said = Settlement(
            number=given.row.number, verb=Verb.DONE, outcome=Outcome.SUCCESS, size=size, result=result
        )  # fmt: skip
        self._add_done(worker, given, said, calls, _OK)

    def strange(self, worker: str, calls: Calls, answers: dict[int, list[Any]]) -> Calls:
        """Return what is to be told of stored images that `worker` turned out not to hold."""
        again = Calls()
        for partition, answer in answers.items():
            for group, places in zip(calls.stored.get(partition, []), answer[0], strict=False):
                numbers = numbers_of(group["keys"])
                for place in places:
                    given = self.given.get(numbers[place])
                    if given is not None:
                        body = Raw(unpacked(group["bodies"][place]))
                        self._add_success(worker, given, group["sizes"][place], body, again)
        return again

    # Other settlements

    def _add(self, worker: str, said: Settlement, calls: Calls, now: float) -> None:
        given = self.given.get(abs(said.number))
        if given is None or (given.row.kind is Kind.ROBOTS) != (said.number < 0):
            return
        if given.row.kind is Kind.ROBOTS:
            self._add_robots(worker, given, said, calls, now)
            return
        if said.found:
            self._putting.put(said.found, said.number)
        for reason, times in said.left_out.items():
            left = {"verb": "left_out", "source": given.row.source, "reason": reason, "times": times}
            calls.before[self._partitions.place_of("").partition].append(left)
        if said.verb is Verb.DONE:
            if said.outcome in SUCCESSES or given.worker == worker:
                lesson, _ = self._lesson(given, said)
                self._add_done(worker, given, said, calls, lesson)
        elif given.worker == worker:
            if said.verb is Verb.RETRY:
                self._add_retry(worker, given, said, calls, now)
            elif said.verb is Verb.MOVED and said.move is not None:
                at = said.move.at
                body = replace(given.row.body, at=at, hops=said.move.hops, candidate=said.move.candidate)
                self._add_move(given, given.row._replace(body=body, lost=0), at, calls)
            elif said.verb is Verb.RETURNED or said.verb is Verb.MOVED:
                self._add_back(given, said, calls)

    def _add_done(self, worker: str, given: Given, said: Settlement, calls: Calls, lesson: Any) -> None:
        row = given.row
        done: dict[str, Any] = {
            "verb": "done", "number": row.number, "kind": int(row.kind), "origin": text(given.origin),
            "outcome": said.outcome, "message": text(said.message), "size": said.size,
            "body": binary(bytes(said.result)), "lesson": lesson,
        }  # fmt: skip
        if row.kind is Kind.PAGE and row.first % 2:
            done["first"] = 1
        elif row.kind is Kind.SOURCE and said.outcome not in PAGES_READ:
            done["first"] = 0
        if given.home != given.partition and said.outcome in SUCCESSES:  # a failure counts where it is held
            calls.before[given.home].append({**done, "verb": "record", "row": binary(write_row(row))})
        calls.after[given.partition].append(done)

    def _add_retry(self, worker: str, given: Given, said: Settlement, calls: Calls, now: float) -> None:
        lesson, ours = self._lesson(given, said)
        attempts = given.row.attempts + (not ours)
        again = decide(max(attempts, 1), said.retry_after, self._chance())
        if again is None:
            self._add_done(worker, given, said, calls, lesson)
            return
        delay = {"verb": "delay", "number": given.row.number, "attempts": attempts, "after": again.delay}
        calls.after[given.partition].append({**delay, "lesson": lesson})

    def _add_move(self, given: Given, row: Row, at: str, calls: Calls) -> None:
        place = self._partitions.place_of(at)
        self._outage.answered()
        if place.partition == given.partition:
            move = {"verb": "move", "number": row.number, "to": text(place.origin), "body": binary(encode(row.body))}
            calls.after[given.partition].append(move)
            return
        arrival = {"verb": "arrive", "origin": text(place.origin), "row": binary(write_row(row))}
        calls.before[place.partition].append(arrival)
        calls.after[given.partition].append({"verb": "depart", "number": row.number, "lesson": _OK})

    def _add_back(self, given: Given, said: Settlement, calls: Calls) -> None:
        back: dict[str, Any] = {"verb": "back", "number": given.row.number}
        if said.cursor is not None and given.row.kind is Kind.SOURCE:
            detail = replace(decode(given.row.body.detail, SourceDetail), cursor=said.cursor)
            back["body"] = binary(encode(replace(given.row.body, detail=pack(detail))))
        calls.after[given.partition].append(back)

    # robots.txt

    def _add_robots(self, worker: str, given: Given, said: Settlement, calls: Calls, now: float) -> None:
        if given.worker != worker:
            return
        row = given.row
        if said.verb is Verb.MOVED and said.move is not None:
            body = replace(row.body, at=said.move.at, hops=said.move.hops)
            self._add_move(given, row._replace(body=body), said.move.at, calls)
            return
        origin = address(row.body.url).origin
        leaving = {"verb": "depart", "number": row.number, "lesson": None}
        if said.verb is not Verb.DONE:
            again = {"verb": "robots_again", "origin": text(origin), "attempts": row.attempts, "after": 0.0}
        else:
            robots = decode(said.result, RobotsFile)
            again, leaving["lesson"] = self._robots_told(given, origin, said, robots, now)
        calls.before[given.home].append(again)
        calls.after[given.partition].append(leaving)

    def _robots_told(
        self, given: Given, origin: str, said: Settlement, robots: RobotsFile, now: float
    ) -> tuple[Any, Any]:
        """Return what the origin is told, and what is learnt of the host that answered."""
        if robots.reachable:
            body = digest(robots.text)
            if body:
                self._partitions.keep_robots(body, robots.text)
            lesson, _ = self._lesson(given, said, Outcome.SUCCESS)
            known = {"verb": "robots", "origin": text(origin), "digest": body, "crawl_delay": robots.crawl_delay}
            return known, lesson
        lesson, ours = self._lesson(given, said)
        attempts = given.row.attempts + (not ours)
        never = said.outcome in (Outcome.DNS, Outcome.PRIVATE_ADDRESS)  # nothing can be asked there at all
        again = decide(max(attempts, 1), said.retry_after, self._chance())
        if again is not None and (said.suspect or not never):
            after = again.delay
            return {"verb": "robots_again", "origin": text(origin), "attempts": attempts, "after": after}, lesson
        outcome = said.outcome if never else Outcome.ROBOTS_UNREACHABLE
        return {"verb": "close", "origin": text(origin), "outcome": outcome, "why": text(robots.message)}, lesson

    def _lesson(self, given: Given, said: Settlement, outcome: str = "") -> tuple[Any, bool]:
        """Return what an outcome teaches of its host, and whether our own network is to blame for it."""
        outcome = outcome or said.outcome
        if not given.origin or "://" not in given.origin:
            return None, False
        if said.suspect:
            self._outage.failed(given.origin.partition("://")[2], self._partitions.now())
            if self._outage.suspected:
                return None, True
        else:
            self._outage.answered()
        if outcome in SUCCESSES:
            return _OK, False
        why = {
            "connects": outcome in NO_CONNECTION,
            "silent": outcome == Outcome.TIMEOUT,
            "pauses": outcome in PAUSING,
            "complains": outcome in COMPLAINTS,
        }
        lesson = {"ok": False, "outcome": outcome, "why": why, "retry_after": min(said.retry_after, MAX_RETRY_AFTER)}
        return lesson, False
