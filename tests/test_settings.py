from __future__ import annotations

import os
from pathlib import Path

import pytest

from crawler.errors import UsageError
from crawler.parsing import parse
from crawler.settings import CollectSettings, CrawlSettings, DownloadSettings, ForgetSettings, StatusSettings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CRAWLER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def crawl(*arguments: str) -> CrawlSettings:
    settings = parse(CrawlSettings, "crawler", "About.", arguments)
    assert settings is not None
    return settings


def collect(*arguments: str) -> CollectSettings:
    settings = parse(CollectSettings, "collect", "About.", arguments)
    assert settings is not None
    return settings


def test_defaults() -> None:
    settings = crawl("example.com")
    assert settings.sites == ("example.com",)
    assert (settings.depth, settings.scope, settings.delay, settings.output) == (0, "host", 0.0, "downloads")
    assert settings == crawl("example.com")


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError, match="depth is set when"):
        crawl("example.com").depth = 3


def test_flags() -> None:
    settings = crawl(
        *"a.example b.example --depth 2 --delay 1.5 --scope domain --output out --include /a/ --include /b/".split(),
        *"--allow-net 10.0.0.0/8 --ignore-robots --processes=3 --formats jpeg --formats png".split(),
    )
    assert settings.sites == ("a.example", "b.example")
    assert (settings.depth, settings.delay, settings.scope, settings.output) == (2, 1.5, "domain", "out")
    assert settings.include == ("/a/", "/b/")
    assert settings.allow_net == ("10.0.0.0/8",)
    assert settings.ignore_robots and settings.processes == 3
    assert settings.formats == ("jpeg", "png")


def test_sites_of_the_collector_are_flags() -> None:
    settings = collect("--site", "a.example", "--site", "b.example", "--listen", "0.0.0.0:8001")
    assert settings.sites == ("a.example", "b.example")
    assert settings.listen == "0.0.0.0:8001"


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90.0), ("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0), ("2 D", 172800.0)]
)
def test_times(text: str, expected: float) -> None:
    assert crawl("a.example", "--max-time", text).max_time == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("100", 100.0), ("10k", 10240.0), ("1.5M", 1.5 * 2**20), ("10GB", 10 * 2**30)]
)
def test_sizes(text: str, expected: float) -> None:
    assert crawl("a.example", "--max-bytes", text).max_bytes == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--depth", "deep"],
        ["--scope", "galaxy"],
        ["--max-time", "soon"],
        ["--max-time", "-5"],
        ["--max-bytes", "10X"],
        ["--unknown"],
        ["--depth"],
        ["--no-ignore-robots"],
    ],
)
def test_wrong_flags_name_themselves_and_the_help(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="--help") as caught:
        crawl("a.example", *arguments)
    assert arguments[0].lstrip("-").partition("-")[2] in str(caught.value) or arguments[0] in str(caught.value)


def test_a_flag_that_nobody_knows_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError, match=r"unknown flag --dept \(did you mean --depth\?\)"):
        crawl("a.example", "--dept=3")


