"""What a settlement does: to the task, to its host's pace, to the ledger."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw
from msgspec.structs import replace

from crawler.brokers.dispatch import Dispatch
from crawler.brokers.lanes import Lane, Pending
from crawler.brokers.leases import Worker
from crawler.brokers.outage import Outage
from crawler.brokers.parcels import Result
from crawler.brokers.put import Putter
from crawler.brokers.records import Records
from crawler.brokers.retry import decide
from crawler.brokers.run import Run
from crawler.brokers.waiting import Waiting
from crawler.brokers.words import BROKER, LEFT_OUT
from crawler.model import (
    Kind,
    PageDetail,
    Report,
    RobotsFile,
    Settlement,
    ShardAnswer,
    ShardReport,
    SourceDetail,
    Stored,
    Verb,
    decode,
    pack,
)
from crawler.outcomes import MAX_RETRY_AFTER, PAGES_READ, SUCCESSES, Outcome

#: Tasks of a closed lane that one call settles.
CLOSE_AT_ONCE = 1000


class Settler:
    """Takes what workers say of their tasks."""

    def __init__(
        self, records: Records, waiting: Waiting, dispatch: Dispatch, putter: Putter, run: Run, outage: Outage,
        chance: Callable[[], float],
    ) -> None:  # fmt: skip
        self._records = records
        self._waiting = waiting
        self._dispatch = dispatch
        self._putter = putter
        self._run = run
        self._outage = outage
        self._chance = chance

    def settle_all(self, worker: Worker, report: Report, now: float) -> None:
        if worker.bound:
            worker.unbind([*report.stored.numbers, *report.unchanged.numbers])
        for stored, outcome in ((report.stored, Outcome.SUCCESS), (report.unchanged, Outcome.UNCHANGED)):
            if stored.numbers:
                self._settle_stored(worker, stored, outcome, now)
        for settlement in report.settlements:
            self.settle(worker, settlement, now)

    def settle_shard(self, worker: Worker, shard: ShardReport, now: float) -> ShardAnswer:
        """Settle all that is in a shard, or nothing where some of it is not this worker's to settle any more.

        A shard that is settled may be told of again.
        """
        settled = self._records.shards.is_settled(shard.number, worker.row)
        if settled:
            return ShardAnswer(shard.number)
        refused = [number for number in shard.stored.numbers if settled is None or not self._is_open(worker, number)]
        refused += [said.number for said in shard.failed if settled is None or not self._may_fail(worker, said)]
        if refused:
            return ShardAnswer(shard.number, refused)
        worker.unbind(shard.numbers)
        self._settle_stored(worker, shard.stored, Outcome.SUCCESS, now)
        for said in shard.failed:
            self.settle(worker, said, now)
        self._records.shards.settle(
            shard.number, now, len(shard.stored.numbers), len(shard.failed), sum(shard.stored.sizes)
        )  # fmt: skip
        return ShardAnswer(shard.number)

    def _is_open(self, worker: Worker, number: int) -> bool:
        pending = self._waiting.pending(number) if number > 0 else None
        return pending is not None and pending.task.kind is Kind.IMAGE and worker.may_have(Kind.IMAGE)

    def _may_fail(self, worker: Worker, said: Settlement) -> bool:
        """Tell whether a worker may say that an image failed: it holds it, or nobody does."""
        if said.verb is not Verb.DONE or said.outcome in SUCCESSES or not self._is_open(worker, said.number):
            return False
        pending = self._waiting.pending(said.number)
        return pending is not None and pending.holder in ("", worker.name)

    def _settle_stored(self, worker: Worker, stored: Stored, outcome: str, now: float) -> None:
        """Settle the images that `worker` holds all at once, and what else it says it stored one by one."""
        groups, strange = self._take_stored(worker, stored)
        for (source, lane), places in groups.items():
            numbers = [stored.numbers[place] for place in places]
            self._records.tasks.gone(lane.number, Kind.IMAGE, numbers)
            size = sum([stored.sizes[place] for place in places])
            self._run.count(Kind.IMAGE, source, lane.number, outcome, len(places), size)
            self._learn(lane, outcome, 0.0, False, now)
            worker.release_many(lane.authority, len(places))
            self._waiting.count_done(Kind.IMAGE, source, len(places))
        ours = stored.without(strange) if strange else stored
        if ours.numbers:
            self._records.results.add_stored(self._run.number, worker.row, now, outcome, ours)
        for place in strange:
            said = Settlement(
                number=stored.numbers[place], verb=Verb.DONE, outcome=outcome, size=stored.sizes[place],
                result=stored.results[place],
            )  # fmt: skip
            self.settle(worker, said, now)

    def _take_stored(self, worker: Worker, stored: Stored) -> tuple[dict[tuple[int, Lane], list[int]], list[int]]:
        """Forget the stored images that `worker` holds.

        Returns their places in `stored`, by source and lane, and the places of the others.
        """
        groups: dict[tuple[int, Lane], list[int]] = {}
        others: list[int] = []
        held, resident = worker.held, self._waiting.resident
        source, lane, group = 0, None, list[int]()
        image = Kind.IMAGE
        for place, number in enumerate(stored.numbers):
            pending = held.get(number)
            if pending is None or pending.task.kind is not image:
                others.append(place)
                continue
            del held[number], resident[number]
            if pending.lane is not lane or pending.source != source:
                source, lane = pending.source, pending.lane
                group = groups.setdefault((source, lane), [])
            group.append(place)
        return groups, others

    def settle(self, worker: Worker, said: Settlement, now: float) -> bool:
        """Take one settlement, and tell whether it ends its task; what it found is put before it counts."""
        if said.number < 0:
            self._settle_robots(worker, said, now)
            return False
        pending = self._waiting.pending(said.number)
        if pending is None or not worker.may_have(pending.task.kind):
            return False
        if said.found:
            self._putter.put(said.found, said.number, pending.source)
        for reason, number in said.left_out.items():
            self._run.count(Kind.PAGE, pending.source, 0, LEFT_OUT + reason, number, 0)
        if said.verb is Verb.DONE:
            if pending.task.kind is Kind.PAGE and said.outcome == Outcome.UNCHANGED:
                self._putter.put_unchanged(said.number, pending.source, decode(pending.task.detail, PageDetail).sort)
            if said.outcome not in SUCCESSES and pending.holder not in ("", worker.name):
                return False  # only its holder may say that it failed
            if not said.unasked:
                self._learn(pending.lane, said.outcome, 0.0, said.suspect, now)
            self.finish(pending, said.outcome, said.message, now, said, worker)
            return True
        if said.verb is not Verb.FOUND and pending.holder == worker.name:
            if said.verb is Verb.RETRY:
                self._retry(pending, said, worker, now)
            elif said.verb is Verb.MOVED and said.move is not None:
                self._move(pending, said, now)
            else:
                self._give_back(pending, said)
        return False

    def _retry(self, pending: Pending, said: Settlement, worker: Worker, now: float) -> None:
        burns = not self._learn(pending.lane, said.outcome, said.retry_after, said.suspect, now)
        attempts = pending.task.attempts + burns
        again = decide(max(attempts, 1), said.retry_after, self._chance())
        if again is None:
            self.finish(pending, said.outcome, said.message, now, said, worker)
            return
        due = now + again.delay
        self._dispatch.release(pending)
        self._records.flush()
        self._records.tasks.delay(pending.place, attempts, due)
        self._waiting.put_back(pending, replace(pending.task, attempts=attempts), due=due)

    def _move(self, pending: Pending, said: Settlement, now: float) -> None:
        assert said.move is not None
        move = said.move
        self._learn(pending.lane, Outcome.SUCCESS, 0.0, False, now)
        self._dispatch.release(pending)
        lane = self._waiting.of(move.at)
        self._records.flush()
        self._records.tasks.move(pending.place, lane.number, move.at, move.hops, move.candidate)
        pending.lane = lane
        task = replace(pending.task, at=move.at, hops=move.hops, candidate=move.candidate)
        self._waiting.put_back(pending, task)

    def _give_back(self, pending: Pending, said: Settlement) -> None:
        task = pending.task
        self._dispatch.release(pending)
        if said.cursor is not None and task.kind is Kind.SOURCE:
            detail = decode(task.detail, SourceDetail)
            moved = pack(replace(detail, cursor=said.cursor))
            self._records.flush()
            self._records.tasks.set_detail(task.number, bytes(moved))
            pending.lost = 0  # the stretches before this one are safe
            self._records.tasks.lose([(0, pending.place)])
            task = replace(task, detail=moved)
        self._waiting.put_back(pending, task)

    # robots.txt

    def _settle_robots(self, worker: Worker, said: Settlement, now: float) -> None:
        pending = self._waiting.pending(said.number)
        if pending is None or pending.holder != worker.name:
            return
        if said.verb is Verb.DONE:
            robots = decode(said.result, RobotsFile)
            outcome = Outcome.SUCCESS if robots.reachable else said.outcome
            self._learn(pending.lane, outcome, said.retry_after, said.suspect, now)
            if robots.reachable:
                self._dispatch.release(pending)
                self._waiting.robots_known(self._waiting.by_number(-said.number), robots, now)
            else:
                self._robots_failed(pending, said, robots.message, now)
        elif said.verb is Verb.MOVED and said.move is not None:
            self._dispatch.robots_moved(pending, said.move.at, said.move.hops)
        else:
            self._dispatch.robots_again(pending, now)

    def _robots_failed(self, pending: Pending, said: Settlement, why: str, now: float) -> None:
        if not pending.holder:
            return  # its host was closed by this very answer
        lane = self._waiting.by_number(-pending.task.number)
        lane.robots_attempts += not (said.suspect and self._outage.suspected)
        never = said.outcome in (Outcome.DNS, Outcome.PRIVATE_ADDRESS)  # nothing can be asked there at all
        again = decide(max(lane.robots_attempts, 1), said.retry_after, self._chance())
        if again is not None and (said.suspect or not never):
            self._dispatch.robots_again(pending, now + again.delay)
        elif not lane.closed:
            self._dispatch.close(lane, said.outcome if never else Outcome.ROBOTS_UNREACHABLE, why)

    # What an outcome teaches, and the end of a task

    def _learn(self, lane: Lane, outcome: str, retry_after: float, suspect: bool, now: float) -> bool:
        """Teach pace and outage what came of a request; True when our own network is to blame."""
        if not lane.authority:
            return False
        if suspect:
            self._outage.failed(lane.authority, now)
            if self._outage.suspected:
                return True
        else:
            self._outage.answered()
        if outcome in SUCCESSES:
            lane.pace.succeeded()
        else:
            lane.pace.failed(outcome, min(retry_after, MAX_RETRY_AFTER), now)
            if lane.pace.down and not lane.closed:
                self._dispatch.close(
                    lane, Outcome.HOST_DOWN, "its connections failed one after another; last: " + outcome
                )
        return False

    def close_lanes(self, now: float) -> None:
        """Settle some of the tasks whose hosts are closed."""
        for pending in self._waiting.take_closed(CLOSE_AT_ONCE):
            self.finish(pending, pending.lane.closed, pending.lane.closed_why, now)

    def finish(
        self, pending: Pending, outcome: str, message: str, now: float,
        said: Settlement | None = None, worker: Worker | None = None,
    ) -> None:  # fmt: skip
        """Give a task its terminal result; without `said`, it is the broker's own."""
        task, run = pending.task, self._run
        row = worker.row if worker else self._records.worker_row(BROKER)
        size, body = (said.size, said.result) if said else (0, Raw(b"\xc0"))
        result = Result(task.number, int(task.kind), outcome, message, size, body)
        self._records.results.add(run.number, row, now, result)
        self._records.tasks.gone(pending.lane.number, task.kind, [task.number])
        run.count(task.kind, pending.source, pending.lane.number, outcome, 1, size)
        if task.kind is Kind.PAGE and outcome in PAGES_READ and outcome != Outcome.UNCHANGED:
            self._records.tasks.forget_named(task.number, run.number)
        if task.kind is Kind.PAGE and decode(task.detail, PageDetail).depth == 0:
            self._records.tally.first_page(run.number, pending.source, outcome, message, replace=True)
        elif task.kind is Kind.SOURCE and outcome not in PAGES_READ:
            self._records.tally.first_page(run.number, pending.source, outcome, message, replace=False)
        self._dispatch.finished(pending)
