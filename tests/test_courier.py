from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from crawler import courier as courier_module
from crawler.courier import Courier
from crawler.errors import BrokerUnreachable, CrawlerError, WireError
from crawler.model import ImageDetail, Kind, Reply, Report, Settlement, State, Task, Verb, pack


def task(number: int) -> Task:
    url = f"https://a.example/{number}.jpg"
    return Task(number, Kind.IMAGE, url, url, pack(ImageDetail()))


def reply(*tasks: Task, serial: int = 1, **more: Any) -> Reply:
    return Reply(serial=serial, state=State.OPEN, tasks=list(tasks), **more)


def done(number: int) -> Settlement:
    return Settlement(number=number, verb=Verb.DONE, outcome="success")


class Scripted:
    """A broker that does what it is told to, one exchange after another."""

    def __init__(self, *script: Reply | Exception) -> None:
        self.script = list(script)
        self.reports: list[tuple[str, Report]] = []
        self.asked: list[str] = []

    def exchange(self, worker: str, report: Report) -> Reply:
        self.reports.append((worker, report))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step

    def robots(self, digest: str) -> str:
        self.asked.append(digest)
        return f"text of {digest}"


@pytest.fixture
def courier(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start couriers that do not sleep between attempts, and end them."""
    started: list[Courier] = []
    woken = threading.Semaphore(0)
    monkeypatch.setattr(courier_module, "time", _Time())

    def start(broker: Any, patience: float = 60.0) -> tuple[Courier, Callable[[], bool]]:
        courier = Courier(broker, "w1", patience, woken.release)
        started.append(courier)
        courier.start()
        return courier, lambda: woken.acquire(timeout=5)

    yield start
    for each in started:
        each.stop()
        each.join(5)
        assert not each.is_alive()


class _Time:
    """A clock that sleeping alone moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class TestCourier:
    def test_a_report_out_a_reply_in(self, courier: Any) -> None:
        broker = Scripted(reply(task(1)))
        one, woken = courier(broker)
        assert one.received() is None
        one.send(Report(held=[4]))
        assert woken()
        received = one.received()
        assert received is not None and received[0].tasks == [task(1)] and received[1] == {}
        assert broker.reports == [("w1", Report(held=[4]))]
        assert one.received() is None

    def test_while_the_broker_is_away_the_same_report_is_tried(self, courier: Any) -> None:
        broker = Scripted(BrokerUnreachable("away"), BrokerUnreachable("away"), reply(serial=9))
        one, woken = courier(broker)
        one.send(Report(settlements=[done(1)]))
        assert woken()
        received = one.received()
        assert received is not None and received[0].serial == 9
        assert [report for _, report in broker.reports] == [Report(settlements=[done(1)])] * 3

    def test_patience_ends(self, courier: Any) -> None:
        broker = Scripted(BrokerUnreachable("away"))
        one, woken = courier(broker, patience=3.0)
        one.send(Report())
        assert woken()
        with pytest.raises(BrokerUnreachable, match="away"):
            one.received()
        assert 5 <= len(broker.reports) <= 9

    def test_another_error_comes_out_at_once(self, courier: Any) -> None:
        broker = Scripted(WireError("nonsense"), reply())
        one, woken = courier(broker)
        one.send(Report())
        assert woken()
        with pytest.raises(CrawlerError, match="nonsense"):
            one.received()
        one.send(Report())
        assert woken() and one.received() is not None

    def test_a_robots_text_is_asked_for_once(self, courier: Any) -> None:
        robots = {"https://a.example": "d1", "https://b.example": "d1", "https://c.example": ""}
        broker = Scripted(reply(robots=robots), reply(robots={**robots, "https://d.example": "d2"}))
        one, woken = courier(broker)
        one.send(Report())
        assert woken()
        assert one.received()[1] == {"d1": "text of d1"}
        one.send(Report())
        assert woken()
        assert one.received()[1] == {"d2": "text of d2"}
        assert broker.asked == ["d1", "d2"]

    def test_a_robots_text_that_was_forgotten_is_asked_for_again(self, courier: Any) -> None:
        broker = Scripted(*[reply(robots={"https://a.example": "d1", "https://b.example": "d2"})] * 2)
        one, woken = courier(broker)
        one.send(Report())
        assert woken() and one.received()[1].keys() == {"d1", "d2"}
        one.forget({"d1"})
        one.send(Report())
        assert woken() and one.received()[1] == {"d1": "text of d1"}
