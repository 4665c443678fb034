"""How many tasks are in memory, whatever waits."""

from __future__ import annotations

import pytest

from brokers.driver import Clock, Hand, Job, done, image
from crawler.brokers import waiting
from crawler.brokers.sqlite import SqliteBroker
from crawler.brokers.tasks import WaitingRow
from crawler.model import Kind, Settlement, State

HOSTS, AT_EACH = 300, 40
FULL = 200


class Counted:
    """A job of many hosts with little memory; counts what is read from the state, and how much is in memory at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
        monkeypatch.setattr(waiting, "MOST_KEPT", FULL // 2)
        monkeypatch.setattr(waiting, "FULL", FULL)
        self.clock = Clock()
        self.broker = SqliteBroker(None, clock=self.clock, chance=lambda: 0.5)
        self.read = self.given = self.most = 0
        self._waiting_rows = self.broker._records.tasks.waiting
        monkeypatch.setattr(self.broker._records.tasks, "waiting", self._counting)
        self.job = Job(self.broker, self.clock)
        self.job.begin(
            [image(f"http://{number % HOSTS}.test/{number}.png") for number in range(HOSTS * AT_EACH)], **settings
        )
        self.job.end_source()

    def _counting(self, origin: int, kind: Kind, after: int, limit: int) -> list[WaitingRow]:
        rows = self._waiting_rows(origin, kind, after, limit)
        self.read += len(rows)
        return rows

    def exchange(self, worker: Hand, *settlements: Settlement) -> None:
        self.given += len(worker.exchange(*settlements))
        spared = len(self.broker._waiting.resident) - self.broker._dispatch.all_held()
        self.most = max(self.most, spared)

    def work(self, seconds: float = 0.0) -> None:
        """Let one worker do everything, with so much time between exchanges."""
        worker = self.job.worker()
        self.exchange(worker)
        while worker.reply.state is not State.FINISHED:
            self.clock.advance(seconds)
            self.exchange(worker, *map(done, worker.held.values()))
        assert set(self.job.outcomes().values()) == {"success"} and len(self.job.outcomes()) == HOSTS * AT_EACH


def test_of_many_hosts_only_what_is_given_out_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch, requests_per_host=2)
    counted.work()
    assert counted.given == HOSTS * AT_EACH and counted.most <= FULL + waiting.STRETCH
    assert counted.read <= 5 * counted.given


def test_hosts_that_may_not_be_asked_yet_have_nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch, delay=1.0)
    counted.work(seconds=2.0)
    assert counted.most <= FULL + waiting.STRETCH and counted.read <= 8 * counted.given


def test_nothing_is_read_of_hosts_of_which_a_worker_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch, requests_per_host=2)
    workers = [counted.job.worker(f"w{number}") for number in range(4)]
    for worker in workers * 6:
        counted.exchange(worker)
    before = counted.read, counted.given
    for worker in workers * 10:
        counted.exchange(worker)
    assert (counted.read, counted.given) == before and HOSTS < counted.given < HOSTS * AT_EACH


def test_nothing_is_kept_of_a_workers_hosts_that_it_is_done_with(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    worker = counted.job.worker(room={Kind.IMAGE: 100})
    most, met = 0, set[str]()
    while worker.reply.state is not State.FINISHED:
        counted.exchange(worker, *map(done, worker.held.values()))
        kept = counted.broker._dispatch.workers[worker.name]
        most = max(most, len(kept.granted), len(kept.allowances))
        met |= kept.granted.keys()
    assert most <= 100 < len(met) == HOSTS
