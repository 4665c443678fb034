"""How processes begin: forked where one thread runs, anew where there are more; what they know of who started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler import forking
from crawler.brokers.local import is_running, job_lock
from crawler.forking import STOP_SIGNALS, parent_lives, start_process

KNOWN: list[str] = []


def tell(path: Path) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    whole = path.with_suffix(".whole")
    whole.write_text(f"{','.join(KNOWN)} {blocked >= STOP_SIGNALS} {parent_lives()}")
    whole.replace(path)


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
    process = start_process("one", tell, (tmp_path / "told",))
    process.join(30)
    assert process.exitcode == 0 and process.name == "one"
    assert (tmp_path / "told").read_text() == "here True True"
    assert not STOP_SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, []), "they come here as before"


@pytest.mark.usefixtures("other_thread")
def test_beside_another_thread_it_starts_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "KNOWN", ["here"])
    process = start_process("one", tell, (tmp_path / "told",))
    process.join(30)
    assert process.exitcode == 0
    assert (tmp_path / "told").read_text() == " True True"
    assert not STOP_SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_who_started_none_has_no_parent_to_lose() -> None:
    assert multiprocessing.parent_process() is None and parent_lives()


@pytest.mark.usefixtures("only_thread")
def test_a_fork_does_not_hold_the_lock_on(tmp_path: Path) -> None:
    with job_lock(tmp_path):
        process = start_process("one", time.sleep, (60,))
    try:
        until = time.monotonic() + 10  # it begins by letting go
        while is_running(tmp_path):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert process.is_alive()
    finally:
        process.kill()
        process.join()


ORPHAN = """
    import sys, time
    from pathlib import Path
    from crawler.forking import parent_lives, start_process

    def live(path):
        while parent_lives():
            time.sleep(0.01)
        path.write_text("alone")

    start_process("one", live, (Path(sys.argv[1]),))
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
