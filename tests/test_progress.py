from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from crawler import bar as bar_module
from crawler.account import Counts, SiteCounts
from crawler.bar import Bar
from crawler.model import State
from crawler.progress import Ended, attention, duration, size, summary, why_none
from crawler.shown import shown

OUTPUT = Path("/data/downloads/example.com")


def counts(**more: Any) -> Counts:
    values: dict[str, Any] = {"run": 3, "state": State.FINISHED, "began": 0.0, "ended": 1.0, **more}
    return Counts(**values)


def told(run: Counts, how: str = "finished") -> str:
    return summary("j", run, OUTPUT, Ended(how, attention(run)), 1)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1536, "1.5 kB"),
        (2_000_000, "2.0 MB"),
        (3.25e9, "3.2 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_size(number: float, expected: str) -> None:
    assert size(number) == expected


@pytest.mark.parametrize("number", [999.6, 999_999, 999_999_999])
def test_size_does_not_round_up_to_a_thousand(number: float) -> None:
    assert not size(number).startswith("1000")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (0.26, "0.3 s"),
        (59.4, "59.4 s"),
        (60, "1 min 0 s"),
        (61.4, "1 min 1 s"),
        (3599.6, "1 h 0 min"),
        (3 * 3600 + 25 * 60, "3 h 25 min"),
        (100 * 3600, "100 h 0 min"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x00\x07\x7f\x9b", "\\x00\\x07\\x7f\\x9b"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_the_web_sends_cannot_steer_a_terminal(text: str, expected: str) -> None:
    assert shown(text) == expected


class TestAttention:
    def test_a_site_whose_first_page_failed(self) -> None:
        site = SiteCounts(url="https://a.example/", first_outcome="dns", first_message="no such host")
        assert attention(counts(sites=[site])) == ["https://a.example/: its first page failed: dns: no such host"]

    def test_a_site_of_which_nothing_could_be_saved(self) -> None:
        site = SiteCounts(url="https://a.example/", first_outcome="success", outcomes={"http_403": 1200, "timeout": 3})
        assert attention(counts(sites=[site])) == [
            "https://a.example/: none of its 1,203 images could be saved: 1,200 http_403, 3 timeout"
        ]

    @pytest.mark.parametrize(
        "site",
        [
            SiteCounts(url="u", first_outcome="success", outcomes={"success": 1, "http_404": 9}),
            SiteCounts(url="u", first_outcome="script_only"),
            SiteCounts(url="u", outcomes={"reported": 1}),
            SiteCounts(url="u"),
        ],
    )
    def test_others_need_none(self, site: SiteCounts) -> None:
        assert attention(counts(sites=[site])) == []


class TestWhyNone:
    def test_pages_without_images(self) -> None:
        assert why_none(counts(pages={"success": 12})).startswith("no image was found: ")
        assert "the 12 pages that were read name none" in why_none(counts(pages={"success": 12}))

    def test_scripts(self) -> None:
        assert "1 page names no images but runs scripts" in why_none(counts(pages={"script_only": 1}))
        assert "2 pages name no images but run scripts" in why_none(counts(pages={"script_only": 2}))

    def test_robots(self) -> None:
        assert "robots.txt forbids 7 pages" in why_none(counts(pages={"robots_denied": 7}))

    def test_scope_and_failures(self) -> None:
        text = why_none(counts(pages={"http_500": 2, "dns": 1}, left_out={"scope": 1500}))
        assert "1,500 links lead out of the scope" in text
        assert "pages failed: 2 http_500, 1 dns" in text


class TestSummary:
    def test_a_good_run(self) -> None:
        run = counts(pages={"success": 1200, "http_404": 2}, images={"http_404": 3, "success": 15000}, bytes=2_500_000)
        text = summary("example.com", run, OUTPUT, Ended("finished", []), 125)
        assert text.splitlines() == [
            "example.com: run 3 finished in 2 min 5 s",
            "  pages   1,200 read, 2 http_404",
            "  images  15,000 success, 3 http_404; 2.5 MB",
            "  files   /data/downloads/example.com",
            "  ledger  /data/downloads/example.com/metadata.jsonl, failures.jsonl",
        ]

    def test_what_needs_a_person_comes_first(self) -> None:
        sites = [SiteCounts(url=f"https://{n}.example/", first_outcome="dns") for n in range(20)]
        lines = told(counts(sites=sites, images={"success": 1})).splitlines()
        assert lines[0] == "! https://0.example/: its first page failed: dns"
        assert len([line for line in lines if line.startswith("! https")]) == 8
        assert lines[8] == "! and 12 more sites: python -m crawler.status j"

    def test_what_is_other_than_before(self) -> None:
        text = summary("j", counts(images={"success": 1}), OUTPUT, Ended("finished", [], "1 new, 2 gone"), 1)
        assert "\n  changes 1 new, 2 gone\n" in text

    def test_the_report_is_named_where_it_is_written(self) -> None:
        text = summary("j", counts(images={"success": 1}), OUTPUT, Ended("finished", [], is_reported=True), 1)
        assert text.splitlines()[-1] == "  report  /data/downloads/example.com/report.html"
        assert "report" not in told(counts(images={"success": 1}))

    def test_it_is_short_whatever_happened(self) -> None:
        sites = [SiteCounts(url=f"https://{n}.example/", first_outcome="dns") for n in range(20)]
        run = counts(sites=sites, left_out={"scope": 1}, waiting_images=1)
        text = summary("j", run, OUTPUT, Ended("finished", attention(run), "1 new", is_reported=True), 1)
        assert len(text.splitlines()) <= 20

    def test_pages_behind_a_wall(self) -> None:
        lines = told(counts(images={"success": 1}, pages={"login_required": 3})).splitlines()
        assert lines[0] == "! 3 pages lead to where people sign in (see --cookies)"

    def test_no_image_says_why(self) -> None:
        lines = told(counts(pages={"success": 1})).splitlines()
        assert lines[0].startswith("! no image was found: ")
        assert "  images  none; 0 B" in lines

    def test_a_night_without_news_is_no_trouble(self) -> None:
        text = told(counts(pages={"success": 1}, already_there=4000))
        assert "!" not in text
        assert "images  none, 4,000 were there already" in text

    def test_what_waits_and_what_was_left_out(self) -> None:
        run = counts(images={"success": 1}, waiting_images=1200, waiting_pages=3, left_out={"scope": 5})
        text = told(run, "stopped")
        assert "  waiting 1,200 images, 3 pages; the same command goes on" in text
        assert "  left out  5 scope" in text

    def test_control_characters_are_escaped_but_lines_are_lines(self) -> None:
        site = SiteCounts(url="https://a.example/", first_outcome="dns", first_message="\x1b[2J\n! fake")
        lines = told(counts(sites=[site], images={"success": 1})).splitlines()
        assert lines[0].endswith("dns: \\x1b[2J\\n! fake")
        assert lines[1].startswith("j: run 3")


def test_the_bar_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    clock = iter([0.0, 1.0, 200.0])
    monkeypatch.setattr(bar_module.time, "monotonic", lambda: next(clock))
    bar = Bar()
    for done in (1000, 120_000):
        images = {"success": done, "http_404": 34}
        bar.update(counts(images=images, waiting_images=99_999, pages={"success": 812}, bytes=done * 30_000))
    bar.close()
    drawn = [text for text in screen.getvalue().replace("\n", "\r").split("\r") if "saved" in text]
    assert [len(text) <= 80 for text in drawn] == [True, True], drawn
    assert drawn[-1].endswith("812 pages, 220k found, 120k saved, 34 failed, 02:48 left, 595/s, 17.9 MB/s")
