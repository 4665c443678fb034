from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crawler.brokers import local
from crawler.brokers.listen import listen_unix
from crawler.brokers.local import (
    STOP_SIGNAL,
    Whereabouts,
    is_running,
    job_lock,
    refuse_second,
    socket_path,
    whereabouts,
    write_whereabouts,
)
from crawler.errors import AlreadyRunning, CrawlerError, StateError

HOLD = (
    "import fcntl, sys, time\n"
    "file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
    "print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "night"
    directory.mkdir()
    return directory


@pytest.fixture
def gone() -> int:
    """Return the number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def say(directory: Path, door: int) -> None:
    """Write what a broker of the door `door` would have written."""
    where = Whereabouts(pid=os.getpid(), door=door, socket=str(directory / "broker.sock"), listen="")
    (directory / "broker.json").write_text(json.dumps(where._asdict()))


def test_the_broker_is_stopped_by_a_signal_that_nobody_sends_to_groups() -> None:
    assert STOP_SIGNAL not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_where_nobody_can_listen_is_named(tmp_path: Path) -> None:
    (tmp_path / "broker.sock").mkdir()
    with pytest.raises(StateError, match=r"cannot listen at .*/broker\.sock: Is a directory; remove what is there"):
        listen_unix(tmp_path / "broker.sock")


class TestLock:
    def test_is_held_in_the_block_alone(self, job: Path) -> None:
        assert not is_running(job)
        with job_lock(job):
            assert is_running(job)
        assert not is_running(job)
        with job_lock(job):
            assert is_running(job)

    def test_asking_does_not_take_or_make_it(self, job: Path) -> None:
        assert not is_running(job) and list(job.iterdir()) == []
        with job_lock(job):
            assert is_running(job) and is_running(job)
            with pytest.raises(AlreadyRunning), job_lock(job):
                pass

    def test_a_second_one_is_told_the_job(self, job: Path) -> None:
        refused = pytest.raises(AlreadyRunning, match=r"^job night is running already$")
        with job_lock(job), refused as caught, job_lock(job):
            raise AssertionError("it holds the lock, too")
        assert caught.value.exit_code == 75
        assert not is_running(job)

    def test_is_let_go_when_the_block_fails(self, job: Path) -> None:
        with pytest.raises(ZeroDivisionError), job_lock(job):
            raise ZeroDivisionError
        assert not is_running(job)

    def test_of_jobs_are_apart(self, job: Path, tmp_path: Path) -> None:
        (tmp_path / "day").mkdir()
        with job_lock(job), job_lock(tmp_path / "day"):
            assert is_running(job) and is_running(tmp_path / "day")
        assert not is_running(tmp_path / "missing")

    def test_ends_with_a_process_that_is_killed(self, job: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(job / "lock")], stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            assert is_running(job)
            with pytest.raises(AlreadyRunning), job_lock(job):
                pass
            holder.kill()
            holder.wait()
        assert not is_running(job)


class TestRefuseSecond:
    def test_lets_the_first_pass(self, job: Path, tmp_path: Path) -> None:
        refuse_second(job)
        refuse_second(tmp_path / "missing")
        with job_lock(job):
            pass
        refuse_second(job)

    def test_refuses_at_once_while_the_door_lives(self, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "ORPHAN_PATIENCE", float("inf"))
        say(job, os.getpid())
        with job_lock(job), pytest.raises(AlreadyRunning, match="job night is running already"):
            refuse_second(job)

    @pytest.mark.parametrize("text", [None, "", "nonsense", "[]", "{}"])
    def test_refuses_at_once_where_nothing_is_known_of_the_door(
        self, job: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
    ) -> None:
        monkeypatch.setattr(local, "ORPHAN_PATIENCE", float("inf"))
        if text is not None:
            (job / "broker.json").write_text(text)
        with job_lock(job), pytest.raises(AlreadyRunning):
            refuse_second(job)

    def test_waits_for_a_broker_whose_door_is_gone(self, job: Path, gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "ORPHAN_PATIENCE", float("inf"))
        say(job, gone)
        waiter = threading.Thread(target=refuse_second, args=(job,), daemon=True)
        with job_lock(job):
            waiter.start()
            waiter.join(0.1)
            assert waiter.is_alive()
        waiter.join(10)
        assert not waiter.is_alive()

    def test_waits_no_longer_than_it_has_patience(self, job: Path, gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "ORPHAN_PATIENCE", 0.05)
        say(job, gone)
        with job_lock(job), pytest.raises(AlreadyRunning, match="job night is running already"):
            refuse_second(job)


class TestWhereabouts:
    def test_are_those_of_the_process_that_writes(self, job: Path) -> None:
        write_whereabouts(job, job / "broker.sock", "0.0.0.0:8001")
        expected = Whereabouts(os.getpid(), os.getppid(), str(job / "broker.sock"), "0.0.0.0:8001")
        assert whereabouts(job) == expected
        assert [path.name for path in job.iterdir()] == ["broker.json"], "no draft is left"

    def test_of_a_later_one_replace_them(self, job: Path) -> None:
        write_whereabouts(job, job / "one", "0.0.0.0:8001")
        write_whereabouts(job, job / "two", "")
        assert whereabouts(job).socket.endswith("two") and whereabouts(job).listen == ""

    def test_may_lie_below_any_name(self, tmp_path: Path) -> None:
        for name in (b"n\xc3\xa4ht", b"n\xe4ht"):
            directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
            directory.mkdir()
            write_whereabouts(directory, directory / "broker.sock", "")
            assert whereabouts(directory).socket == str(directory / "broker.sock")

    @pytest.mark.parametrize(
        "content",
        [
            None, b"", b"{", b"null", b"[]", b"7", b"{}", b"\xff\xfe", bytes(64),
            b'{"pid": 1, "door": 2, "socket": ""}', b'{"pid": 1, "door": 2, "socket": "", "listen": "", "more": 1}',
        ],
    )  # fmt: skip
    def test_that_are_none_are_an_error_that_names_the_job(self, job: Path, content: bytes | None) -> None:
        if content is not None:
            (job / "broker.json").write_bytes(content)
        with pytest.raises(StateError, match=r"^job night has no broker: "):
            whereabouts(job)

    def test_of_no_directory_are_an_error(self, job: Path) -> None:
        (job / "file").touch()
        for directory in (job / "missing", job / "file"):
            with pytest.raises(CrawlerError, match=f"job {directory.name} has no broker"):
                whereabouts(directory)


class TestSocketPath:
    def test_is_beside_the_state(self, job: Path) -> None:
        assert socket_path(job) == job / "broker.sock"

    @pytest.mark.parametrize("character", ["x", "ä"])
    def test_always_fits_and_is_each_jobs_own(self, tmp_path: Path, character: str) -> None:
        long = tmp_path / (character * 100)
        paths = [socket_path(long / name) for name in ("one", "two")]
        assert paths == [socket_path(long / name) for name in ("one", "two")]
        assert len({*paths}) == 2
        for path in paths:
            assert path.parent.stat().st_mode & 0o077 == 0, "nobody else may look into it"
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
            path.unlink()

    @pytest.mark.parametrize("length", range(80, 100))
    def test_at_the_edge_a_socket_can_be_made(self, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        directory = Path("/" + "x" * length)
        path = socket_path(directory)
        assert len(os.fsencode(path)) < 108
        assert (path.parent == directory) == (length + len("//broker.sock") < 100)


def test_a_lock_on_the_same_file_by_other_means_counts(job: Path) -> None:
    with (job / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_running(job)
    assert not is_running(job)


def test_a_directory_that_is_none_has_nothing_running(job: Path) -> None:
    (job / "file").touch()
    assert not is_running(job / "file")


def test_who_asks_whether_a_job_runs_keeps_none_from_beginning(job: Path) -> None:
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            is_running(job)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(200):
            with job_lock(job):
                pass
    finally:
        over.set()
        for asker in askers:
            asker.join()
