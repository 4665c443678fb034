from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers.driver import KEY, spec
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import is_running, job_lock, whereabouts, write_whereabouts
from crawler.brokers.offline import STATE_FILE
from crawler.errors import AlreadyRunning, BrokerUnreachable, CrawlerError, StateError, UsageError
from crawler.hosting import _FirstTime, hosted_broker, local_link
from crawler.model import State
from crawler.processes import Link
from crawler.supervisor import Supervisor

LINK = Link(ServerAddress(), KEY, quiet=True)


@pytest.fixture
def boss() -> Iterator[Supervisor]:
    made = Supervisor()
    yield made
    made.stop(0.0)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "state" / "night"


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def hosted(
    boss: Supervisor, job: Path, listen: ServerAddress | None = None
) -> contextlib.AbstractContextManager[ManagerBroker]:
    return hosted_broker(boss, job, listen, LINK)


class TestLocalLink:
    def test_leads_to_the_socket_of_the_job(self, tmp_path: Path) -> None:
        write_whereabouts(tmp_path, tmp_path / "broker.sock", "0.0.0.0:8001")
        link = Link(ServerAddress("machine-a", 8001), KEY, encrypt=False, log_file=tmp_path / "log", quiet=True)
        made = local_link(tmp_path, link)
        assert made == link._replace(server=ServerAddress(path=str(tmp_path / "broker.sock")))

    def test_where_no_broker_has_ever_been(self, tmp_path: Path) -> None:
        with pytest.raises(StateError, match="has no broker"):
            local_link(tmp_path, LINK)


class TestHostedBroker:
    def test_serves_outlives_a_kill_and_ends_with_the_block(self, boss: Supervisor, job: Path) -> None:
        with hosted(boss, job) as broker:
            assert job.stat().st_mode & 0o077 == 0 and is_running(job)
            where = whereabouts(job)
            assert where.door == os.getpid() and where.listen == ""
            broker.begin(spec(job="night", output=str(job.parent)))
            assert broker.counts().state is State.OPEN
            with pytest.raises(AlreadyRunning, match="job night is running already"), hosted(Supervisor(), job):
                raise AssertionError("there are two")
            os.kill(where.pid, signal.SIGKILL)
            until(lambda: not boss.children[0].is_alive)
            with pytest.raises(BrokerUnreachable):
                broker.counts()
            boss.watch()
            until(lambda: whereabouts(job).pid != where.pid)
            assert broker.counts().run == 1, "it has the state of before"
        assert not is_running(job) and not boss.children[0].is_alive
        assert not Path(where.socket).exists()

    def test_listens_for_other_machines_and_ends_when_the_block_fails(self, boss: Supervisor, job: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = ServerAddress("127.0.0.1", probe.getsockname()[1])
        with pytest.raises(ZeroDivisionError), hosted(boss, job, address):
            assert whereabouts(job).listen == str(address)
            other = ManagerBroker(address, KEY)
            assert other.spec().job == ""
            other.close()
            raise ZeroDivisionError
        assert not is_running(job) and not boss.children[0].is_alive

    def test_what_keeps_it_from_beginning_is_raised_here(self, boss: Supervisor, job: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = ServerAddress("127.0.0.1", taken.getsockname()[1])
            refused = pytest.raises(UsageError, match=r"cannot listen at 127\.0\.0\.1:\d+: .*--listen")
            with refused, hosted(boss, job, address):
                raise AssertionError("it has begun")
        boss.watch()
        assert boss.children[0].done and not boss.children[0].is_alive, "it is not started again"
        assert not is_running(job)

    def test_one_that_is_refused_leaves_the_state_as_it_was_closed(self, boss: Supervisor, job: Path) -> None:
        with hosted(boss, job) as broker:
            broker.begin(spec(job="night", output=str(job.parent)))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = ServerAddress("127.0.0.1", taken.getsockname()[1])
            with pytest.raises(UsageError), hosted(Supervisor(), job, address):
                raise AssertionError("it has begun")
        with contextlib.closing(sqlite3.connect(job / STATE_FILE)) as db:
            assert db.execute("SELECT value FROM meta WHERE key = 'clean'").fetchone() == (1,), "no lease is waited for"

    def test_a_key_that_can_be_guessed_is_for_this_machine_alone(self, boss: Supervisor, job: Path) -> None:
        assert LINK.key == b"0123456789abcdef" * 4
        with pytest.raises(UsageError, match="can be guessed"), hosted(boss, job, ServerAddress("0.0.0.0", 0)):
            raise AssertionError("it has begun")

    def test_one_that_ends_before_it_begins_is_said(self, boss: Supervisor, job: Path) -> None:
        (job / "lock" / "is no file").mkdir(parents=True)
        refused = pytest.raises(CrawlerError, match=r"ended before it began|lock")
        with refused, hosted(boss, job):
            raise AssertionError("it has begun")

    def test_a_state_that_cannot_be_made_starts_nothing(self, boss: Supervisor, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for directory in (tmp_path / "file", tmp_path / "file" / "night"):
            refused = pytest.raises(StateError, match=r"the state directory .* cannot be made: .* --state")
            with refused, hosted(boss, directory):
                raise AssertionError("it has begun")
        assert boss.children == []

    def test_a_job_that_runs_elsewhere_starts_nothing(self, boss: Supervisor, job: Path) -> None:
        job.mkdir(parents=True)
        write_whereabouts(job, job / "broker.sock", "")
        with job_lock(job), pytest.raises(AlreadyRunning, match="job night is running already"), hosted(boss, job):
            raise AssertionError("it has begun")
        assert boss.children == []


class TestFirstTime:
    def test_tells_while_it_can(self) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        with ours, theirs:
            first = _FirstTime(theirs)
            first.send(None)
            assert ours.poll(0) and ours.recv() is None
            first.close()
            with pytest.raises(EOFError):
                ours.recv()

    def test_who_is_started_again_tells_nobody(self) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        with ours, theirs:
            first = _FirstTime(theirs)
            first.close()
            again = pickle.loads(pickle.dumps(first))
            again.send(None)
            with pytest.raises(BrokenPipeError):
                again.send(CrawlerError("nobody hears it"))
            again.close()
            again.close()
            with pytest.raises(EOFError):
                ours.recv()
