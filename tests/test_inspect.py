from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler.door import enter
from crawler.inspect import ABOUT, run
from crawler.settings import InspectSettings
from servers.faulty import FaultySite

PAGE = """<!doctype html><html lang="en"><meta charset="iso-8859-15"><title>Bears</title>
<link rel="icon" href="/favicon.ico"><link rel="canonical" href="https://a.example/bears">
<img src="small.jpg" srcset="large.jpg 2x" alt="A bear"><a href="/private/den.html">den</a>
<a href="https://b.example/">out</a><a href="next.html" rel="nofollow">next</a>"""


def inspect(*arguments: str) -> int:
    return enter(InspectSettings, "python -m crawler.inspect", ABOUT, run, arguments)


def entries(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        entry = json.loads(line)
        found.setdefault(entry["kind"], []).append(entry)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_bytes(PAGE.encode("iso-8859-15"))
    return path


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.redirect("/", "/bears/")
        made.add("/bears/", PAGE, "text/html; charset=utf-8")
        made.add("/robots.txt", "User-agent: *\nDisallow: /private/\n", "text/plain")
        yield made


def test_a_file_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect("--json", "--base", "https://a.example/bears/", str(file)) == 0
    found = entries(capsys)
    (document,) = found["document"]
    assert (document["encoding"], document["encoding_found_in"]) == ("iso8859-15", "meta")
    assert (document["title"], document["language"], document["allowed"]) == ("Bears", "en", None)
    assert document["canonical"] == "https://a.example/bears"
    icon, bear = found["image"]
    assert (icon["candidates"], icon["left_out"]) == (["https://a.example/favicon.ico"], "icon")
    assert bear["candidates"] == ["https://a.example/bears/large.jpg", "https://a.example/bears/small.jpg"]
    assert (bear["found_in"], bear["alt"], bear["left_out"]) == ("img@srcset", "A bear", None)
    assert [(page["url"], page["in_scope"], page["left_out"]) for page in found["page"]] == [
        ("https://a.example/private/den.html", True, None),
        ("https://b.example/", False, "scope"),
        ("https://a.example/bears/next.html", True, None),
    ]


def test_a_page_of_the_web_with_robots(site: FaultySite, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect("--json", "--allow-net", "127.0.0.0/8", site.url) == 0
    found = entries(capsys)
    (document,) = found["document"]
    assert (document["url"], document["allowed"]) == (site.url + "/bears/", True)
    assert (document["encoding"], document["encoding_found_in"]) == ("utf-8", "header")
    assert [(page["url"].removeprefix(site.url), page["allowed"]) for page in found["page"]] == [
        ("/private/den.html", False),
        ("https://b.example/", None),
        ("/bears/next.html", True),
    ]


def test_for_a_person(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect("--base", "https://a.example/bears/", str(file)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "https://a.example/bears/",
        "  encoding: iso8859-15, found in: meta",
        "  title: Bears",
        "  language: en",
        "  canonical: https://a.example/bears",
        "  image  https://a.example/favicon.ico   (link@href)   [left out: icon]",
        "  image  https://a.example/bears/large.jpg   (img@srcset)",
        "         or https://a.example/bears/small.jpg",
        "         alt: A bear",
        "  page   https://a.example/private/den.html",
        "  page   https://b.example/   [left out: scope]",
        "  page   https://a.example/bears/next.html   [left out: rel=nofollow]",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a page"),
        (["no-such-file"], 2, "is no file that is there, and no URL"),
        (["http://127.0.0.1:9/"], 1, "private_address"),
        (["--allow-net", "127.0.0.0/8", "http://127.0.0.1:9/"], 1, "connect"),
    ],
)
def test_what_cannot_be_read_has_its_message(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(*arguments) == code
    assert message in capsys.readouterr().err


def test_a_base_that_is_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect("--base", "nonsense", str(file)) == 2
    assert "--base 'nonsense'" in capsys.readouterr().err


def test_one_that_fails_keeps_no_other_back(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect("--json", "http://127.0.0.1:9/", str(file)) == 1
    assert len(entries(capsys)["image"]) == 2


def test_it_signs_in_where_told_and_tells_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultySite() as site:
        site.add("/page", "<p>hello", "text/html")
        where = site.url.replace("http://", "http://ann:s3cret@")
        code = run(InspectSettings(targets=(f"{where}/page", f"{where}/gone"), allow_net=("127.0.0.0/8",)))
        said = capsys.readouterr()
        assert code == 1 and f"{site.url}/page" in said.out and "http_404" in said.err
        assert "s3cret" not in said.out + said.err
        assert site.headers("/page")[0]["authorization"] == "Basic YW5uOnMzY3JldA=="
