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

from crawler.brokers.dispatch import Dispatch
from crawler.brokers.lanes import Lane, Pending, Worker
from crawler.brokers.outage import Outage
from crawler.brokers.records import Records
from crawler.brokers.retry import decide
from crawler.brokers.schema import open_database
from crawler.errors import UsageError
from crawler.model import (
    PAGES_READ,
    SUCCESSES,
    Begun,
    Counts,
    Found,
    Kind,
    LedgerPage,
    Outcome,
    PageDetail,
    Reply,
    Report,
    RobotsFile,
    Settlement,
    SourceDetail,
    Spec,
    State,
    Task,
    Verb,
    decode,
    encode,
    pack,
    task_id,
)
from crawler.robots import digest

log = logging.getLogger(__name__)

#: Seconds after an unclean restart in which workers name what they hold before anything new is given out.
GRACE = 5.0
#: Tasks of a closed lane that one call settles.
CLOSE_AT_ONCE = 1000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


class SqliteBroker:
    """Keeps the Broker contract; see `crawler.contracts`. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._records = Records(open_database(path))
        self._clock = clock
        self._chance = chance
        self._grouped = False
        self._run = 0
        self._ended = 0.0
        self._began = 0.0
        self._draining = False
        self._already_there = 0
        self._spec = Spec(job="")
        self._spec_digest = ""
        self._totals: dict[tuple[int, str], int] = {}
        self._bytes = 0
        self._outage = Outage()
        self._next_second = 0.0
        self._grace_until = 0.0
        self._lanes = Dispatch(self._records, clock)
        self._restore()

    # The contract

    def spec(self) -> Spec:
        return self._spec

    def begin(self, spec: Spec) -> Begun:
        with self.group():
            stored = self._records.meta("spec")
            known = decode(stored, Spec) if stored else None
            if known and {url for url, _ in known.sources} != {url for url, _ in spec.sources}:
                raise UsageError(
                    f"job {spec.job!r} was made for {', '.join(url for url, _ in known.sources)}; "
                    "for another site or list give it another name with --job NAME"
                )
            job_id = known.job_id if known else uuid.uuid4().hex
            self._adopt_spec(replace(spec, job_id=job_id))
            rebooted = self._rebooted_since()
            resumed = bool(self._run and not self._ended)
            if not resumed:
                self._open_run()
            self._records.set_meta("boot_id", _boot_id())
            return Begun(run=self._run, resumed=resumed, job_id=job_id, rebooted_since=rebooted)

    def put(self, found: list[Found], parent: int = 0) -> int:
        with self.group():
            return self._put(found, parent, self._source_of(parent))

    def exchange(self, worker: str, report: Report) -> Reply:
        with self.group():
            now = self._clock()
            self._every_second(now)
            w = self._lanes.worker(worker, Kind.PAGE in report.room, now)
            for settlement in self._settle_successes(w, report.settlements, now):
                self._settle(w, settlement, now)
            self._records.flush()
            self._lanes.renew(w, report, now)
            down = self._outage.check(now)
            tasks: list[Task] = []
            if self._may_give(now):
                tasks = self._lanes.hand_out(w, self._capped(report.room), now, probe=down)
                self._close_lanes(now)
            self._note_finished(now)
            grants, robots = self._lanes.grants(w, tasks, now)
            w.serial += 1
            w.told = self._state() is not State.OPEN
            return Reply(
                serial=w.serial,
                state=self._state(),
                tasks=tasks,
                grants=grants,
                robots=robots,
                retry_in=self._lanes.retry_in(now),
                spec_digest=self._spec_digest,
                notice=self._outage.notice() if down else "",
            )

    def robots(self, digest: str) -> str:
        row = self._records.db.execute("SELECT text FROM robots WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else ""

    def results(self, cursor: str, limit: int, mentions: bool = False) -> LedgerPage:
        with self.group():
            self._records.flush()
            return self._records.ledger(int(cursor or 0), limit, mentions)

    def counts(self) -> Counts:
        with self.group():
            now = self._clock()
            self._every_second(now)
            self._records.flush()
            by_kind: dict[int, dict[str, int]] = {}
            for (kind, outcome), number in self._totals.items():
                if number:
                    by_kind.setdefault(kind, {})[outcome] = number
            pages = by_kind.get(Kind.PAGE, {})
            left_out = {k.removeprefix("left_out:"): n for k, n in pages.items() if k.startswith("left_out:")}
            return Counts(
                run=self._run, state=self._state(), began=self._began, ended=self._ended,
                images=by_kind.get(Kind.IMAGE, {}),
                pages={k: n for k, n in pages.items() if not k.startswith("left_out:")},
                bytes=self._bytes, left_out=left_out, already_there=self._already_there,
                waiting_images=self._lanes.open[Kind.IMAGE], waiting_pages=self._lanes.open[Kind.PAGE],
                held=self._lanes.held(), workers=self._lanes.downloaders(),
                sites=self._records.sites(self._run), hosts=self._records.hosts(self._run),
                notice=self._outage.notice() if self._outage.check(now) else "",
            )  # fmt: skip

    def reopen(self, seqs: list[int]) -> int:
        with self.group():
            self._records.flush()
            rows = self._records.current_results(seqs)
            for number, origin, source, outcome, run, size, _ in rows:
                self._count(Kind.IMAGE, source, origin, outcome, -1, -size, run)
                self._records.rearm(number, self._run)
                self._lanes.add(self._lanes.by_number(origin), Kind.IMAGE, number, source)
            if rows and self._ended:
                self._ended = 0.0
                self._records.db.execute("UPDATE runs SET ended = 0 WHERE run = ?", (self._run,))
            return len(rows)

    def workers(self) -> list[str]:
        return list(self._lanes.workers)

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
            self._records.db.rollback()
            raise
        except Exception:
            # Whatever it was, memory has moved on and the state must not: the next process starts from the state.
            self._records.db.rollback()
            log.critical("the broker's state and memory differ; it must be started again")
            raise
        finally:
            self._grouped = False

    @property
    def run(self) -> int:
        return self._run

    @property
    def state(self) -> State:
        return self._state()

    def tick(self) -> None:
        """Do what time brings: lost leases, closed hosts; call it a few times a second."""
        with self.group():
            self._every_second(self._clock())

    def left(self, name: str) -> None:
        """Forget a worker whose connection ended, unless it holds tasks: then it has its lease to come back."""
        worker = self._lanes.workers.get(name)
        if worker is not None and not worker.held:
            self._lanes.forget(worker)

    def deserted(self) -> bool:
        """Tell whether every worker has heard that it is over, and holds nothing."""
        return all(worker.told and not worker.held for worker in self._lanes.workers.values())

    def drain(self) -> None:
        """Give out nothing more; workers return what is not under way."""
        self._draining = True

    def close(self) -> None:
        """Leave the state so that the next start needs no grace."""
        with self.group():
            self._records.set_meta("clean", 1)
        self._records.db.close()

    def settle_url(self, worker: str, url: str, outcome: str, message: str, result: bytes) -> bool:
        """Settle the image `url` as a stock client told; False when no such image waits."""
        with self.group():
            self._records.flush()
            known = self._records.find(task_id(Kind.IMAGE, url))
            if known is None or known[1] is not None:
                return False
            now = self._clock()
            pending = self._lanes.pending(known[0])
            settler = (pending and pending.holder) or worker
            settlement = Settlement(
                number=known[0], verb=Verb.DONE, outcome=outcome, message=message, result=msgspec.Raw(result)
            )
            self._settle(self._lanes.worker(settler, False, now), settlement, now)
            self._note_finished(now)
            return True

    # Runs

    def _restore(self) -> None:
        with self.group():
            records = self._records
            row = records.db.execute("SELECT run, began, ended, already_there FROM runs ORDER BY run DESC LIMIT 1")
            latest = row.fetchone()
            if latest:
                self._run, self._began, self._ended, self._already_there = latest
                self._adopt_spec(decode(records.meta("spec"), Spec))
                for kind, outcome, number, size in records.totals(self._run):
                    self._totals[kind, outcome] = number
                    self._bytes += size if kind == Kind.IMAGE else 0
                self._lanes.restore(self._run)
                if not records.meta("clean"):
                    self._grace_until = self._clock() + GRACE
            records.set_meta("clean", 0)

    def _adopt_spec(self, spec: Spec) -> None:
        self._spec = spec
        encoded = encode(spec)
        self._spec_digest = digest(encoded.hex())
        self._records.set_meta("spec", encoded)
        self._lanes.configure(spec)

    def _open_run(self) -> None:
        self._run += 1
        self._began, self._ended, self._already_there = self._clock(), 0.0, 0
        self._totals.clear()
        self._bytes = 0
        self._records.db.execute("INSERT INTO runs(run, began) VALUES(?, ?)", (self._run, self._began))
        self._lanes.new_run(self._run)
        lane = self._lanes.of("")
        for url, detail in self._spec.sources:
            identity = task_id(Kind.SOURCE, url)
            known = self._records.find(identity)
            encoded = encode(detail)
            if known is None:
                number = self._records.insert(identity, Kind.SOURCE, lane.number, 0, self._run, url, encoded)
                self._records.flush()
                self._records.db.execute("UPDATE tasks SET source = number WHERE number = ?", (number,))
            else:
                number = known[0]
                self._records.rearm(number, self._run, encoded)
            self._lanes.add(lane, Kind.SOURCE, number, number)

    def _rebooted_since(self) -> float:
        before = self._records.meta("boot_id")
        if before and before != _boot_id():
            return float(self._records.meta("alive") or 0.0)
        return 0.0

    def _state(self) -> State:
        if self._draining:
            return State.DRAINING
        return State.FINISHED if self._ended else State.OPEN

    def _note_finished(self, now: float) -> None:
        if self._run and not self._ended and not any(self._lanes.open.values()):
            self._ended = now
            self._records.db.execute(
                "UPDATE runs SET ended = ?, already_there = ? WHERE run = ?", (now, self._already_there, self._run)
            )

    def _may_give(self, now: float) -> bool:
        return bool(self._run) and not self._draining and not self._ended and now >= self._grace_until

    def _capped(self, room: dict[Kind, int]) -> dict[Kind, int]:
        if not self._spec.max_images:
            return room
        got = sum(self._totals.get((Kind.IMAGE, outcome), 0) for outcome in SUCCESSES)
        left = max(0, self._spec.max_images - got - self._lanes.held(Kind.IMAGE))
        return {**room, Kind.IMAGE: min(room.get(Kind.IMAGE, 0), left)}

    def _every_second(self, now: float) -> None:
        if now < self._next_second:
            return
        self._next_second = now + 1.0
        self._records.set_meta("alive", now)
        if self._run:
            self._records.db.execute(
                "UPDATE runs SET already_there = ? WHERE run = ?", (self._already_there, self._run)
            )
        for pending in self._lanes.expire(now):
            if pending.lost > 2:
                self._finish(pending, Outcome.WORKER_DIED, "three workers died while they held it", now)
        self._close_lanes(now)
        self._note_finished(now)

    # Putting

    def _source_of(self, parent: int) -> int:
        row = self._records.db.execute("SELECT source FROM tasks WHERE number = ?", (parent,)).fetchone()
        return row[0] if row else 0

    def _put(self, found: list[Found], parent: int, source: int) -> int:
        self._records.flush()
        new: dict[bytes, int] = {}
        for item in found:
            if item.kind not in (Kind.PAGE, Kind.IMAGE):
                continue  # only `begin` makes sources: they name files of this machine
            identity = task_id(item.kind, item.url)
            number = new.get(identity)
            if number is None:
                known = self._records.find(identity)
                if known is not None:
                    number = known[0]
                    self._meet_again(item, *known, source)
                elif item.kind == Kind.PAGE and self._pages_full():
                    self._count(Kind.PAGE, source, 0, "left_out:max_pages", 1, 0)
                    continue
                else:
                    number = new[identity] = self._insert(identity, item, source)
            if item.words is not None:
                self._records.mention(number, parent, encode(item.words), self._run)
        return len(new)

    def _insert(self, identity: bytes, item: Found, source: int) -> int:
        lane = self._lanes.of(item.url)
        number = self._records.insert(identity, item.kind, lane.number, source, self._run, item.url, bytes(item.detail))
        self._lanes.add(lane, item.kind, number, source)
        return number

    def _meet_again(self, item: Found, number: int, outcome: str | None, run: int, source: int) -> None:
        """A known task is named again: in a new run, pages and failures wait again, and what is there stays."""
        if outcome is None or run == self._run:
            return
        if item.kind == Kind.IMAGE and outcome in SUCCESSES:
            self._records.touch(number, self._run)
            self._already_there += 1
        else:
            detail = bytes(item.detail)
            self._records.rearm(number, self._run, detail)
            origin = self._records.db.execute("SELECT source FROM tasks WHERE number = ?", (number,)).fetchone()[0]
            lane = self._lanes.of(item.url)
            self._records.db.execute("UPDATE tasks SET origin = ? WHERE number = ?", (lane.number, number))
            self._lanes.add(lane, item.kind, number, origin)

    def _pages_full(self) -> bool:
        if not self._spec.max_pages:
            return False
        read = sum(n for (kind, name), n in self._totals.items() if kind == Kind.PAGE and ":" not in name)
        return read + self._lanes.open[Kind.PAGE] >= self._spec.max_pages

    # Settling

    def _settle_successes(self, worker: Worker, settlements: list[Settlement], now: float) -> list[Settlement]:
        """Settle the images that succeeded, by far the most, all at once; return the other settlements."""
        others: list[Settlement] = []
        groups: dict[tuple[int, Lane], list[Settlement]] = {}
        resident, held = self._lanes.resident, worker.held
        for said in settlements:
            pending = resident.get(said.number)
            if (
                pending is None
                or said.number not in held
                or said.outcome != Outcome.SUCCESS
                or said.verb is not Verb.DONE
                or pending.task.kind is not Kind.IMAGE
            ):
                others.append(said)
                continue
            del resident[said.number], held[said.number]
            groups.setdefault((pending.source, pending.lane), []).append(said)
        for (source, lane), alike in groups.items():
            self._records.images_stored(alike, self._run, now, worker.row)
            self._learn(lane, Outcome.SUCCESS, 0.0, False, now)
            size = sum(said.size for said in alike)
            self._count(Kind.IMAGE, source, lane.number, Outcome.SUCCESS, len(alike), size)
            self._lanes.images_finished(worker, lane, source, len(alike))
        return others

    def _settle(self, worker: Worker, said: Settlement, now: float) -> None:
        if said.number < 0:
            self._settle_robots(worker, said, now)
            return
        pending = self._lanes.pending(said.number)
        if pending is None:
            return
        if said.found:
            self._put(said.found, said.number, pending.source)
        for reason, number in said.left_out.items():
            self._count(Kind.PAGE, pending.source, 0, f"left_out:{reason}", number, 0)
        if said.verb is Verb.DONE:
            if said.outcome not in SUCCESSES and pending.holder not in ("", worker.name):
                return  # only its holder may say that it failed
            self._learn(pending.lane, said.outcome, 0.0, said.suspect, now)
            self._finish(pending, said.outcome, said.message, now, said, worker)
        elif pending.holder == worker.name:
            if said.verb is Verb.RETRY:
                self._retry(pending, said, worker, now)
            elif said.verb is Verb.MOVED and said.move is not None:
                self._move(pending, said, now)
            else:
                self._give_back(pending, said)

    def _retry(self, pending: Pending, said: Settlement, worker: Worker, now: float) -> None:
        burns = not self._learn(pending.lane, said.outcome, said.retry_after, said.suspect, now)
        attempts = pending.task.attempts + burns
        again = decide(max(attempts, 1), said.retry_after, self._chance())
        if again is None:
            self._finish(pending, said.outcome, said.message, now, said, worker)
            return
        self._lanes.release(pending)
        self._records.delay(pending.task.number, attempts, now + again.delay)
        self._lanes.put_back(pending, replace(pending.task, attempts=attempts), due=now + again.delay)

    def _move(self, pending: Pending, said: Settlement, now: float) -> None:
        assert said.move is not None
        move = said.move
        self._learn(pending.lane, Outcome.SUCCESS, 0.0, False, now)
        self._lanes.release(pending)
        lane = self._lanes.of(move.at)
        self._records.flush()
        self._records.move(pending.task.number, move.at, move.hops, move.candidate, lane.number)
        pending.lane = lane
        task = replace(pending.task, at=move.at, hops=move.hops, candidate=move.candidate)
        self._lanes.put_back(pending, task)

    def _give_back(self, pending: Pending, said: Settlement) -> None:
        task = pending.task
        self._lanes.release(pending)
        if said.cursor is not None and task.kind is Kind.SOURCE:
            detail = decode(task.detail, SourceDetail)
            moved = pack(replace(detail, cursor=said.cursor))
            self._records.set_detail(task.number, bytes(moved))
            task = replace(task, detail=moved)
        self._lanes.put_back(pending, task)

    def _settle_robots(self, worker: Worker, said: Settlement, now: float) -> None:
        pending = self._lanes.pending(said.number)
        if pending is None or pending.holder != worker.name:
            return
        lane = pending.lane
        if said.verb is Verb.DONE:
            robots = decode(said.result, RobotsFile)
            self._learn(
                lane, Outcome.SUCCESS if robots.reachable else said.outcome, said.retry_after, said.suspect, now
            )
            if robots.reachable:
                self._lanes.robots_known(pending, robots, now)
            else:
                self._robots_failed(pending, said, robots.message, now)
        elif said.verb is Verb.MOVED and said.move is not None:
            self._lanes.robots_moved(pending, said.move.at, said.move.hops)
        else:
            self._lanes.robots_again(pending, now)

    def _robots_failed(self, pending: Pending, said: Settlement, why: str, now: float) -> None:
        lane = self._lanes.by_number(-pending.task.number)
        lane.robots_attempts += not (said.suspect and self._outage.suspected)
        again = decide(max(lane.robots_attempts, 1), said.retry_after, self._chance())
        if again is not None:
            self._lanes.robots_again(pending, now + again.delay)
        elif not lane.closed:
            self._lanes.close(lane, Outcome.ROBOTS_UNREACHABLE, why)

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
            lane.pace.failed(outcome, retry_after, now)
            if lane.pace.down and not lane.closed:
                self._lanes.close(lane, Outcome.HOST_DOWN, "20 connections in a row failed; last: " + outcome)
        return False

    def _close_lanes(self, now: float) -> None:
        for pending in self._lanes.take_closed(CLOSE_AT_ONCE):
            self._finish(pending, pending.lane.closed, pending.lane.closed_why, now)

    def _finish(
        self, pending: Pending, outcome: str, message: str, now: float,
        said: Settlement | None = None, worker: Worker | None = None,
    ) -> None:  # fmt: skip
        task = pending.task
        row = worker.row if worker else self._records.worker_row("broker")
        size = said.size if said else 0
        body = bytes(said.result) if said else b"\xc0"
        self._records.done(task.number, task.kind, self._run, outcome, message, size, now, row, body)
        self._count(task.kind, pending.source, pending.lane.number, outcome, 1, size)
        if task.kind is Kind.PAGE and decode(task.detail, PageDetail).depth == 0:
            self._records.db.execute(
                "INSERT INTO first_pages VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET outcome = excluded.outcome, "
                "message = excluded.message", (self._run, pending.source, outcome, message),
            )  # fmt: skip
        elif task.kind is Kind.SOURCE and outcome not in PAGES_READ:
            self._records.db.execute(
                "INSERT INTO first_pages VALUES(?,?,?,?) ON CONFLICT DO NOTHING",
                (self._run, pending.source, outcome, message),
            )
        self._lanes.finished(pending)

    def _count(
        self, kind: Kind, source: int, origin: int, outcome: str, number: int, size: int, run: int | None = None
    ) -> None:
        self._records.count(run or self._run, kind, source, origin, outcome, number, size)
        if run in (None, self._run):
            self._totals[kind, outcome] = self._totals.get((kind, outcome), 0) + number
            self._bytes += size if kind is Kind.IMAGE else 0


def read_counts(path: Path) -> Counts:
    """Return the numbers of a job that nobody runs, without changing its state."""
    db = open_database(path)
    try:
        records = Records(db)
        row = db.execute("SELECT run, began, ended, already_there FROM runs ORDER BY run DESC LIMIT 1").fetchone()
        run, began, ended, already_there = row or (0, 0.0, 0.0, 0)
        totals = records.totals(run)
        waiting = {Kind.PAGE: 0, Kind.IMAGE: 0}
        for _, kind, _, number in records.waiting_counts():
            if kind in waiting:
                waiting[Kind(kind)] += number
        return Counts(
            run=run, state=State.FINISHED if ended else State.DRAINING, began=began, ended=ended,
            images={outcome: n for kind, outcome, n, _ in totals if kind == Kind.IMAGE and n},
            pages={outcome: n for kind, outcome, n, _ in totals if kind == Kind.PAGE and ":" not in outcome},
            bytes=sum(size for kind, _, _, size in totals if kind == Kind.IMAGE), already_there=already_there,
            waiting_images=waiting[Kind.IMAGE], waiting_pages=waiting[Kind.PAGE],
            sites=records.sites(run), hosts=records.hosts(run),
        )  # fmt: skip
    finally:
        db.close()
