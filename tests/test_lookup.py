from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler import lookup
from crawler.brokers.local import job_lock
from crawler.building import local_key
from crawler.errors import UsageError
from crawler.jobs import report
from crawler.model import Words
from crawler.parsing import parse
from crawler.settings import StatusSettings
from states import Image, Made, made, running, sha256, some_images

CONTENT = sha256("sunset")
NAME = f"a.test/sunset-{CONTENT[:12]}.png"
WORDS = Words(alt="A sunset", title="Sun", caption="over the sea")
SUNSET = Image(
    "http://a.test/sunset.png", "sunset", words=(WORDS,), more={"file": NAME, "final_url": "http://c.test/s"}
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CRAWLER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def told(state: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Return the exit code and the lines of a status with these words."""

    def tell(*words: str) -> tuple[int, list[str]]:
        settings = parse(StatusSettings, "status", "About.", ["--state", str(state), *words])
        assert settings is not None
        code = report(settings)
        return code, capsys.readouterr().out.splitlines()

    return tell


def values(lines: list[str], name: str) -> list[str]:
    """Return what the lines that begin with `name` say."""
    return [line[10:] for line in lines if line[:10].rstrip() == name]


class TestAnImage:
    @pytest.mark.parametrize(
        "word",
        [
            SUNSET.url, "HTTP://A.TEST:80/x/../sunset.png#part", "http://c.test/s", CONTENT, CONTENT.upper(),
            CONTENT[:8], CONTENT[:30], NAME, Path(NAME).name, f"/mnt/x/j/{NAME}", f"renamed-{CONTENT[:12]}.webp",
        ],
    )  # fmt: skip
    def test_is_told_of_by_any_of_its_names(
        self, state: Path, told: Callable[..., tuple[int, list[str]]], word: str
    ) -> None:
        made(state, "j", [*some_images(5), SUNSET], output=str(state / "out"))
        code, lines = told(word)
        assert code == 0
        assert lines == [
            "image     http://a.test/sunset.png",
            "job       j",
            "outcome   success",
            "told      run 1, 2023-11-14 22:13:20 UTC, by w",
            "final URL http://c.test/s",
            "is        png, 4 x 3, 6 B",
            f"sha256    {CONTENT}",
            f"file      {state}/out/j/{NAME} (not on this machine)",
            "page      http://site.test/",
            "  alt     A sunset",
            "  title   Sun",
            "  caption over the sea",
        ]

    def test_is_found_by_a_copy_of_its_file(
        self, state: Path, tmp_path: Path, told: Callable[..., tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookup, "_READ_AT_ONCE", 4)
        made(state, "j", [*some_images(5), SUNSET], output=str(tmp_path / "out"))
        (tmp_path / "copy").write_text("sunset")
        stored = tmp_path / "out" / "j" / NAME
        stored.parent.mkdir(parents=True)
        stored.write_text("sunset")
        for word in ("copy", str(stored)):
            code, lines = told(word)
            assert code == 0 and values(lines, "image") == [SUNSET.url]
            assert values(lines, "file") == [str(stored)]

    def test_whose_file_was_changed_is_found_by_its_name(
        self, state: Path, tmp_path: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        made(state, "j", [SUNSET], output=str(tmp_path / "out"))
        stored = tmp_path / "out" / "j" / NAME
        stored.parent.mkdir(parents=True)
        stored.write_text("painted over")
        code, lines = told(str(stored))
        assert code == 0 and values(lines, "!") == [f"the file here has other bytes: {sha256('painted over')}"]

    def test_that_failed_says_why(self, state: Path, told: Callable[..., tuple[int, list[str]]]) -> None:
        made(state, "j", [Image("http://a.test/0.png", "", "timeout", "no answer in 60 s")])
        code, lines = told("http://a.test/0.png")
        assert code == 0 and values(lines, "outcome") == ["timeout: no answer in 60 s"]
        assert not values(lines, "file") and not values(lines, "sha256") and values(lines, "page")

    def test_that_another_took_the_place_of_is_found_as_the_previous(
        self, state: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        before = f"a.test/sunset-{sha256('dusk')[:12]}.png"
        made(state, "j", [SUNSET._replace(more={**SUNSET.more, "previous": before})], output="s3://bucket/prefix")
        for word in (sha256("dusk"), sha256("dusk")[:9], Path(before).name):
            code, lines = told(word)
            assert code == 0 and values(lines, "previous") == [f"s3://bucket/prefix/j/{before}"]
            assert values(lines, "file") == [f"s3://bucket/prefix/j/{NAME}"]
            assert values(lines, "!") == ["what you named is the previous file"]

    def test_that_is_gone_says_so(self, state: Path, told: Callable[..., tuple[int, list[str]]]) -> None:
        job = Made(state, "j", output=str(state))
        job.add([SUNSET])
        job.next_run()
        job.add([SUNSET._replace(outcome="http_404", content="")])
        job.next_run()
        job.close()
        code, lines = told(SUNSET.url)
        assert code == 0 and values(lines, "outcome") == ["http_404"] and values(lines, "sha256") == [CONTENT]
        assert values(lines, "gone") == ["since run 2: it is missing, or no page names it any more"]

    def test_steers_no_terminal(self, state: Path, told: Callable[..., tuple[int, list[str]]]) -> None:
        hostile = "a\x1b[2J\r\nfile      /etc/passwd\x85\u202e\u2028" + "x" * 1000
        made(
            state,
            "j",
            [SUNSET._replace(words=(Words(alt=hostile, caption=hostile),), outcome="success", message=hostile)],
        )
        code, lines = told(SUNSET.url)
        assert code == 0 and all(line.isprintable() for line in lines)
        assert len(values(lines, "file")) == 1 and all(len(line) < 1500 for line in lines)
        assert values(lines, "  alt")[0].startswith("a\\x1b[2J\\r\\nfile") and values(lines, "  alt")[0].endswith("x…")

    def test_with_many_mentions_says_how_many_more(
        self, state: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        made(state, "j", [SUNSET._replace(words=tuple(Words(alt=f"{n:03}") for n in range(50)))])
        _, lines = told(SUNSET.url)
        assert len(values(lines, "page")) == 20 and lines[-1].strip() == "and 30 more mentions"


class TestTheSameBytes:
    def test_are_told_of_in_all_jobs(self, state: Path, told: Callable[..., tuple[int, list[str]]]) -> None:
        made(state, "day", [Image("http://b.test/0.png", "sunset"), *some_images(5)])
        made(state, "night", [Image("http://a.test/before.png", "sunset"), SUNSET])
        expected = [
            "2 others with these bytes (their first digits, job, URL):",
            f"  {CONTENT[:12]}  day    http://b.test/0.png",
            f"  {CONTENT[:12]}  night  http://a.test/before.png",
        ]
        assert told(SUNSET.url)[1][-3:] == expected
        code, lines = told(CONTENT)
        assert code == 0 and values(lines, "job") == ["day", "night"]
        assert lines[-2:] == [
            "1 other with these bytes (their first digits, job, URL):",
            f"  {CONTENT[:12]}  night  http://a.test/sunset.png",
        ]
        lines = told(NAME)[1]
        assert values(lines, "image") == ["http://b.test/0.png", SUNSET.url], "the one that has the name, where one has"
        assert lines[-1] == f"  {CONTENT[:12]}  night  http://a.test/before.png"

    def test_are_looked_for_in_one_job_where_it_is_named(
        self, state: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        made(state, "day", [Image("http://b.test/0.png", "sunset"), SUNSET])
        made(state, "night", [SUNSET])
        for word in (SUNSET.url, CONTENT):
            code, lines = told(word, "--job", "night")
            assert code == 0 and values(lines, "job") == ["night"] and "others" not in "".join(lines)

    @pytest.mark.parametrize("word", ["http://a.test/7.png", CONTENT, CONTENT[:8]])
    def test_are_bounded(self, state: Path, told: Callable[..., tuple[int, list[str]]], word: str) -> None:
        made(state, "j", [Image(f"http://a.test/{n}.png", "sunset") for n in range(50)])
        _, lines = told(word)
        at = next(n for n, line in enumerate(lines) if "others with these bytes" in line)
        assert lines[at].startswith("49 others ") and len(lines) - at == 22 and lines[-1] == "  and 29 more"


class TestNothing:
    @pytest.mark.parametrize("word", ["http://a.test/none.png", "f" * 64, "00000000", f"x-{'0' * 12}.png"])
    def test_is_a_message_and_an_exit_code(self, state: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
        made(state, "j", [*some_images(5), SUNSET])
        assert report(StatusSettings(state=state, image=word)) == 1
        out, errors = capsys.readouterr()
        assert (out, errors) == ("", f"crawler: {word} is not in the ledger of any job in {state}\n")
        report(StatusSettings(state=state, image=word, job="j"))
        assert capsys.readouterr().err == f"crawler: {word} is not in the ledger of job j\n"

    def test_is_what_a_job_has_that_is_not_there(self, state: Path) -> None:
        made(state, "j", [])
        with pytest.raises(UsageError, match="no job 'x' in "):
            report(StatusSettings(state=state, image=SUNSET.url, job="x"))

    def test_is_what_this_names(self, state: Path) -> None:
        made(state, "j", [])
        with pytest.raises(UsageError, match="'nonsense' is no URL, no sha256"):
            report(StatusSettings(state=state, image="nonsense", job="j"))

    def test_of_a_url_that_only_looks_so_in_a_row(
        self, state: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        made(state, "j", [SUNSET._replace(more={**SUNSET.more, "final_url": "http://c.test/s/more"})])
        assert told("http://c.test/s") == (1, [])


class TestJobs:
    def test_a_job_may_be_called_as_images_are(
        self, state: Path, tmp_path: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        (tmp_path / "night").write_text("a file")
        for name in ("deadbeef", "night"):
            made(state, name, [])
            code, lines = told(name)
            assert code == 0 and lines[0].startswith(f"{name}: stopped; ")

    def test_one_that_runs_is_asked(self, state: Path, told: Callable[..., tuple[int, list[str]]]) -> None:
        directory = made(state, "j", [*some_images(5), SUNSET], output=str(state))
        with running(directory, local_key(None, state)):
            code, lines = told(SUNSET.url)
        assert code == 0 and values(lines, "sha256") == [CONTENT]

    def test_one_that_is_about_to_begin_is_read(self, state: Path, told: Callable[..., tuple[int, list[str]]]) -> None:
        directory = made(state, "j", [SUNSET])
        with job_lock(directory):
            assert told(SUNSET.url)[0] == 0

    def test_one_that_cannot_be_read_hides_no_other(
        self, state: Path, told: Callable[..., tuple[int, list[str]]]
    ) -> None:
        made(state, "night", [SUNSET])
        (state / "broken").mkdir()
        (state / "broken" / "queue.sqlite").write_bytes(b"this is no database" * 100)
        for word in (SUNSET.url, CONTENT):
            code, lines = told(word)
            assert code == 2 and lines[0].startswith("broken: cannot be read: the state ")
            assert values(lines, "job") == ["night"]
