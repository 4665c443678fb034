from __future__ import annotations

import errno
import fcntl
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

import pytest

from crawler.account import LedgerPage, LedgerRow
from crawler.contracts import Broker
from crawler.errors import BrokerUnreachable, CrawlerError, StateError, StoreError, UsageError
from crawler.lines import Lines
from crawler.model import ImageResult, pack


class Results:
    """A broker with a growing ledger, of which it hands out two at a time."""

    def __init__(self, *rows: LedgerRow) -> None:
        self.rows = list(rows)
        self.asked: list[str] = []
        self.error: Exception | None = None

    def results(self, cursor: str, limit: int) -> LedgerPage:
        assert limit >= 2
        self.asked.append(cursor)
        if self.error is not None:
            raise self.error
        if cursor and not cursor.isdecimal():
            raise UsageError(f"{cursor!r} is no cursor")
        start = int(cursor or 0)
        end = min(start + 2, len(self.rows))
        return LedgerPage(self.rows[start:end], str(end) if end else "")


def row(number: int, outcome: str = "success", message: str = "", line: str = "") -> LedgerRow:
    url = f"https://a.example/{number}.jpg"
    return LedgerRow(
        seq=number, run=1, url=url, outcome=outcome, message=message, size=0, time=0.0, worker="w",
        result=pack(ImageResult(line=line)), current=True,
    )  # fmt: skip


def pass_on(lines: Lines, broker: Results) -> int:
    return lines.pass_on(cast(Broker, broker))


def all_of(lines: Lines, broker: Results) -> int:
    total = 0
    while number := pass_on(lines, broker):
        total += number
    return total


@pytest.fixture
def wanted(tmp_path: Path) -> Lines:
    return Lines(tmp_path, wanted=True)


