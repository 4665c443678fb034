"""The broker over Redis: every process that works on a job has one of these, and none of them is in charge."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from crawler.account import Begun, Counts, LedgerPage, ShardRow, SiteCounts
from crawler.brokers.outage import Outage
from crawler.brokers.redis.job import Job, Run
from crawler.brokers.redis.partitions import LOCAL_BITS, Partitions, exchange_call
from crawler.brokers.redis.putting import Putting
from crawler.brokers.redis.results import ResultReader
from crawler.brokers.redis.rows import binary, read_away, read_row
from crawler.brokers.redis.server import JOBS, Server
from crawler.brokers.redis.settling import Calls, Settling
from crawler.brokers.redis.taking import Taking
from crawler.brokers.sources import check_taken_up
from crawler.brokers.words import BROKER, FEEDING, LEFT_OUT
from crawler.contracts import ResultArchive
from crawler.model import Found, Kind, Reply, Report, State
from crawler.spec import Spec

#: Hosts are spread over this many partitions; each lies on one node of a Cluster.
PARTITIONS = 64
#: Results of a partition that are written out together, and milliseconds after which somebody looks for such again.
WRITTEN_TOGETHER, WRITE_OUT_EVERY = 2000, 1000


class RedisBroker:
    """Keeps the Broker contract; see `crawler.contracts`. Not thread-safe: one thread calls it.

    `look_every` is for how many seconds what others change of the job need not be seen; twice as long for its counts,
    four times for leases that are not spoken of. `patrol_every` is how often, in milliseconds, somebody looks at all
    partitions for silent workers, delays that are over, and the end.
    """

    def __init__(
        self,
        server: Server,
        job: str,
        archive: ResultArchive | None = None,
        *,
        partitions: int = PARTITIONS,
        clock: Callable[[], float] | None = None,
        chance: Callable[[], float] = random.random,
        look_every: float = 0.5,
        patrol_every: int = 1000,
    ) -> None:
        self._server = server
        self._count = partitions
        self._look_every, self._patrol_every = look_every, patrol_every
        self._looked = self._patrolled = self._chose = float("-inf")
        self._counted = float("-inf")
        self._counts = Counts(run=0, state=State.OPEN, began=0.0, ended=0.0)
        self._outage = Outage()
        self._job = Job(server, job)
        self._partitions = Partitions(server, self._job, clock, 4 * look_every, patrol_every / 1000)
        self._putting = Putting(self._partitions, self._job)
        self._settling = Settling(self._partitions, self._job, self._putting, self._outage, chance)
        self._taking = Taking(self._partitions, self._job, self._settling, self._outage)
        self._results = ResultReader(self._partitions, self._job, archive)

    # The contract

    def spec(self) -> Spec:
        if not self._job.name:
            self._choose()
        else:
            self._job.refresh()
        return self._job.spec

    def begin(self, spec: Spec) -> Begun:
        with self._job.lock(), self._job.undone_where_it_fails():
            job_id = self._job.adopt(spec)
            before = self._job.run
            resumed = bool(before.number) and not before.ended
            number = before.number if resumed else before.number + 1
            began = before.began if resumed else self._partitions.now()
            self._job.run = Run(number, began, 0.0, before.partitions or self._count, {})
            sources = self._putting.put_sources(self._job.spec.sources)
            there = self._taking.images_there()
            self._job.write(self._job.run._replace(sources=sources), there, before.number)
            self._job.note_ready({self._partitions.place_of("").partition})
            return Begun(run=number, resumed=resumed, job_id=job_id)

    def take_up(self, spec: Spec) -> Begun:
        with self._job.lock(), self._job.undone_where_it_fails():
            run = self._job.run
            check_taken_up(run.number, bool(run.number) and not run.ended, spec)
            job_id = self._job.adopt(spec)
            self._job.write(run, self._taking.images_there(), run.number)
            return Begun(run=run.number, resumed=True, job_id=job_id)

    def put(self, found: list[Found], parent: int = 0) -> int:
        self._look()
        return self._putting.put(found, parent)

    def exchange(self, worker: str, report: Report) -> Reply:
        feeds = not FEEDING.isdisjoint(report.room)
        self._look(worker, feeds, always=self._taking.hungers(worker))
        if not self._job.run.number:
            return self._taking.nothing(worker)
        self._patrol()
        now = self._partitions.now()
        calls = self._settling.calls_for(worker, report, now)
        if calls.before:
            told = {at: {"worker": worker, "settled": said} for at, said in calls.before.items()}
            self._partitions.call("settle", told)
            self._job.note_ready(set(told))
        reply = self._taking.exchange(worker, report, feeds, calls, now)
        if report.settlements or report.stored.numbers or not reply.tasks:
            idle = self._taking.is_idle(worker)  # who just reported something looks soon whether it was the last
            self._patrol(soon=not (reply.tasks or report.held or self._job.ready or idle))
        reply.state = self._job.state
        return reply

    def robots(self, digest: str) -> str:
        return self._partitions.robots_text(digest) if digest else ""

    def results(self, cursor: str, limit: int) -> LedgerPage:
        self._look()
        return self._results.page(cursor, limit, mentions=False)

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        self._look()
        return self._results.page(cursor, limit, mentions=True)

    def counts(self) -> Counts:
        if not self._job.name:
            self._choose()
        self._look()
        run = self._job.run
        if not run.number:
            return Counts(run=0, state=State.OPEN, began=0.0, ended=0.0)
        if run.ended and (self._counts.run, self._counts.ended) == (run.number, run.ended):
            return self._counts  # whoever waits for the next run asks again and again
        self._patrol(soon=not self._job.ready)
        now = self._partitions.now()
        if now - self._counted >= 2 * self._look_every or self._counts.state is not self._job.state:
            self._counted, self._counts = now, self._sum_up(now)
        return self._counts

    def _sum_up(self, now: float) -> Counts:
        run = self._job.run
        answers = self._partitions.call("counts", {at: {"closely": False} for at in self._partitions.all})
        counts = Counts(run=run.number, state=self._job.state, began=run.began, ended=run.ended)
        _fill(counts, list(answers.values()), run)
        workers, _ = self._job.workers(now - self._job.spec.lease)
        counts.workers = len(workers)
        counts.notice = self._outage.notice() if self._outage.check(now) else ""
        return counts

    def reopen(self, seqs: list[int]) -> int:
        self._job.refresh()
        told = self._results.reopening(seqs)
        if told and self._job.run.ended:
            with self._job.lock():
                self._job.end(0.0)  # first: what waits when a run has ended, waits for the next
        answers = self._partitions.call("settle", {at: {"worker": "", "settled": said} for at, said in told.items()})
        self._job.note_ready(set(told))
        return sum(int(answer[0]) for answer in answers.values())

    def review(self, cursor: str) -> str:
        """Nothing: what a run in a Redis came to is not compared with others."""
        return ""

    def prune(self, seqs: list[int]) -> int:
        """Nothing: nothing is found to be gone."""
        return 0

    def conclude(self) -> None:
        """Nothing: the next run begins when this one is finished."""

    def shards(self) -> list[ShardRow]:
        """Return nothing: shards are not made with a queue in Redis."""
        return []

    def workers(self) -> list[str]:
        self._patrol()
        downloading, feeding = self._job.workers(self._partitions.now() - self._job.spec.lease)
        return [*downloading, *feeding]

    # Beside the contract

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        return self._server.addresses

    def write_out(self) -> int:
        """Write results out into the archive where there are many, and return how many; others may do so, too."""
        self._look()
        if not self._job.first_for("ledger", WRITE_OUT_EVERY):
            return 0
        return self._results.write_out(WRITTEN_TOGETHER)

    def _choose(self) -> None:
        """Work on one of the jobs that have work, where none is named."""
        if time.monotonic() - self._chose < self._look_every:
            return
        self._chose = time.monotonic()
        for name in jobs_in(self._server):
            job = Job(self._server, name)
            job.refresh()
            if job.run.number and not job.run.ended:
                self._job.name = name
                self._job.refresh()
                return

    def close(self) -> None:
        self._server.close()

    def _look(self, worker: str = "", feeds: bool = False, *, always: bool = False) -> None:
        now = self._partitions.now()
        if always or now - self._looked >= self._look_every:
            self._looked = now
            self._job.refresh(worker, feeds, now)

    def _patrol(self, *, soon: bool = False) -> None:
        """Look at all partitions, unless somebody else just did; end the run where nothing is left to do.

        Where it looks as if this were so, `soon` makes it happen earlier.
        """
        now = self._partitions.now()
        every = self._patrol_every // 4 if soon else self._patrol_every
        if now - self._patrolled < every / 1000 or self._job.run.ended:
            return
        self._patrolled = now
        if not self._job.first_for("patrol soon" if soon else "patrol", every):
            return
        sums = self._pass_by()
        if not _all_done(sums) or self._pass_by() != sums:
            return
        with self._job.lock(wait=False) as ours:
            if not ours:
                return  # who has it, or the next patrol, ends the run
            number = self._job.run.number
            self._job.refresh()
            if self._job.run.number == number and not self._job.run.ended and self._pass_by() == sums:
                self._job.end(self._partitions.now())

    def _pass_by(self) -> dict[int, list[bytes]]:
        """Let every partition do what time brings, and return the counters of its tasks."""
        answers = self._partitions.call("exchange", {at: exchange_call("") for at in self._partitions.all})
        self._job.note_ready({at for at, answer in answers.items() if answer[7]})
        self._settle_away(answers)
        return {at: answer[5] for at, answer in answers.items()}

    def _settle_away(self, answers: dict[int, list[Any]]) -> None:
        """Settle at home what ended by itself in the partition it had moved to."""
        calls = Calls()
        for partition, answer in answers.items():
            for kept in answer[6]:
                origin, outcome, why, body, packed = read_away(kept)
                row = read_row(packed)
                calls.before[row.number >> LOCAL_BITS].append({
                    "verb": "record", "row": binary(packed), "origin": binary(origin), "outcome": outcome.decode(),
                    "message": binary(why), "size": 0, "body": binary(body),
                })  # fmt: skip
                forget = {"verb": "forget", "number": row.number, "row": binary(packed)}
                calls.after[partition].append(forget)
        for told in (calls.before, calls.after):
            if told:
                self._partitions.call("settle", {at: {"worker": BROKER, "settled": s} for at, s in told.items()})


def jobs_in(server: Server) -> list[str]:
    """Return the names of the jobs in a Redis, shuffled, so that workers spread over them."""
    (names,) = server.ask(("SMEMBERS", JOBS))
    found = sorted(name.decode() for name in names)
    random.shuffle(found)
    return found


def _all_done(sums: dict[int, list[bytes]]) -> bool:
    return all(counters[::2] == counters[1::2] for counters in sums.values())


def _fill(counts: Counts, answers: list[list[Any]], run: Run) -> None:
    """Add up what partitions say of a run."""
    images, pages, hosts = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    sites = {number: SiteCounts(url=url, outcomes={}) for number, url in run.sources.items()}
    firsts: dict[int, tuple[int, str, str]] = {}
    for sums, tallied, first, busiest, held, _, already_there in answers:
        counts.held += held
        counts.already_there += int(already_there)
        opened = [int(number) for number in sums]
        counts.waiting_pages += opened[2] - opened[3]
        counts.waiting_images += opened[4] - opened[5]
        for name, number in zip(tallied[::2], map(int, tallied[1::2]), strict=True):
            if name == b"bytes":
                counts.bytes += number
                continue
            kind, source, outcome = name.decode().split(":", 2)
            (images if int(kind) == Kind.IMAGE else pages if int(kind) == Kind.PAGE else Counter())[outcome] += number
            if int(kind) == Kind.IMAGE and int(source) in sites:
                of = sites[int(source)].outcomes
                of[outcome] = of.get(outcome, 0) + number
        for name, number in zip(busiest[::2], busiest[1::2], strict=True):
            outcome, _, origin = name.decode("utf-8", "replace").partition(" ")
            hosts[origin, outcome] += int(float(number))
        for source, told in zip(first[::2], first[1::2], strict=True):
            is_page, outcome, message = told.decode("utf-8", "replace").split("\0", 2)
            if int(source) not in firsts or int(is_page) > firsts[int(source)][0]:
                firsts[int(source)] = (int(is_page), outcome, message)
    for number, (_, outcome, message) in firsts.items():
        if number in sites:
            sites[number].first_outcome, sites[number].first_message = outcome, message
    counts.images = {outcome: n for outcome, n in images.items() if n}
    counts.pages = {o: n for o, n in pages.items() if n and not o.startswith(LEFT_OUT)}
    counts.left_out = {o.removeprefix(LEFT_OUT): n for o, n in pages.items() if n and o.startswith(LEFT_OUT)}
    counts.sites = list(sites.values())
    counts.hosts = [(origin, outcome, n) for (origin, outcome), n in hosts.most_common(1000) if n]
