from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from msgspec.structs import replace

from crawler import courier, exchange, work
from crawler.contracts import Broker
from crawler.errors import BrokerUnreachable, CrawlerError, WrongKey
from crawler.model import Grant, ImageDetail, Kind, Reply, Report, Settlement, State, Task, Verb, pack
from crawler.spec import Spec
from crawler.urls import address
from crawler.work import WorkLoop

HOST = "a.example"
PATIENCE = 60.0


def task(number: int) -> Task:
    url = f"https://{HOST}/{number}.jpg"
    return Task(number, Kind.IMAGE, url, url, pack(ImageDetail()))


class Manager:
    """A broker with tasks for one worker: gives out what there is room for, and is finished when all are done."""

    def __init__(self, *tasks: Task, at_once: int = 2) -> None:
        self.waiting = list(tasks)
        self.at_once = at_once
        self.given: dict[int, Task] = {}
        self.done: list[int] = []
        self.returned: list[int] = []
        self.reports: list[Report] = []
        self.state = State.OPEN
        self.ends = True
        self.digest = "1"
        self.notice = ""
        self.robots_of: dict[str, str] = {}
        self.error: Exception | None = None

    def exchange(self, worker: str, report: Report) -> Reply:
        if self.error is not None:
            raise self.error
        assert worker == "w1"
        self.reports.append(report)
        for said in report.settlements:
            self._settle(said)
        tasks = self.waiting[: report.room.get(Kind.IMAGE, 0)] if self.state is State.OPEN else []
        del self.waiting[: len(tasks)]
        self.given.update({task.number: task for task in tasks})
        finished = self.ends and not self.waiting and not self.given
        return Reply(
            serial=len(self.reports), state=State.FINISHED if finished else self.state, tasks=tasks,
            grants={HOST: Grant(self.at_once)}, robots=self.robots_of, retry_in=0.001, spec_digest=self.digest,
            notice=self.notice,
        )  # fmt: skip

    def _settle(self, said: Settlement) -> None:
        (self.done if said.verb is Verb.DONE else self.returned).append(said.number)
        task = self.given.pop(said.number)
        if said.verb is Verb.RETURNED:
            self.waiting.append(task)

    def robots(self, digest: str) -> str:
        return digest


class Loop(WorkLoop):
    """A worker whose tasks end when the test lets them, in one turn unless it holds them."""

    def __init__(self, broker: Manager, *, room: int = 4, patience: float = PATIENCE) -> None:
        self.woken = threading.Event()
        super().__init__(cast(Broker, broker), "w1", Spec(job="j", user_agent="crawler/1"), patience, 64)
        self.room = room
        self.running: list[Task] = []
        self.started: list[int] = []
        self.denied: list[int] = []
        self.closed = 0
        self.hold = False
        self.each_turn: Callable[[], None] = lambda: None

    @property
    def thread(self) -> threading.Thread:
        return self._courier

    def allows(self, task: Task) -> bool:
        return self._allowed(task)

    def _wake(self) -> None:
        self.woken.set()

    def _room(self, now: float) -> dict[Kind, int]:
        return {Kind.IMAGE: self.room - self._agenda.held}

    def _start(self, now: float) -> None:
        while (task := self._agenda.next(now)) is not None:
            self.started.append(task.number)
            if not self._allowed(task):
                self.denied.append(task.number)
            self.running.append(task)

    def _progress(self, now: float) -> None:
        self.woken.wait(0.002)
        self.woken.clear()
        self.each_turn()
        while self.running and not self.hold:
            task = self.running.pop()
            self._agenda.ended(task, now)
            self._agenda.settle(Settlement(number=task.number, verb=Verb.DONE, outcome="success"))

    def _close(self) -> None:
        self.closed += 1


def run(loop: Loop, alive: Callable[[], bool] = lambda: True) -> State | None:
    """Run `loop` in this thread; one that would never end is ended, and fails the test."""
    until = time.monotonic() + 10.0

    def is_time_left() -> bool:
        assert time.monotonic() < until, "the loop does not end"
        return alive()

    return loop.run(is_time_left)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers report a few times a second, whatever happens."""
    monkeypatch.setattr(exchange, "EVERY", 0.05)


@pytest.fixture(autouse=True)
def couriers_end() -> Iterator[None]:
    """Whatever a test does with its loop, no thread of it stays."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), f"{thread.name} stays"


