from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import pytest

from crawler import supervisor
from crawler.errors import CrawlerError
from crawler.forking import ready_for_signals
from crawler.supervisor import Child, Supervisor


def note(path: Path) -> None:
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")


def live(path: Path) -> None:
    ready_for_signals()
    note(path)
    time.sleep(60)


def live_on(path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    live(path)


def end_with(path: Path, code: int) -> None:
    note(path)
    sys.exit(code)


def starts(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def boss(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    # Children import this module by its name, which pytest does not put on their path.
    here = str(Path(__file__).resolve().parent)
    monkeypatch.syspath_prepend(here)
    boss = Supervisor()
    yield boss
    boss.stop(0.0)


def ended(child: Child) -> bool:
    return child.process is not None and not child.process.is_alive()


def test_one_that_is_killed_is_started_again(boss: Supervisor, notes: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = boss.start("worker", live, notes)
    until(lambda: len(starts(notes)) == 1)
    boss.watch()
    assert len(starts(notes)) == 1
    os.kill(starts(notes)[0], signal.SIGKILL)
    until(lambda: ended(child))
    logger = logging.getLogger("crawler.supervisor")
    with caplog.at_level(logging.WARNING, logger="crawler.supervisor"):
        logger.addHandler(caplog.handler)
        boss.watch()
        logger.removeHandler(caplog.handler)
    until(lambda: len(starts(notes)) == 2)
    first, second = starts(notes)
    assert first != second and is_running(second)
    assert not child.done
    assert "the worker process ended by SIGKILL" in caplog.text


def test_a_wait_is_over_when_one_ends(boss: Supervisor, notes: Path) -> None:
    began = time.monotonic()
    assert not boss.wait(0.05), "there is none"
    boss.start("lives", live, notes)
    assert not boss.wait(0.05)
    child = boss.start("ends", end_with, notes, 0)
    assert boss.wait(30.0) and time.monotonic() - began < 20.0
    boss.watch()
    assert child.done and not boss.wait(0.05), "it is told once"


@pytest.mark.parametrize("code", [0, 2])
def test_one_that_ends_by_itself_stays_ended(boss: Supervisor, notes: Path, code: int) -> None:
    child = boss.start("worker", end_with, notes, code)
    until(lambda: ended(child))
    boss.watch()
    boss.watch()
    assert child.done and child.exit_code == code
    assert len(starts(notes)) == 1


def test_one_that_dies_again_and_again_is_given_up(
    boss: Supervisor, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "MOST_DEATHS", 1)
    child = boss.start("worker", end_with, notes, 1)
    until(lambda: ended(child))
    boss.watch()
    until(lambda: ended(child))
    with pytest.raises(CrawlerError, match=r"the worker process died .* times within a minute, the last by exit 1"):
        boss.watch()
    assert len(starts(notes)) == 2


def test_one_that_cannot_be_started_is_told(boss: Supervisor, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(supervisor, "new_process", refuse)
    with pytest.raises(CrawlerError, match="the one process cannot be started: Resource temporarily unavailable"):
        boss.start("one", live, notes)


def test_one_is_known_when_a_signal_comes_while_it_starts(
    boss: Supervisor, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = BaseProcess.start

    def interrupted(process: BaseProcess) -> None:
        start(process)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # threads of what runs the tests do not block it

    monkeypatch.setattr(BaseProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        boss.start("one", live, notes)
    assert boss.children[0].process is not None, "it can be ended"


def test_deaths_long_ago_do_not_count(boss: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MOST_DEATHS", 1)
    child = Child("worker", live, (), deaths=[time.monotonic() - 2 * supervisor.WINDOW] * 50)
    boss._note_death(child, 1)
    assert len(child.deaths) == 1


class TestStop:
    def test_asks_and_waits(self, boss: Supervisor, notes: Path) -> None:
        child = boss.start("worker", live, notes)
        until(lambda: len(starts(notes)) == 1)
        boss.stop(10.0)
        assert child.done and not is_running(starts(notes)[0])
        assert child.process is not None and child.process.exitcode == -signal.SIGTERM
        boss.watch()
        assert len(starts(notes)) == 1

    def test_kills_what_does_not_listen(self, boss: Supervisor, notes: Path) -> None:
        child = boss.start("worker", live_on, notes)
        until(lambda: len(starts(notes)) == 1)
        boss.stop(0.1)
        assert child.done and not is_running(starts(notes)[0])
        assert child.process is not None and child.process.exitcode == -signal.SIGKILL

    def test_of_some_leaves_the_others(self, boss: Supervisor, notes: Path, tmp_path: Path) -> None:
        pages = boss.start("pages 1", live, notes)
        other = boss.start("broker", live, tmp_path / "broker")
        until(lambda: len(starts(notes)) == 1 == len(starts(tmp_path / "broker")))
        boss.stop(10.0, only="pages")
        boss.watch()
        assert not other.done and is_running(starts(tmp_path / "broker")[0])
        assert not is_running(starts(notes)[0])
        assert pages.process is not None and pages.process.exitcode == -signal.SIGTERM
        os.kill(starts(tmp_path / "broker")[0], signal.SIGKILL)
        until(lambda: ended(other))
        boss.watch()
        until(lambda: len(starts(tmp_path / "broker")) == 2)

    def test_after_all_have_ended_is_harmless(self, boss: Supervisor, notes: Path) -> None:
        child = boss.start("worker", end_with, notes, 0)
        until(lambda: ended(child))
        boss.stop(1.0)
        boss.stop(1.0)
        assert child.done
