from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from brokers.driver import Clock, Job, done, images, page
from crawler import jobs, logs
from crawler.account import Counts, SiteCounts
from crawler.brokers.local import job_lock, write_whereabouts
from crawler.brokers.sqlite import SqliteBroker
from crawler.building import local_key
from crawler.door import enter
from crawler.errors import StateError, UsageError
from crawler.jobs import counts_of, details, line, report
from crawler.model import State
from crawler.settings import StatusSettings
from states import running

BEGAN = datetime.datetime(2024, 3, 9, 1, 30).timestamp()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CRAWLER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


@pytest.fixture
def settings(state: Path) -> StatusSettings:
    return StatusSettings(state=state)


def counts(**more: Any) -> Counts:
    values: dict[str, Any] = {"run": 3, "state": State.FINISHED, "began": BEGAN, "ended": 0.0, **more}
    return Counts(**values)


def made(state: Path, name: str, *, finish: bool = True, pages: int = 0) -> Path:
    """Make the state of a job: three images of 1000 bytes are saved, one failed, and two wait unless it is finished."""
    directory = state / name
    directory.mkdir()
    clock = Clock()
    clock.now = BEGAN
    broker = SqliteBroker(directory / "queue.sqlite", clock=clock)
    job = Job(broker, clock)
    job.begin([*images(6), *(page(f"http://site.test/{n}") for n in range(pages))])
    given = job.worker().exchange()
    said = [done(task, size=1000) for task in given[:3]] + [done(given[3], "http_404")]
    said += [done(task) for task in given[4:]] if finish else []
    job.worker().exchange(*said, room={})
    if finish:
        job.end_source()
    broker.close()
    return directory


class TestLine:
    def test_of_a_finished_job(self, state: Path) -> None:
        said = line(
            state / "night", counts(images={"success": 1200, "reported": 34, "dns": 5, "http_404": 2}, bytes=2_500_000)
        )
        assert said == "night: finished; run 3 of 2024-03-09 01:30: 1,234 saved, 7 failed, 2.5 MB"

    @pytest.mark.parametrize("how", [State.OPEN, State.DRAINING])
    def test_of_one_that_was_stopped(self, state: Path, how: State) -> None:
        said = line(state / "night", counts(state=how))
        assert said.startswith("night: stopped; the same command goes on; run 3 of ")
        assert said.endswith(": 0 saved, 0 failed, 0 B")

    def test_of_one_that_runs_says_how_to_stop_it(self, state: Path) -> None:
        directory = made(state, "night")
        write_whereabouts(directory, directory / "broker.sock", "")
        began = datetime.datetime.now().timestamp() - 100.0
        with job_lock(directory):
            said = line(
                directory, counts(state=State.OPEN, began=began, images={"success": 1}, waiting_images=1234, workers=3)
            )
        assert said.startswith(f"night: running, pid {os.getppid()}; run 3 of ")
        assert "1 saved, 0 failed" in said and "1,234 waiting, 3 workers" in said
        assert said.endswith(f"; stop it with: kill {os.getppid()}")

    def test_of_one_that_has_just_begun_has_a_speed(self, state: Path) -> None:
        directory = made(state, "night")
        write_whereabouts(directory, directory / "broker.sock", "")
        began = datetime.datetime.now().timestamp() + 3600.0
        with job_lock(directory):
            assert " 5.0 images/s, " in line(directory, counts(state=State.OPEN, began=began, images={"success": 5}))

    def test_of_one_that_runs_but_nobody_knows_where_is_an_error(self, state: Path) -> None:
        directory = made(state, "night")
        with job_lock(directory), pytest.raises(StateError, match="job night has no broker"):
            line(directory, counts())


class TestDetails:
    def test_are_numbers_troubles_and_hosts(self) -> None:
        site = SiteCounts(url="https://a.example/", first_outcome="dns", first_message="no such host")
        hosts = [("https://a.example", "http_404", 1234), ("https://b.example", "success", 5)]
        said = details(
            counts(
                pages={"success": 1000, "script_only": 2, "dns": 7}, waiting_pages=9, held=8, sites=[site], hosts=hosts
            )
        )
        assert said == [
            "  1,002 pages read, 9 waiting, 8 tasks held by workers",
            "  ! https://a.example/: its first page failed: dns: no such host",
            "      1,234  http_404             https://a.example",
            "          5  success              https://b.example",
        ]

    def test_of_many_hosts_are_bounded(self) -> None:
        hosts = [(f"https://{n}.example", "success", 1) for n in range(1000)]
        said = details(counts(hosts=hosts))
        assert len(said) == 41 and said[-1].endswith("https://39.example")