def test_words_stand_between_flags_and_behind_a_double_dash() -> None:
    assert crawl("a.example", "--depth", "2", "b.example", "--", "-c.example").sites == (
        "a.example",
        "b.example",
        "-c.example",
    )


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("No", False), ("0", False)])
def test_truths_in_the_environment(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLER_QUIET", value)
    assert crawl("a.example").quiet is expected
    monkeypatch.setenv("CRAWLER_QUIET", "perhaps")
    with pytest.raises(UsageError, match="CRAWLER_QUIET: 'perhaps' is neither true nor false"):
        crawl("a.example")


def test_words_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'b\.example' is not understood"):
        collect("--site", "a.example", "b.example")


class TestEnvironment:
    def test_is_below_the_flags(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CRAWLER_DEPTH", "5")
        assert crawl("a.example").depth == 5
        assert crawl("a.example", "--depth", "2").depth == 2

    def test_headers_in_the_environment_stand_one_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CRAWLER_HEADER", "X-Key: a b\nX-Other: c")
        settings = parse(CrawlSettings, "crawler", "about", ["example.com"])
        assert settings is not None and settings.header == ("X-Key: a b", "X-Other: c")

    def test_an_unknown_variable_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CRAWLER_DEPHT", "5")
        with pytest.raises(UsageError, match="CRAWLER_DEPHT"):
            crawl("a.example")

    def test_variables_of_another_door_and_the_key_are_none_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CRAWLER_SERVER", "machine-a")
        monkeypatch.setenv("CRAWLER_KEY", "secret")
        assert crawl("a.example").depth == 0

    def test_a_wrong_value_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CRAWLER_DEPTH", "deep")
        with pytest.raises(UsageError):
            crawl("a.example")


class TestFile:
    def test_is_below_environment_and_flags(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "c.toml").write_text('depth = 7\ndelay = "2s"\nsites = ["a.example", "b.example"]\nmax-pages = 9\n')
        settings = crawl("--config", "c.toml")
        assert (settings.depth, settings.delay, settings.max_pages) == (7, 2.0, 9)
        assert settings.sites == ("a.example", "b.example")
        assert crawl("--config=c.toml", "--depth", "1").depth == 1
        monkeypatch.setenv("CRAWLER_DEPTH", "5")
        assert crawl("--config", "c.toml").depth == 5
        monkeypatch.setenv("CRAWLER_CONFIG", "c.toml")
        assert crawl("x.example").max_pages == 9

    def test_words_and_file_are_added(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text('sites = ["a.example"]\n')
        assert crawl("--config", "c.toml", "b.example").sites == ("b.example", "a.example")

    def test_keys_of_another_door_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text('server = "machine-a"\ndepth = 2\nkeep_local = true\n')
        assert crawl("--config", "c.toml", "a.example").depth == 2

    def test_an_unknown_key_is_an_error_that_names_it_and_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text("depht = 2\n")
        with pytest.raises(UsageError, match=r"c\.toml: unknown key 'depht'"):
            crawl("--config", "c.toml", "a.example")

    @pytest.mark.parametrize(
        "content", ['depth = "deep"', "depth = [1]", "depth = true", "depth = 2.0", "quiet = 3.5", 'scope = "galaxy"']
    )
    def test_a_wrong_value_is_an_error(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "c.toml").write_text(content)
        with pytest.raises(UsageError):
            crawl("--config", "c.toml", "a.example")

    def test_what_is_no_toml_or_not_there_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text("depth: 2\n")
        with pytest.raises(UsageError, match="is no TOML"):
            crawl("--config", "c.toml", "a.example")
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            crawl("--config", "missing.toml", "a.example")

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"job = '\xe4'\n"])
    def test_bytes_that_are_no_utf8_are_an_error(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "c.toml").write_bytes(content)
        with pytest.raises(UsageError, match="is no TOML"):
            crawl("--config", "c.toml", "a.example")

    def test_a_directory_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be read"):
            crawl("--config", str(tmp_path), "a.example")


class TestOtherDoors:
    def test_download(self) -> None:
        settings = parse(DownloadSettings, "download", "About.", ["--server", "machine-a", "--wait", "5m"])
        assert settings is not None
        assert (settings.server, settings.wait, settings.output, settings.forever) == ("machine-a", 300.0, "", False)

    def test_download_needs_a_server(self) -> None:
        with pytest.raises(UsageError, match="--server"):
            parse(DownloadSettings, "download", "About.", [])

    def test_status(self) -> None:
        one = parse(StatusSettings, "status", "About.", ["night"])
        none = parse(StatusSettings, "status", "About.", [])
        assert one is not None and none is not None
        assert (one.job, none.job) == ("night", "")
        with pytest.raises(UsageError):
            parse(StatusSettings, "status", "About.", ["one", "two"])


@pytest.mark.parametrize("flag", ["--help", "-h", "--help-all", "--version"])
def test_help_and_version_are_shown_and_nothing_is_run(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(CrawlSettings, "crawler", "About.", [flag]) is None
    said = capsys.readouterr().out
    assert "crawler" in said
    if flag != "--version":
        assert "--depth" in said and "--output" in said
        assert ("--lease TIME" in said and "[15s]" in said and "[50M]" in said) is (flag == "--help-all")


def test_state_is_where_the_system_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert crawl("a.example").state_directory == tmp_path / "crawler"
    assert crawl("a.example", "--state", "here").state_directory == tmp_path / "here"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert crawl("a.example").state_directory == tmp_path / "home" / ".local" / "state" / "crawler"


def test_what_is_to_be_forgotten_is_told_by_flags_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector's configuration names the sites that it reads."""
    (tmp_path / "crawler.toml").write_text('site = ["https://a.example/"]\n')
    monkeypatch.setenv("CRAWLER_SITE", "https://a.example/")
    settings = parse(ForgetSettings, "python -m crawler.forget", "", ["--config", str(tmp_path / "crawler.toml")])
    assert settings is not None and not settings.site and not settings.yes
