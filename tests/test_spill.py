from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from crawler import spill
from crawler.errors import BrokerUnreachable, StoreError, UsageError
from crawler.spill import Spill


class Broker:
    """A broker that is asked in turn for what `answers` has, and says when all of it was asked for."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers: Iterator[int | Exception] = iter(answers)
        self.asked_for_all = threading.Event()
        self.closed = False

    def write_out(self) -> int:
        answer = next(self._answers, None)
        if answer is None:
            self.asked_for_all.set()
            return 0
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "EVERY", 0.001)


def told_by(broker: Broker, log: pytest.LogCaptureFixture) -> list[str]:
    """Return what is said until all answers were given."""
    with log.at_level(logging.INFO), Spill(lambda: broker):
        assert broker.asked_for_all.wait(10)
    assert broker.closed
    return [record.getMessage() for record in log.records]


def test_it_writes_out_as_long_as_its_block_lasts(caplog: pytest.LogCaptureFixture) -> None:
    assert told_by(Broker(3, 0, 2000), caplog) == []


def test_whatever_goes_wrong_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    told = told_by(Broker(UsageError("another password"), BrokerUnreachable("no answer"), 5), caplog)
    assert told == ["another password; results stay in Redis meanwhile", "results are written out of Redis again"]


def test_a_store_that_is_gone_is_told_once_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    gone = StoreError("s3://b/j: no answer")
    assert told_by(Broker(gone, gone, 0, gone, 5, 5), caplog) == [
        "s3://b/j: no answer; results stay in Redis meanwhile",
        "results are written out of Redis again",
    ]
