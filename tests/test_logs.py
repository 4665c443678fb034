from __future__ import annotations

import calendar
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import wait_for
from crawler import logs
from crawler.errors import UsageError

log = logging.getLogger("crawler.test")
#: Logs numbered lines until its standard input ends, then prints how many.
_WRITER = """
import itertools, logging, pathlib, select, sys
from crawler import logs
logs.set_up(pathlib.Path(sys.argv[1]), False)
for number in itertools.count(1):
    logging.getLogger("crawler.test").info("%s:%d;", sys.argv[2], number)
    if select.select([sys.stdin], [], [], 0.001)[0]:
        break
print(number)
"""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_the_time_is_utc_wherever_we_are(tmp_path: Path) -> None:
    file = tmp_path / "log"
    logs.set_up(file, quiet=False)
    log.info("a %s", "message")
    match = re.fullmatch(r"(\S+) INFO a message\n", file.read_text())
    assert match
    said = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(said - time.time()) < 10


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "log"
    logs.set_up(file, quiet=False)
    log.info("before")
    file.rename(tmp_path / "log.1")
    log.info("after")
    assert (tmp_path / "log.1").read_text().endswith("before\n")
    assert file.read_text().endswith("after\n") and "before" not in file.read_text()


def test_no_line_of_several_processes_is_lost_where_the_file_is_moved(tmp_path: Path) -> None:
    file, moved, rotated = tmp_path / "log", tmp_path / "log.1", ""
    writers = {
        name: subprocess.Popen([sys.executable, "-c", _WRITER, file, name], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in "abcd"
    }  # fmt: skip
    for _ in range(10):
        # Who has a line in the new file writes into the moved one no more, which may then be packed and removed.
        wait_for(lambda: file.exists() and all(f" {name}:" in file.read_text() for name in writers))
        if moved.exists():
            rotated += moved.read_text()
        file.rename(moved)
    counts = {name: int(writer.communicate("end")[0]) for name, writer in writers.items()}
    found = re.findall(r"^\S+ INFO (\w):(\d+);$", rotated + moved.read_text() + file.read_text(), re.MULTILINE)
    assert sorted(found) == sorted((name, str(n + 1)) for name, count in counts.items() for n in range(count))


def test_lines_that_the_file_does_not_take_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "logs" / "log"
    file.parent.mkdir()
    logs.set_up(file, quiet=False)
    file.parent.rename(tmp_path / "elsewhere")
    log.info("homeless")
    assert capsys.readouterr().err.endswith(f"INFO homeless (not in {file}: No such file or directory)\n")
    file.parent.mkdir()
    log.info("at home")
    assert file.read_text().endswith("INFO at home\n") and capsys.readouterr().err == ""


def test_a_full_disk_does_not_hide_what_is_said() -> None:
    program = "import logging, pathlib; from crawler import logs; logs.set_up(pathlib.Path('/dev/full'), False)"
    program += "; [logging.getLogger('crawler.test').warning('%d images wait', n) for n in (1, 2)]"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    lines = [line.partition(" ")[2] for line in said.stderr.splitlines()]
    assert said.returncode == 0
    assert lines == [f"WARNING {n} images wait (not in /dev/full: No space left on device)" for n in (1, 2)]


def test_a_file_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("earlier\n")
    logs.set_up(file, quiet=False)
    log.info("later")
    first, second = file.read_text().splitlines()
    assert first == "earlier" and second.endswith("later")


def test_quiet_is_errors_alone(tmp_path: Path) -> None:
    file = tmp_path / "log"
    logs.set_up(file, quiet=True)
    log.info("info")
    log.warning("warning")
    log.error("error")
    assert "info" not in file.read_text() and "error" in file.read_text()


def test_by_default_it_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(None, quiet=False)
    log.warning("there")
    said = capsys.readouterr()
    assert said.out == "" and said.err.endswith("WARNING there\n")


def test_setting_up_twice_says_things_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(None, quiet=False)
    logs.set_up(None, quiet=False)
    log.warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_other_libraries_stay_silent(tmp_path: Path) -> None:
    file = tmp_path / "log"
    logs.set_up(file, quiet=False)
    logging.getLogger("urllib3").warning("noise")
    assert file.read_text() == ""


def test_a_file_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        logs.set_up(tmp_path / "missing" / "log", quiet=False)


def test_what_others_say_forges_no_line_and_steers_no_terminal(tmp_path: Path) -> None:
    logs.set_up(tmp_path / "log", False)
    log.warning("a server says %s", "\x1b[2J\n2026-01-01T00:00:00Z INFO all is well")
    try:
        raise ValueError("x\n2026-01-01T00:00:00Z INFO all is well\x1b[2J\u202e")
    except ValueError:
        log.exception("ours")
    text = (tmp_path / "log").read_text()
    assert "says \\x1b[2J\\n2026-01-01" in text and "\x1b" not in text
    assert "ours\nTraceback" in text and "\n    File " in text, "our own traceback keeps its lines"
    assert "\n2026-01-01" not in text and "\u202e" not in text