class TestToTheEnd:
    def test_all_is_worked_and_told(self) -> None:
        broker = Manager(*map(task, range(10)))
        loop = Loop(broker)
        assert run(loop) is State.FINISHED
        assert sorted(broker.done) == list(range(10)) and broker.returned == []
        assert sorted(loop.started) == list(range(10)), "each was started once"
        assert loop.closed == 1

    def test_nothing_to_do_is_an_end_too(self) -> None:
        loop = Loop(Manager())
        assert run(loop) is State.FINISHED
        assert loop.closed == 1

    def test_no_more_is_asked_for_than_there_is_room(self) -> None:
        broker = Manager(*map(task, range(20)), at_once=20)
        loop = Loop(broker, room=3)
        seen: list[int] = []
        loop.each_turn = lambda: seen.append(len(loop.running))
        assert run(loop) is State.FINISHED
        assert 0 < max(seen) <= 3

    def test_no_more_is_under_way_than_is_granted(self) -> None:
        broker = Manager(*map(task, range(10)), at_once=1)
        loop = Loop(broker, room=10)
        seen: list[int] = []
        loop.each_turn = lambda: seen.append(len(loop.running))
        assert run(loop) is State.FINISHED
        assert max(seen) == 1

    def test_a_run_that_is_open_is_waited_for(self) -> None:
        broker = Manager()
        broker.ends = False
        loop = Loop(broker)

        def bring_work() -> None:
            if len(broker.reports) == 5:
                broker.waiting.append(task(1))
                broker.ends = True

        loop.each_turn = bring_work
        assert run(loop) is State.FINISHED
        assert broker.done == [1]

    def test_what_is_under_way_is_finished_before_the_end(self) -> None:
        broker = Manager(*map(task, range(2)))
        loop = Loop(broker)
        loop.hold = True

        def drain() -> None:
            if len(loop.running) == 2:
                broker.state = State.DRAINING
            if len(broker.reports) > 4:
                loop.hold = False

        loop.each_turn = drain
        assert run(loop) is State.FINISHED
        assert sorted(broker.done) == [0, 1] and broker.returned == []


class TestStop:
    def test_what_is_under_way_is_finished_and_the_rest_returned(self) -> None:
        broker = Manager(*map(task, range(6)), at_once=2)
        loop = Loop(broker)
        loop.hold = True

        def stop() -> None:
            if len(loop.running) == 2:
                loop.stop()
            loop.hold = len(broker.returned) < 2

        loop.each_turn = stop
        assert run(loop) is State.DRAINING
        assert sorted(broker.done) == [0, 1] and sorted(broker.returned) == [2, 3]
        assert broker.given == {}, "nothing is held any more"
        assert sorted(task.number for task in broker.waiting) == [2, 3, 4, 5]
        assert not any(any(report.room.values()) for report in broker.reports[1:]), "no more is asked for"
        assert loop.closed == 1

    def test_wakes_the_loop(self) -> None:
        loop = Loop(Manager())
        loop.stop()
        assert loop.woken.is_set()

    def test_before_the_beginning_takes_nothing(self) -> None:
        broker = Manager(*map(task, range(3)))
        loop = Loop(broker)
        loop.stop()
        assert run(loop) is State.DRAINING
        assert loop.started == [] and len(broker.waiting) == 3
        assert loop.closed == 1

    def test_what_does_not_end_is_left_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(work, "STOP_TIME", 0.02)
        broker = Manager(task(1))
        loop = Loop(broker)
        loop.hold = True

        def stop() -> None:
            if loop.running:
                loop.stop()

        loop.each_turn = stop
        assert run(loop) is State.DRAINING
        assert broker.done == [] and list(broker.given) == [1]

    def test_ends_also_while_the_broker_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(work, "STOP_TIME", 0.02)
        monkeypatch.setattr(courier, "time", _Hasty())
        broker = Manager(task(1))
        broker.error = BrokerUnreachable("away")
        loop = Loop(broker, patience=1e9)
        loop.each_turn = loop.stop
        assert run(loop) is State.DRAINING
        broker.error = None

    def test_of_a_run_that_ends_meanwhile(self) -> None:
        broker = Manager(task(1))
        loop = Loop(broker)

        def stop() -> None:
            if broker.done:
                loop.stop()

        loop.each_turn = stop
        assert run(loop) in (State.DRAINING, State.FINISHED)
        assert broker.done == [1]


