"""How many tasks are in memory, whatever waits."""

from __future__ import annotations

import pytest

from brokers.driver import Clock, Job, done, image
from crawler.brokers import waiting
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import State

HOSTS, AT_EACH = 300, 40
FULL = 200


def test_of_many_hosts_only_what_is_given_out_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_KEPT", FULL // 2)
    monkeypatch.setattr(waiting, "FULL", FULL)
    broker = SqliteBroker(None, clock=Clock(), chance=lambda: 0.5)
    job = Job(broker, broker._clock)  # type: ignore[arg-type]
    names = [image(f"http://{number % HOSTS}.test/{number}.png") for number in range(HOSTS * AT_EACH)]
    job.begin(names, requests_per_host=2)
    job.end_source()
    worker, given, most = job.worker(), 0, 0
    worker.exchange()
    while worker.reply.state is not State.FINISHED:
        given += len(worker.held)
        most = max(most, len(broker._waiting.resident) - len(worker.held))
        worker.exchange(*map(done, worker.held.values()))
    assert given == HOSTS * AT_EACH and most <= FULL + waiting.STRETCH
    assert set(job.outcomes().values()) == {"success"}
    broker.close()
