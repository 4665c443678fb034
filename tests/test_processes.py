from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from crawler import processes
from crawler.account import Counts
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.errors import BrokerUnreachable, CrawlerError, WrongKey
from crawler.model import State
from crawler.processes import Link, Maker, Place, job_folder, parent_lives, wait_for_job
from crawler.spec import Spec
from crawler.work import WorkLoop

AWAY = BrokerUnreachable("nothing listens at machine-a:8001")


class Clock:
    """The time, which sleeping alone moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


class Job(NamedTuple):
    """What a broker says of its job."""

    name: str
    state: State = State.OPEN


class Scripted:
    """A broker that is in one of these ways at each look, and at last for ever."""

    def __init__(self, *script: Job | Exception) -> None:
        self.script = list(script)
        self.looks = 0
        self.closed = False

    def spec(self) -> Spec:
        self.looks += 1
        if len(self.script) > 1 and self.looks > 1:
            self.script.pop(0)
        return Spec(job=self._now().name)

    def counts(self) -> Counts:
        return Counts(run=1, state=self._now().state, began=0.0, ended=0.0)

    def close(self) -> None:
        self.closed = True

    def _now(self) -> Job:
        step = self.script[0]
        if isinstance(step, Exception):
            raise step
        return step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(processes, "time", clock)
    return clock


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("crawler"), "propagate", True)
    return caplog


def waited(
    broker: Scripted, wait: float = 60.0, *, forever: bool = False, go_on: Callable[[], bool] = lambda: True
) -> Spec | None:
    return wait_for_job(cast(ManagerBroker, broker), wait, forever, go_on)


class TestWaitForJob:
    def test_a_job_with_work_is_taken_at_once(self, clock: Clock) -> None:
        broker = Scripted(Job("night"))
        assert waited(broker) == Spec(job="night")
        assert broker.looks == 1 and clock.now == 100.0

    def test_a_collector_that_comes_later_is_waited_for(self, clock: Clock, logged: pytest.LogCaptureFixture) -> None:
        broker = Scripted(AWAY, AWAY, AWAY, Job("night"))
        assert waited(broker) == Spec(job="night")
        assert [record.getMessage() for record in logged.records] == [f"{AWAY}; waiting for a collector"]

    def test_a_collector_that_never_comes_is_an_error(self, clock: Clock) -> None:
        broker = Scripted(AWAY)
        with pytest.raises(BrokerUnreachable, match="nothing listens at machine-a:8001"):
            waited(broker, 60.0)
        assert 60.0 < clock.now - 100.0 < 62.0
        assert broker.looks > 10

    def test_without_patience_it_is_tried_at_least_once(self, clock: Clock) -> None:
        assert waited(Scripted(Job("night")), 0.0) == Spec(job="night")
        with pytest.raises(BrokerUnreachable):
            waited(Scripted(AWAY), 0.0)

    def test_for_ever_is_for_ever(self, clock: Clock) -> None:
        broker = Scripted(*[AWAY] * 20_000, Job("night"))
        assert waited(broker, float("inf"), forever=True) == Spec(job="night")
        assert clock.now > 9000.0

    def test_a_broker_whose_run_has_not_begun_is_waited_for(self, clock: Clock) -> None:
        assert waited(Scripted(*[Job("")] * 1000, Job("night")), 1.0) == Spec(job="night")
        finished = Job("", State.FINISHED)
        assert waited(Scripted(finished, finished, Job("night")), 1.0) == Spec(job="night")

    def test_a_finished_job_needs_nobody(self, clock: Clock) -> None:
        broker = Scripted(Job("night", State.FINISHED))
        assert waited(broker) is None
        assert broker.looks == 1

    def test_who_works_for_ever_waits_for_the_next_run(self, clock: Clock) -> None:
        finished = Job("night", State.FINISHED)
        broker = Scripted(finished, finished, AWAY, AWAY, Job("day"))
        assert waited(broker, forever=True) == Spec(job="day")

    def test_a_job_that_is_stopped_is_waited_for(self, clock: Clock) -> None:
        broker = Scripted(Job("night", State.DRAINING), Job("night", State.DRAINING), AWAY, Job("night"))
        assert waited(broker) == Spec(job="night")

    def test_patience_begins_anew_when_the_collector_answers(self, clock: Clock) -> None:
        broker = Scripted(*[AWAY] * 15, Job("night", State.DRAINING), *[AWAY] * 15, Job("night"))
        assert waited(broker, 10.0) == Spec(job="night")
        broker = Scripted(*[AWAY] * 15, Job("night", State.DRAINING), AWAY)
        with pytest.raises(BrokerUnreachable):
            waited(broker, 10.0)

    @pytest.mark.parametrize("script", [Job("night"), AWAY, WrongKey("another key")])
    def test_who_is_told_to_stop_does_not_ask(self, clock: Clock, script: Job | Exception) -> None:
        broker = Scripted(script)
        assert waited(broker, go_on=lambda: False) is None
        assert broker.looks == 0

    @pytest.mark.parametrize("script", [Job("night", State.DRAINING), Job(""), AWAY])
    def test_who_is_told_to_stop_waits_no_longer(self, clock: Clock, script: Job | Exception) -> None:
        broker = Scripted(script)
        assert waited(broker, float("inf"), go_on=lambda: broker.looks < 3) is None
        assert broker.looks == 3

    @pytest.mark.parametrize("error", [WrongKey("another key"), CrawlerError("no manager of this program")])
    def test_what_will_not_pass_is_told_at_once(self, clock: Clock, error: CrawlerError) -> None:
        broker = Scripted(AWAY, error, Job("night"))
        with pytest.raises(type(error), match=str(error)):
            waited(broker, float("inf"), forever=True)
        assert broker.looks == 2


class TestJobFolder:
    def test_is_where_the_collector_has_it(self) -> None:
        assert job_folder(Place(1), Spec(job="night", output="/data/images")).path == Path("/data/images/night")

    @pytest.mark.parametrize(
        ("output", "path"),
        [
            ("/mnt", "/mnt/night"),
            ("file:///mnt", "/mnt/night"),
            ("here", "{tmp}/here/night"),
            ("~/here", "{tmp}/home/here/night"),
        ],
    )
    def test_is_in_the_output_here(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, path: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        folder = job_folder(Place(1, output), Spec(job="night", output="/data/images"))
        assert folder.path == Path(path.format(tmp=tmp_path))

    def test_is_in_a_bucket(self) -> None:
        for place, spec in ((Place(1), Spec(job="j", output="s3://b")), (Place(1, "s3://b/p/"), Spec(job="j"))):
            folder = job_folder(place, spec)
            assert folder.path is None and str(folder) == f"{place.output or spec.output}".rstrip("/") + "/j"

    def test_that_can_be_no_path_is_refused(self) -> None:
        with pytest.raises(CrawlerError, match="--output"):
            job_folder(Place(1, "~nobody-has-this-name/x"), Spec(job="night"))


def test_a_link_makes_a_broker_that_connects_later() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        broker = Link(ServerAddress("127.0.0.1", silent.getsockname()[1]), b"k" * 64).broker()
        with pytest.raises(BrokerUnreachable, match="nothing listens at"):
            broker.counts()


def test_nothing_stays_open_where_nobody_listens(tmp_path: Path) -> None:
    broker = Link(ServerAddress(path=str(tmp_path / "none.sock")), b"k" * 64).broker()
    with pytest.raises(BrokerUnreachable, match="nothing listens at"):
        broker.counts()


def test_a_process_without_a_parent_lives() -> None:
    assert parent_lives()


class Linked(NamedTuple):
    """A way to the brokers of a test, one after another."""

    brokers: list[Scripted]
    log_file: Path | None = None
    quiet: bool = True

    def broker(self) -> Scripted:
        return self.brokers.pop(0)


class Loop:
    """A worker's loop that ends as the test says; `act` is what happens meanwhile."""

    def __init__(self, end: State | CrawlerError | None, act: Callable[[], None] = lambda: None) -> None:
        self.end = end
        self.act = act
        self.stopped = False

    def run(self, alive: Callable[[], bool]) -> State | None:
        assert alive()
        self.act()
        if isinstance(self.end, CrawlerError):
            raise self.end
        return self.end

    def stop(self) -> None:
        self.stopped = True


