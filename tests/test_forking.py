"""How processes begin: forked where one thread runs, anew where there are more; what they know of who started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import pytest

from crawler import forking
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import is_running, job_lock
from crawler.errors import CrawlerError, UsageError
from crawler.forking import STOP_SIGNALS, apart, blocked_signals, new_process, parent_lives

KNOWN: list[str] = []


def tell(path: Path) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    whole = path.with_suffix(".whole")
    whole.write_text(f"{','.join(KNOWN)} {blocked >= STOP_SIGNALS} {parent_lives()}")
    whole.replace(path)


def started(target: Callable[..., None], *arguments: object) -> BaseProcess:
    process = new_process("one", target, arguments)
    with blocked_signals():
        process.start()
    return process


@pytest.fixture
def only_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take this process, in which tests may run beside each other, for one of a single thread."""
    monkeypatch.setattr(forking, "_OUR_THREADS", tmp_path / "task")
    (tmp_path / "task" / "1").mkdir(parents=True)


@pytest.fixture
def other_thread() -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent))
    monkeypatch.setitem(sys.modules, "test_forking", sys.modules[__name__])


@pytest.mark.usefixtures("only_thread")
def test_a_fork_has_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "KNOWN", ["here"])
    process = started(tell, tmp_path / "told")
    process.join(30)
    assert process.exitcode == 0 and process.name == "one"
    assert (tmp_path / "told").read_text() == "here True True"
    assert not STOP_SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, []), "they come here as before"


@pytest.mark.usefixtures("other_thread")
def test_beside_another_thread_it_starts_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "KNOWN", ["here"])
    process = started(tell, tmp_path / "told")
    process.join(30)
    assert process.exitcode == 0
    assert (tmp_path / "told").read_text() == " True True"
    assert not STOP_SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_who_started_none_has_no_parent_to_lose() -> None:
    assert multiprocessing.parent_process() is None and parent_lives()


@pytest.mark.usefixtures("only_thread")
def test_a_fork_does_not_hold_the_lock_on(tmp_path: Path) -> None:
    with job_lock(tmp_path):
        process = started(time.sleep, 60)
    try:
        until = time.monotonic() + 10  # it begins by letting go
        while is_running(tmp_path):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert process.is_alive()
    finally:
        process.kill()
        process.join()


@pytest.mark.usefixtures("only_thread")
def test_a_fork_has_no_part_in_the_talk_with_a_broker() -> None:
    ours, theirs = socket.socketpair()
    broker = ManagerBroker(ServerAddress(path="/nowhere"), b"")
    broker._socket = ours
    process = started(time.sleep, 60)
    try:
        broker.close()
        theirs.settimeout(10.0)
        assert theirs.recv(1) == b"", "the other end sees that it is over"
        assert process.is_alive()
    finally:
        theirs.close()
        process.kill()
        process.join()


class TestApart:
    pytestmark = pytest.mark.usefixtures("only_thread")

    def test_does_work_elsewhere(self) -> None:
        assert apart(os.getpid) != os.getpid()

    def test_raises_what_work_does(self) -> None:
        def fail() -> NoReturn:
            raise UsageError("it is no list")

        with pytest.raises(UsageError, match="it is no list"):
            apart(fail)

    def test_tells_that_its_process_died(self) -> None:
        with pytest.raises(CrawlerError, match="ended by SIGKILL"):
            apart(lambda: os.kill(os.getpid(), signal.SIGKILL))

    def test_beside_another_thread_works_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forking, "_has_threads", lambda: True)
        assert apart(os.getpid) == os.getpid()


ORPHAN = """
    import sys, time
    from pathlib import Path
    from crawler.forking import new_process, parent_lives

    def live(path):
        while parent_lives():
            time.sleep(0.01)
        path.write_text("alone")

    new_process("one", live, (Path(sys.argv[1]),)).start()
    print("started", flush=True)
    time.sleep(60)
"""


def test_one_whose_parent_is_killed_hears_of_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", textwrap.dedent(ORPHAN), str(tmp_path / "told")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "started\n"
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while not (tmp_path / "told").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