class TestCounts:
    def test_are_those_of_the_state_where_nobody_runs(self, state: Path, settings: StatusSettings) -> None:
        found = counts_of(made(state, "night", finish=False, pages=2), settings)
        assert (found.run, found.state, found.images, found.bytes) == (
            1,
            State.DRAINING,
            {"success": 3, "http_404": 1},
            3000,
        )
        assert (found.waiting_images, found.waiting_pages) == (2, 2)
        assert counts_of(made(state, "day"), settings).state is State.FINISHED
        assert not (state / "key").exists(), "no key is needed to read a file"

    def test_are_those_of_the_broker_where_one_runs(self, state: Path, settings: StatusSettings) -> None:
        directory = made(state, "night", finish=False)
        with running(directory, local_key(None, state)):
            found = counts_of(directory, settings)
        assert (found.state, found.images) == (State.OPEN, {"success": 3, "http_404": 1})

    def test_are_read_without_changing_the_job(self, state: Path, settings: StatusSettings) -> None:
        directory = made(state, "night", finish=False)
        before = (directory / "queue.sqlite").read_bytes()
        counts_of(directory, settings)
        assert (directory / "queue.sqlite").read_bytes() == before


class TestRun:
    def test_without_a_job_says_where_it_looked(
        self, settings: StatusSettings, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert report(settings) == 0
        assert capsys.readouterr().out == f"no jobs in {state}\n"
        assert report(StatusSettings(state=state / "missing")) == 0
        assert capsys.readouterr().out == f"no jobs in {state / 'missing'}\n"

    def test_lists_all_jobs_in_order(
        self, settings: StatusSettings, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("night", "day"):
            made(state, name)
        (state / "none").mkdir()
        (state / "key").write_text("x" * 64)
        assert report(settings) == 0
        assert [text.partition(":")[0] for text in capsys.readouterr().out.splitlines()] == ["day", "night"]

    def test_of_one_job_shows_its_details(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        made(state, "day")
        made(state, "night", finish=False, pages=2)
        assert report(StatusSettings(state=state, job="night")) == 0
        assert capsys.readouterr().out.splitlines() == [
            "night: stopped; the same command goes on; run 1 of 2024-03-09 01:30: 3 saved, 1 failed, 3.0 kB",
            "  0 pages read, 2 waiting, 0 tasks held by workers",
            "          3  success              http://a.test",
            "          1  http_404             http://a.test",
        ]

    @pytest.mark.parametrize("name", ["missing", "nigh", "../state/night", "*", "night/"])
    def test_of_a_job_that_is_not_there_names_it(self, state: Path, name: str) -> None:
        made(state, "night")
        with pytest.raises(UsageError, match="no job '") as caught:
            report(StatusSettings(state=state, job=name))
        assert repr(name) in str(caught.value) and str(state) in str(caught.value)

    def test_of_one_that_runs_asks_its_broker(
        self, settings: StatusSettings, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        directory = made(state, "night", finish=False)
        with running(directory, local_key(None, state)):
            assert report(settings) == 0
        assert capsys.readouterr().out.startswith(f"night: running, pid {os.getppid()}; run 1 of ")

    def test_what_cannot_be_read_hides_no_other(
        self, settings: StatusSettings, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made(state, "night")
        (state / "broken").mkdir()
        (state / "broken" / "queue.sqlite").write_bytes(b"this is no database" * 100)
        (state / "older").mkdir()
        with contextlib.closing(sqlite3.connect(state / "older" / "queue.sqlite")) as db:
            db.execute("PRAGMA user_version=1")
        assert report(settings) == 2
        broken, night, older = capsys.readouterr().out.splitlines()
        assert broken.startswith("broken: cannot be read: the state ") and "file is not a database" in broken
        assert night.startswith("night: finished; ")
        assert older.startswith("older: cannot be read: ") and "has version 1, this program reads version" in older

    def test_a_state_that_is_damaged_hides_no_other(
        self, settings: StatusSettings, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made(state, "night")
        file = made(state, "damaged") / "queue.sqlite"
        whole = file.read_bytes()
        file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        assert report(settings) == 2
        damaged, night = capsys.readouterr().out.splitlines()
        assert damaged.startswith("damaged: cannot be read: ") and night.startswith("night: finished; ")

    def test_a_broker_that_does_not_answer_is_said(
        self, settings: StatusSettings, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        directory = made(state, "night")
        with running(directory, b"another key" * 4):
            assert report(settings) == 2
        assert "night: cannot be read: " in (out := capsys.readouterr().out) and "has another key" in out

    def test_nothing_that_the_web_sends_steers_the_terminal(
        self, state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(state, "night")
        site = SiteCounts(url="https://a.example/", first_outcome="dns", first_message="\x1b[2J\n! fake")
        monkeypatch.setattr(jobs, "counts_of", lambda *_: counts(sites=[site]))
        report(StatusSettings(state=state, job="night"))
        out = capsys.readouterr().out
        assert "\\x1b[2J\\n! fake" in out and "\x1b" not in out

    def test_a_reader_who_leaves_is_no_defect(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made(state, "night")
        reader, writer = os.pipe()
        os.close(reader)
        out = os.fdopen(writer, "w", buffering=1)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(logs, "set_up", lambda *_: None)
        try:
            assert enter(StatusSettings, "python -m crawler.status", "About.", report, ["--state", str(state)]) != 0
        finally:
            with contextlib.suppress(BrokenPipeError):
                out.close()