class _Hasty:
    """The time for a courier that tries again at once."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def sleep(_: float) -> None:
        time.sleep(0.001)


class TestEndings:
    def test_who_is_no_longer_alive_leaves_at_once(self) -> None:
        broker = Manager(*map(task, range(4)))
        loop = Loop(broker)
        loop.hold = True
        assert run(loop, lambda: not loop.running) is State.DRAINING
        assert broker.done == broker.returned == []
        assert loop.closed == 1
        never = Loop(Manager(task(1)))
        assert run(never, lambda: False) is State.DRAINING
        assert never.started == [] and never.closed == 1

    def test_a_broker_that_drains_gets_back_what_was_not_begun(self) -> None:
        broker = Manager(*map(task, range(6)), at_once=2)
        loop = Loop(broker)
        loop.hold = True

        def drain() -> None:
            if len(loop.running) == 2:
                broker.state = State.DRAINING
            loop.hold = len(broker.returned) < 2

        loop.each_turn = drain
        assert run(loop) is State.DRAINING
        assert sorted(broker.done) == [0, 1] and sorted(broker.returned) == [2, 3] and broker.given == {}

    @pytest.mark.parametrize("error", [WrongKey("another key"), CrawlerError("no")])
    def test_a_broker_that_refuses_ends_it(self, error: CrawlerError) -> None:
        broker = Manager(task(1))
        broker.error = error
        loop = Loop(broker)
        with pytest.raises(type(error), match=str(error)):
            run(loop)
        assert loop.closed == 1

    def test_a_broker_that_is_gone_for_too_long_ends_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(courier, "time", _Hasty())
        broker = Manager(*map(task, range(4)))
        loop = Loop(broker, patience=0.01)

        def cut() -> None:
            if broker.done:
                broker.error = BrokerUnreachable("nothing listens at machine-a")

        loop.each_turn = cut
        broker.ends = False
        with pytest.raises(BrokerUnreachable, match="nothing listens at machine-a"):
            run(loop)
        assert loop.closed == 1

    def test_a_defect_of_ours_closes_too(self) -> None:
        loop = Loop(Manager(task(1)))

        def fail() -> None:
            raise ZeroDivisionError

        loop.each_turn = fail
        with pytest.raises(ZeroDivisionError):
            run(loop)
        assert loop.closed == 1


class TestChangedSettings:
    def test_end_it_after_what_is_under_way(self) -> None:
        broker = Manager(*map(task, range(6)), at_once=2)
        loop = Loop(broker)
        loop.hold = True

        def change() -> None:
            if len(loop.running) == 2:
                broker.digest = "2"
            loop.hold = len(broker.returned) < 2

        loop.each_turn = change
        assert run(loop) is None
        assert sorted(broker.done) == [0, 1] and sorted(broker.returned) == [2, 3] and broker.given == {}
        assert len(broker.waiting) == 4, "no more was taken"
        assert loop.closed == 1

    def test_from_nothing_to_something_are_none(self) -> None:
        broker = Manager(*map(task, range(6)))
        broker.digest = ""
        loop = Loop(broker)

        def tell() -> None:
            broker.digest = "1"

        loop.each_turn = tell
        assert run(loop) is State.FINISHED
        assert sorted(broker.done) == list(range(6))


class TestRobots:
    def test_without_any_all_is_allowed(self) -> None:
        assert Loop(Manager()).allows(task(1))

    def test_of_the_origin_count(self) -> None:
        broker = Manager(*map(task, range(3)))
        broker.robots_of = {
            f"https://{HOST}": "User-agent: *\nDisallow: /1.jpg\n",
            "https://b.example": "User-agent: *\nDisallow: /\n",
        }
        loop = Loop(broker)
        assert run(loop) is State.FINISHED
        assert loop.denied == [1]
        elsewhere = task(5)
        elsewhere.at = "https://b.example/5.jpg"
        assert not loop.allows(elsewhere), "where the next request goes counts"
        elsewhere.at = "http://b.example/5.jpg"
        assert loop.allows(elsewhere), "another scheme is another origin"

    def test_for_this_program_count_before_those_for_all(self) -> None:
        broker = Manager(*map(task, range(3)))
        broker.robots_of = {f"https://{HOST}": "User-agent: *\nDisallow: /\n\nUser-agent: crawler\nDisallow: /2\n"}
        loop = Loop(broker)
        assert run(loop) is State.FINISHED
        assert loop.denied == [2]

    def test_of_hosts_that_are_done_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Many(Manager):
            def exchange(self, worker: str, report: Report) -> Reply:
                reply = super().exchange(worker, report)
                origins = {address(task.at).origin: task.number % 40 for task in reply.tasks}
                robots = {origin: f"User-agent: *\nDisallow: /{number}.jpg\n" for origin, number in origins.items()}
                return replace(reply, robots=robots, grants={address(each).authority: Grant(1) for each in origins})

        monkeypatch.setattr(work, "SPARE_TEXTS", 4)
        urls = [f"https://{number % 40}.example/{number % 40}.jpg" for number in range(80)]
        broker = Many(*[Task(number, Kind.IMAGE, url, url, pack(ImageDetail())) for number, url in enumerate(urls)])
        loop = Loop(broker)
        most = 0

        def look() -> None:
            nonlocal most
            most = max(most, len(loop._rules))

        loop.each_turn = look
        assert run(loop) is State.FINISHED
        assert sorted(loop.denied) == list(range(80)), "what was forgotten is learned again"
        assert 4 < most <= 4 + 2 * loop.room


def test_a_notice_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("crawler"), "propagate", True)
    broker = Manager()
    broker.ends = False
    loop = Loop(broker)

    def go_on() -> None:
        broker.notice = {10: "the network is down", 40: "", 60: "the network is down"}.get(
            len(broker.reports), broker.notice
        )
        broker.ends = len(broker.reports) > 90

    loop.each_turn = go_on
    with caplog.at_level(logging.WARNING, logger="crawler"):
        assert run(loop) is State.FINISHED
    assert [record.getMessage() for record in caplog.records] == ["the network is down"] * 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_beside_the_loop_ends_it_too() -> None:
    broker = Manager(task(1))
    broker.error = ValueError("an answer that cannot be read")
    loop = Loop(broker)
    turns: list[None] = []

    def give_up() -> None:
        turns.append(None)
        assert len(turns) < 500, "the loop waits for ever"

    loop.each_turn = give_up
    with pytest.raises((ValueError, CrawlerError), match="an answer that cannot be read"):
        run(loop)