class TestWork:
    @pytest.fixture(autouse=True)
    def restored(self) -> Iterator[None]:
        """Undo what a process of its own may do: handlers of signals and of the log."""
        root = logging.getLogger("crawler")
        before = root.handlers[:], root.propagate, root.level
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
        root.handlers[:], root.propagate = before[:2]
        root.setLevel(before[2])
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def work(self, *loops: Loop, brokers: list[Scripted] | None = None, forever: bool = False) -> list[str]:
        """Work with these loops one after another; return what was made and closed, in order."""
        told: list[str] = []
        left = list(loops)
        link = Linked([Scripted(Job(f"job {n}")) for n in range(9)] if brokers is None else brokers)

        def make(broker: Any, spec: Spec) -> tuple[WorkLoop, Callable[[], None]]:
            told.append(spec.job)
            return cast(WorkLoop, left.pop(0)), lambda: told.append("closed")

        self.told = told
        processes._work(cast(Link, link), 0.0, forever=forever, make=cast(Maker, make))
        assert not left
        return told

    def test_ends_with_the_run(self) -> None:
        assert self.work(Loop(State.FINISHED)) == ["job 0", "closed"]

    def test_goes_on_after_a_stop_of_the_broker_or_with_changed_settings(self) -> None:
        told = self.work(Loop(State.DRAINING), Loop(None), Loop(State.FINISHED))
        assert told == ["job 0", "closed", "job 1", "closed", "job 2", "closed"]

    def test_for_ever_goes_on_after_the_end(self) -> None:
        with pytest.raises(SystemExit):
            self.work(Loop(State.FINISHED), Loop(State.FINISHED), Loop(WrongKey("at last")), forever=True)
        assert self.told == ["job 0", "closed", "job 1", "closed", "job 2", "closed"]

    def test_a_job_that_is_finished_already_needs_no_loop(self) -> None:
        assert self.work(brokers=[Scripted(Job("night", State.FINISHED))]) == []

    @pytest.mark.parametrize(("error", "code"), [(WrongKey("another key"), 2), (CrawlerError("no"), 1), (AWAY, 69)])
    def test_an_error_is_logged_and_is_the_exit_code(
        self, capsys: pytest.CaptureFixture[str], error: CrawlerError, code: int
    ) -> None:
        broker = Scripted(Job("night"))
        with pytest.raises(SystemExit) as caught:
            self.work(Loop(error), brokers=[broker])
        assert caught.value.code == code
        assert self.told == ["night", "closed"] and broker.closed
        assert str(error) in capsys.readouterr().err

    def test_a_broker_that_refuses_is_the_exit_code_too(self) -> None:
        with pytest.raises(SystemExit) as caught:
            self.work(brokers=[Scripted(WrongKey("another key"))])
        assert caught.value.code == 2

    def test_a_signal_stops_the_loop_and_begins_no_other(self) -> None:
        loop = Loop(State.DRAINING, lambda: signal.raise_signal(signal.SIGTERM))
        assert self.work(loop) == ["job 0", "closed"]
        assert loop.stopped

    def test_the_interrupt_is_for_the_door(self) -> None:
        loop = Loop(State.FINISHED, lambda: signal.raise_signal(signal.SIGINT))
        self.work(loop)
        assert not loop.stopped