def test_each_result_is_a_line(wanted: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    broker = Results(row(1), row(2, "http_404", "Not Found"), row(3, "timeout", "after 60 s"))
    assert [pass_on(wanted, broker), pass_on(wanted, broker), pass_on(wanted, broker)] == [2, 1, 0]
    assert capsys.readouterr().out.splitlines() == [
        "https://a.example/1.jpg--->success",
        "https://a.example/2.jpg--->http_404",
        "https://a.example/3.jpg--->timeout: after 60 s",
    ]


def test_what_cannot_be_read_now_is_told_once_and_passed_on_later(
    wanted: Lines, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    broker = Results(row(1))
    broker.error = StoreError("s3://b/j: no answer")
    assert [pass_on(wanted, broker), pass_on(wanted, broker)] == [0, 0]
    assert len(caplog.records) == 1 and "s3://b/j: no answer; result lines wait" in caplog.text
    broker.error = None
    assert pass_on(wanted, broker) == 1
    assert capsys.readouterr().out == "https://a.example/1.jpg--->success\n"


def test_a_stock_clients_line_is_passed_on_as_it_came(wanted: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    pass_on(wanted, Results(row(1, "reported_error", "x", "https://a.example/1.jpg--->it was no good")))
    assert capsys.readouterr().out == "https://a.example/1.jpg--->it was no good\n"


def test_what_the_web_sends_is_one_line_and_steers_no_terminal(
    wanted: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    pass_on(wanted, Results(row(1, "protocol", "\x1b[2J\r\nhttps://b.example--->success\u202e")))
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.endswith("\\u202e\n") and "\\x1b[2J\\r\\n" in out


def test_new_ones_are_printed_as_they_arrive(wanted: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    broker = Results()
    assert pass_on(wanted, broker) == 0
    assert capsys.readouterr().out == ""
    broker.rows.append(row(1))
    assert pass_on(wanted, broker) == 1
    broker.rows.append(row(2))
    assert pass_on(wanted, broker) == 1
    assert capsys.readouterr().out.count("success") == 2


def test_a_restart_goes_on_where_the_last_one_came_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broker = Results(row(1), row(2), row(3))
    assert pass_on(Lines(tmp_path, wanted=True), broker) == 2
    assert all_of(Lines(tmp_path, wanted=True), broker) == 1
    assert all_of(Lines(tmp_path, wanted=True), broker) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["printed"], "no draft is left"


def test_a_state_that_is_not_made_yet_is_at_the_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(tmp_path / "later", wanted=True)
    (tmp_path / "later").mkdir()
    assert all_of(lines, Results(row(1))) == 1
    assert capsys.readouterr().out.endswith("success\n")


def test_where_they_are_not_wanted_they_stay_for_a_door_that_wants_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = Results(row(1), row(2), row(3))
    assert all_of(Lines(tmp_path, wanted=False), broker) == 0
    assert not broker.asked and capsys.readouterr().out == ""
    assert all_of(Lines(tmp_path, wanted=True), broker) == 3


def test_a_broker_that_is_away_is_asked_again(wanted: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    broker = Results(row(1), row(2), row(3))
    assert pass_on(wanted, broker) == 2
    broker.error = BrokerUnreachable("it is being started again")
    assert pass_on(wanted, broker) == 0
    broker.error = None
    assert pass_on(wanted, broker) == 1
    assert capsys.readouterr().out.count("success") == 3


def test_another_trouble_of_the_broker_is_told(wanted: Lines) -> None:
    broker = Results()
    broker.error = StateError("the state is broken")
    with pytest.raises(StateError, match="the state is broken"):
        pass_on(wanted, broker)


class TestReaderLeaves:
    @pytest.fixture
    def left(self) -> Iterator[TextIO]:
        """A pipe that nobody reads."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            yield out

    def test_that_is_said_and_the_run_goes_on(
        self, wanted: Lines, left: TextIO, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging.getLogger("crawler"), "propagate", True)
        monkeypatch.setattr(sys, "stdout", left)
        broker = Results(row(1), row(2), row(3))
        assert pass_on(wanted, broker) == 0
        assert [record.getMessage() for record in caplog.records] == [
            "nobody reads the result lines any more; the run goes on without them"
        ]
        assert pass_on(wanted, broker) == 0
        assert broker.asked == [""], "nothing more is asked for"
        left.write("what is printed later")
        left.flush()

    def test_what_did_not_reach_it_is_printed_by_the_next(
        self, wanted: Lines, left: TextIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker = Results(row(1), row(2), row(3))
        monkeypatch.setattr(sys, "stdout", left)
        pass_on(wanted, broker)
        monkeypatch.setattr(sys, "stdout", out := io.StringIO())
        assert all_of(Lines(tmp_path, wanted=True), broker) == 3
        assert out.getvalue().count("success") == 3


class TestReaderTakesItsTime:
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[TextIO, TextIO]]:
        """Both ends of a pipe that holds 4 kB."""
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        with os.fdopen(reading) as reader, os.fdopen(writing, "w") as out:
            yield reader, out

    @pytest.mark.parametrize("message", ["short", "x" * 4000, "\u6f22" * 3000])
    def test_it_is_not_waited_for(
        self,
        wanted: Lines,
        tmp_path: Path,
        pipe: tuple[TextIO, TextIO],
        message: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        reader, out = pipe
        monkeypatch.setattr(sys, "stdout", out)
        broker = Results(*[row(number, "protocol", message) for number in range(1, 201)])
        expected = "".join(f"https://a.example/{n}.jpg--->protocol: {message}\n" for n in range(1, 201))
        text = ""
        while all_of(wanted, broker) or wanted.are_held_up:
            assert len(text) < len(expected)
            taken = os.read(reader.fileno(), 65536)
            assert len(taken) <= 4096
            text += taken.decode()
        out.close()
        assert text + reader.read() == expected
        assert (tmp_path / "printed").read_text() == "200"

    def test_what_it_has_not_taken_is_printed_by_the_next(
        self, wanted: Lines, tmp_path: Path, pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdout", pipe[1])
        broker = Results(*[row(number, "protocol", "x" * 3000) for number in range(1, 5)])
        assert all_of(wanted, broker) == 0 and wanted.are_held_up
        assert not (tmp_path / "printed").exists()
        monkeypatch.setattr(sys, "stdout", out := io.StringIO())
        assert all_of(Lines(tmp_path, wanted=True), broker) == 4
        assert out.getvalue().count("protocol") == 4


def test_what_the_output_cannot_spell_is_escaped(wanted: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(body := io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert pass_on(wanted, Results(row(1, "protocol", "\u6f22"))) == 1
    assert body.getvalue().startswith(b"https://a.example/1.jpg--->protocol: ")


def test_an_output_that_is_full_is_an_error_of_ours(wanted: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(CrawlerError, match="No space left"):
        pass_on(wanted, Results(row(1)))


def test_a_state_that_is_full_is_an_error_of_ours(
    wanted: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".printed").symlink_to("/dev/full")
    with pytest.raises(StateError, match="No space left on device; the next start prints the last result lines again"):
        pass_on(wanted, Results(row(1)))
    assert capsys.readouterr().out and not (tmp_path / "printed").exists()


def test_an_output_that_is_closed_is_one_that_nobody_reads(wanted: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert pass_on(wanted, Results(row(1))) == 0


@pytest.mark.parametrize("content", [b"\xff\xfe", bytes(16), b"12 or so"])
def test_what_no_one_wrote_as_the_place_is_the_beginning(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "printed").write_bytes(content)
    assert all_of(Lines(tmp_path, wanted=True), Results(row(1), row(2), row(3))) == 3
    assert capsys.readouterr().out.count("success") == 3
