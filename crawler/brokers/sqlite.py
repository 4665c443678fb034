"""The broker over SQLite: tasks wait in the state, what is held lives in memory.

Every public call is one durable transaction; inside `with broker.group():` many calls share one commit.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from crawler.account import Begun, Counts, LedgerPage, ShardRow
from crawler.brokers.beginning import Beginning
from crawler.brokers.dispatch import Dispatch
from crawler.brokers.lanes import Pending
from crawler.brokers.leases import Worker
from crawler.brokers.outage import Outage
from crawler.brokers.put import Putter
from crawler.brokers.records import Records
from crawler.brokers.run import Run
from crawler.brokers.settle import Settler
from crawler.brokers.sites import Sites
from crawler.brokers.sources import check_sources, check_taken_up
from crawler.brokers.waiting import Waiting
from crawler.brokers.wire import HERE
from crawler.brokers.words import BROKER, DEADLY, DEADLY_AFTER, FEEDING, mentions_shown
from crawler.errors import UsageError
from crawler.model import Found, Kind, Reply, Report, Settlement, State, Task, Verb, decode, encode, task_id
from crawler.outcomes import SUCCESSES, Outcome
from crawler.robots import digest
from crawler.spec import Spec

log = logging.getLogger(__name__)

#: Seconds between two notes in the state that its process lives.
ALIVE_EVERY = 1.0


class SqliteBroker:
    """Keeps the Broker contract; see `crawler.contracts`. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._grouped = False
        self._draining = False
        self._spec = Spec(job="")
        self._spec_digest = ""
        self._next_second = 0.0
        self._grace_until = 0.0
        self._images_before = 0  # this start, in the same run
        self._records = records = Records(path)
        self._outage = Outage()
        self._run = Run(records)
        self._waiting = Waiting(records, clock)
        self._dispatch = Dispatch(records, self._waiting)
        self._putter = Putter(records, self._waiting, self._run, clock)
        self._settler = Settler(
            records, self._waiting, self._dispatch, self._putter, self._run, self._outage, chance
        )  # fmt: skip
        self._beginning = Beginning(records, self._waiting, self._putter, self._run)
        self._sites = Sites(records, self._waiting, self._dispatch, self._run)
        self._restore()

    def _restore(self) -> None:
        with self.group():
            if self._run.number:
                self._adopt_spec(decode(self._records.meta("spec"), Spec))
                self._grace_until = self._waiting.asked_until = self._leases_end()
                self._waiting.restore(self._run.number)
                self._sites.restore(self._spec)
                self._images_before = int(self._records.meta("images_before") or 0)
            self._records.set_meta("clean", 0)

    def _leases_end(self) -> float:
        """Return until when workers may go on as the process before this one told them.

        Until then they name what they hold, and nothing new is given out; who is not heard of has let go.
        """
        now = self._clock()
        if self._records.meta("clean"):
            return now
        return min(now, float(self._records.meta("alive") or now)) + ALIVE_EVERY + self._spec.lease

    def _adopt_spec(self, spec: Spec) -> None:
        forgotten = self._records.forgetting.forgotten()
        self._spec = spec = replace(
            spec, forgotten=tuple(forgotten.contents), forgotten_urls=tuple(forgotten.urls)
        )  # fmt: skip
        encoded = encode(spec)
        self._spec_digest = digest(encoded.hex())
        self._records.set_meta("spec", encoded)
        self._waiting.configure(spec)
        self._dispatch.configure(spec)
        self._putter.configure(spec)

    # The contract

    def spec(self) -> Spec:
        return self._spec

    def begin(self, spec: Spec) -> Begun:
        with self.group():
            known = self._spec if self._run.number else None
            if known:
                check_sources(known, spec, self._run.number if self._run.is_open else 0)
            job_id = known.job_id if known else uuid.uuid4().hex
            self._adopt_spec(replace(spec, job_id=job_id))
            self._beginning.heed_reading(spec)
            rebooted, now = self._beginning.rebooted_since(), self._clock()
            resumed = not self._run.is_concluded
            if not self._run.ended or not resumed:
                if not (resumed and self._sites.is_taken_up):  # there, what rests goes on to do so
                    self._sites.wake_all()
                if not resumed:
                    self._beginning.open_run(now)
                sources = self._beginning.of_run(spec)
                self._beginning.put_sources(sources)
                self._sites.begin(spec, {url for url, _ in sources}, now)
            self._images_before = self._run.images_saved()
            self._records.set_meta("images_before", self._images_before)
            return Begun(run=self._run.number, resumed=resumed, job_id=job_id, rebooted_since=rebooted)

    def take_up(self, spec: Spec) -> Begun:
        with self.group():
            check_taken_up(self._run.number, self._run.is_open and not self._sites.is_taken_up, spec)
            check_sources(self._spec, spec, 0)
            self._adopt_spec(replace(spec, job_id=self._spec.job_id))
            self._sites.take_up(self._spec)
            self._images_before = self._run.images_saved()
            self._records.set_meta("images_before", self._images_before)
            rebooted = self._beginning.rebooted_since()
            return Begun(run=self._run.number, resumed=True, job_id=self._spec.job_id, rebooted_since=rebooted)

    def put(self, found: list[Found], parent: int = 0) -> int:
        with self.group():
            self._records.flush()
            return self._putter.put(found, parent, self._records.tasks.source_of(parent))

    def exchange(self, worker: str, report: Report, host: str = HERE) -> Reply:
        """Keep the contract; `host` is the machine that speaks, whose workers nobody else may speak for."""
        with self.group():
            now = self._clock()
            self._every_second(now)
            w = self._dispatch.worker(worker, not FEEDING.isdisjoint(report.room), now, host)
            self._settler.settle_all(w, report, now)
            answers = [self._settler.settle_shard(w, shard, now) for shard in report.shards]
            self._dispatch.renew(w, report, now)
            if report.reaches:
                self._outage.dismiss(now)
            down = self._outage.check(now)
            given: list[Pending] = []
            if self._may_give(now):
                self._sites.heed(now)
                given = self._dispatch.hand_out(w, self._capped(report.room), now, probe=down)
                self._settler.close_lanes(now)
            self._note_finished(now)
            grants = self._dispatch.grants(w, now, allot=now >= self._grace_until)
            w.serial += 1
            w.told = self.state is not State.OPEN
            return Reply(
                serial=w.serial,
                state=self.state,
                tasks=self._with_mentions([pending.task for pending in given]),
                grants=grants,
                robots={lane.origin: lane.robots or "" for lane in {pending.lane for pending in given}},
                retry_in=self._waiting.retry_in(now, w.rests(news=bool(given or report.settlements))),
                spec_digest=self._spec_digest,
                notice=self._outage.notice() if down else "",
                shard=self._shard_for(w, report),
                answers=answers,
                close_shards=bool(w.bound) and self._gets_no_more(w),
            )

    def _with_mentions(self, tasks: list[Task]) -> list[Task]:
        """Return tasks with what is known of their words, for a job whose shards have captions."""
        if self._spec.store != "shards" or not tasks:
            return tasks
        self._records.flush()
        shown = self._records.mentions.first_of([task.number for task in tasks])
        return [replace(task, mentions=shown.get(task.number, [])) for task in tasks]

    def _shard_for(self, worker: Worker, report: Report) -> int:
        """Return the number of a shard where a worker needs one, or -1."""
        if not report.wants_shard or self._spec.store != "shards":
            return -1
        return self._records.shards.issue(self._run.number, worker.row, report.shard_numbers)

    def _gets_no_more(self, worker: Worker) -> bool:
        """Tell whether a worker must end what it holds before it or anyone gets more."""
        if self._draining or worker.waits_for_alone or worker.holds_alone:
            return True
        return self._is_worked_out() or not self._capped({Kind.IMAGE: 1})[Kind.IMAGE]

    def _is_worked_out(self) -> bool:
        """Tell whether nothing waits but images that workers hold."""
        waiting = self._waiting.open
        return not (waiting[Kind.SOURCE] or waiting[Kind.PAGE]) and waiting[Kind.IMAGE] <= self._dispatch.all_held()

    def _may_give(self, now: float) -> bool:
        return self._run.is_open and not self._draining and now >= self._grace_until

    def _capped(self, room: dict[Kind, int]) -> dict[Kind, int]:
        if not self._spec.max_images:
            return room
        since_start = self._run.images_saved() - self._images_before
        left = max(0, self._spec.max_images - since_start - self._dispatch.held(Kind.IMAGE))
        return {**room, Kind.IMAGE: min(room.get(Kind.IMAGE, 0), left)}

    def _every_second(self, now: float) -> None:
        if now < self._next_second:
            return
        self._next_second = now + ALIVE_EVERY
        self._records.flush()
        self._records.set_meta("alive", now)
        self._run.save()
        self._waiting.bound = self._dispatch.bound_images()
        for pending in self._dispatch.expire(now):
            if pending.lost >= DEADLY_AFTER:
                self._settler.finish(pending, Outcome.WORKER_DIED, DEADLY, now)
        self._settler.close_lanes(now)
        if self._may_give(now):
            self._sites.heed(now, always=True)
        self._note_finished(now)

    def _note_finished(self, now: float) -> None:
        if not self._run.is_open or any(self._waiting.open.values()):
            return
        self._sites.heed(now, always=True)
        if any(self._waiting.open.values()):
            return  # of a source at its limit an image failed: there is room for another
        if int(self._records.meta("looked_back") or 0) < self._run.number:
            self._records.set_meta("looked_back", self._run.number)
            if self._beginning.reads_as_before() and self._putter.look_back(now):
                return
        self._run.end(now)

    def robots(self, digest: str) -> str:
        return self._records.origins.robots_text(digest)

    def results(self, cursor: str, limit: int) -> LedgerPage:
        with self.group():
            self._records.flush()
            return self._records.results.page(_position(cursor), limit)

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        with self.group():
            self._records.flush()
            return self._records.results.ledger(_position(cursor), limit, mentions_shown(self._spec))

    def counts(self) -> Counts:
        with self.group():
            now = self._clock()
            self._every_second(now)
            self._records.flush()
            counts = self._run.counts(self.state)
            counts.waiting_images = self._waiting.open[Kind.IMAGE]
            counts.waiting_pages = self._waiting.open[Kind.PAGE]
            counts.held, counts.workers = self._dispatch.held(), self._dispatch.downloaders()
            counts.notice = self._outage.notice() if self._outage.check(now) else ""
            return counts

    def reopen(self, seqs: list[int]) -> int:
        with self.group():
            self._records.flush()
            found = list(self._records.results.current(seqs))
            for old in found:
                self._run.count(Kind.IMAGE, old.source, old.origin, old.outcome, -1, -old.size, old.run)
                for lane in (self._waiting.by_number(old.origin), self._waiting.of(old.url)):
                    self._waiting.open_again(lane)
                known = 0 if old.outcome in SUCCESSES else old.kept  # of what succeeded the file is lost
                self._putter.rearm(old.task, old.source, Found(Kind.IMAGE, old.url, msgspec.Raw()), known)
            if found and self._run.ended:
                self._run.reopen()
            return len(found)

    def review(self, cursor: str) -> str:
        with self.group():
            self._records.flush()
            if not self._run.ended:
                return ""
            return self._records.review.go_on(cursor, self._run.number, unnamed=self._beginning.reads_as_before())

    def prune(self, seqs: list[int]) -> int:
        with self.group():
            self._records.flush()
            return self._records.results.prune(seqs, self._run.number, self._records.worker_row(BROKER), self._clock())

    def shards(self) -> list[ShardRow]:
        with self.group():
            return self._records.shards.rows()

    def conclude(self) -> None:
        with self.group():
            if self._run.ended:
                self._run.conclude()
                if self._spec.keep_runs:
                    self._records.tally.forget(self._run.number - self._spec.keep_runs)

    def workers(self) -> list[str]:
        return list(self._dispatch.workers)

    # Beside the contract: for the process that hosts it

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Make all calls inside one durable transaction."""
        if self._grouped:
            yield
            return
        self._grouped = True
        self._records.start()
        try:
            yield
            self._records.commit()
        except UsageError:
            self._records.rollback()
            raise
        # Raised again: whatever it was, memory has moved on and the state must not; the next process starts from that.
        except Exception:
            self._records.rollback()
            log.critical("the broker's state and memory differ; it must be started again")
            raise
        finally:
            self._grouped = False

    @property
    def run(self) -> int:
        return self._run.number

    @property
    def state(self) -> State:
        if self._draining:
            return State.DRAINING
        return State.FINISHED if self._run.ended else State.OPEN

    def tick(self) -> None:
        """Do what time brings: lost leases, closed hosts; call it a few times a second."""
        with self.group():
            self._every_second(self._clock())

    def left(self, name: str) -> None:
        """Forget a worker whose connection ended, unless it holds tasks: then it has its lease to come back."""
        worker = self._dispatch.workers.get(name)
        if worker is not None and not worker.held:
            self._dispatch.forget(worker, self._clock())

    def deserted(self) -> bool:
        """Tell whether every worker has heard that it is over, and holds nothing."""
        return all(worker.told and not worker.held for worker in self._dispatch.workers.values())

    def drain(self) -> None:
        """Give out nothing more; workers return what is not under way."""
        self._draining = True

    def close(self) -> None:
        """Leave the state so that the next start needs no grace, if no worker goes on with what it has."""
        with self.group():
            self._records.set_meta("clean", int(self.deserted()))
        self._records.close()

    def settle_url(self, worker: str, url: str, outcome: str, message: str, result: bytes) -> bool:
        """Settle the image `url` as `worker` told, a stock client; False when that changes nothing.

        As for all workers, only who holds an image may say that it failed.
        """
        with self.group():
            self._records.flush()
            known = self._records.tasks.find(task_id(Kind.IMAGE, url))
            if known is None or known.outcome is not None:
                return False
            now = self._clock()
            settlement = Settlement(
                number=known.number, verb=Verb.DONE, outcome=outcome, message=message, result=msgspec.Raw(result)
            )
            settled = self._settler.settle(self._dispatch.worker(worker, False, now), settlement, now)
            self._note_finished(now)
            return settled


def _position(cursor: str) -> int:
    """Return what a cursor says; raises UsageError where it was never one of ours."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise UsageError(f"{cursor[:40]!r} is no place in the results")
    return int(cursor)
