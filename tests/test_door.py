from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.door import enter
from crawler.errors import AlreadyRunning, BrokerUnreachable, CrawlerError, StateError, StoreError, UsageError, WrongKey
from crawler.settings import CrawlSettings, DownloadSettings, StatusSettings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CRAWLER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class Work:
    """What a door does: remembers its settings, and ends as the test says."""

    def __init__(self, code: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.code = code
        self.act = act
        self.settings: list[CrawlSettings] = []

    def __call__(self, settings: CrawlSettings) -> int:
        self.settings.append(settings)
        self.act()
        return self.code


def crawl(work: Work, *arguments: str) -> int:
    return enter(CrawlSettings, "python -m crawler", "About.", work, arguments)


def failing(error: BaseException) -> Work:
    def fail() -> None:
        raise error

    return Work(act=fail)


@pytest.mark.parametrize("code", [0, 1, 3, 143])
def test_the_work_gets_the_settings_and_says_the_exit_code(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(code)
    assert crawl(work, "a.example", "--depth", "2") == code
    assert [(settings.sites, settings.depth) for settings in work.settings] == [(("a.example",), 2)]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CrawlerError("it went wrong"), 1), (StoreError("it went wrong"), 1), (UsageError("it went wrong"), 2),
        (WrongKey("it went wrong"), 2), (StateError("it went wrong"), 2), (BrokerUnreachable("it went wrong"), 69),
        (AlreadyRunning("it went wrong"), 75),
    ],
)  # fmt: skip
def test_an_error_of_ours_is_a_message_and_an_exit_code(
    error: CrawlerError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crawl(failing(error), "a.example") == code
    assert capsys.readouterr() == ("", "crawler: it went wrong\n")


def test_an_interrupt_before_anyone_handles_it_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert crawl(failing(KeyboardInterrupt()), "a.example") == 130
    assert capsys.readouterr() == ("", "")


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        crawl(failing(ZeroDivisionError()), "a.example")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--depth", "deep"], "--depth"),
        (["--config", "missing.toml"], "missing.toml cannot be read"),
        (["a.example", "--log-file", "missing/log"], "the log file missing/log cannot be written"),
    ],
)
def test_wrong_settings_begin_nothing(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    assert crawl(work, *arguments) == 2
    out, errors = capsys.readouterr()
    assert errors.startswith("crawler: ") and said in errors and out == ""
    assert work.settings == []


@pytest.mark.parametrize("flag", ["--help", "--help-all", "--version"])
def test_help_is_shown_and_nothing_begun(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(7)
    assert crawl(work, flag) == 0
    assert work.settings == [] and "crawler" in capsys.readouterr().out


def test_each_door_has_its_settings() -> None:
    seen: list[object] = []

    def remember(settings: object) -> int:
        seen.append(settings)
        return 0

    enter(DownloadSettings, "python -m crawler.download", "About.", remember, ["--server", "machine-a"])
    enter(StatusSettings, "python -m crawler.status", "About.", remember, ["night"])
    assert seen == [DownloadSettings(server="machine-a"), StatusSettings(job="night")]


def test_the_log_is_set_up_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("crawler.test")
    work = Work(act=lambda: log.info("it works"))
    crawl(work, "a.example")
    assert "INFO it works" in capsys.readouterr().err
    crawl(work, "a.example", "--quiet")
    assert capsys.readouterr().err == ""
    crawl(work, "a.example", "--log-file", "log")
    assert capsys.readouterr().err == ""
    assert "INFO it works" in (tmp_path / "log").read_text()
