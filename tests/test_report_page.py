from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import lxml.etree
import lxml.html
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.errors import StoreError
from crawler.keeper import Keeper
from crawler.report import REPORT, Change, Kind, Named, Numbers, Record, Site, write_record
from crawler.report_page import MOST_RUNS, STYLE, report_page
from crawler.report_page.markup import file_href, link
from crawler.stores.directory import FileFolder
from crawler.stores.files import draft_of
from test_keeper import Bucket

#: What a report is made of; whatever else is there came in with somebody's words.
TAGS = set(
    "html head meta title style body main header footer section h1 h2 h3 p span code time a img dl dt dd div ul li "
    "figure figcaption details summary table caption thead tbody tr th td svg desc path g rect".split()
)
ATTRIBUTES = set(
    "lang charset http-equiv content name id class href rel src alt loading decoding download datetime scope role "
    "tabindex aria-label aria-labelledby aria-hidden viewbox width height preserveaspectratio d x y".split()
)
HOSTILE = [
    "http://a.test/<script>alert(1)</script>",
    "http://a.test/\"'onerror='alert(1)' x=\"",
    "javascript:alert(1)//http://a.test/",
    "http://a.test/&lt;&#x3c;&amp;",
    "http://a.test/\u202egnp.exe\x00\x1b[2J\n</style></title><img src=//evil.test/x>",
    "data:text/html,<script>alert(1)</script>",
    "//evil.test/x.png",
    "http://a.test/" + "long" * 5000,
    "\ud800\ufffe]]>--><!--",
]


def record(**more: Any) -> Record:
    values: dict[str, Any] = {
        "job": "j", "run": 7, "began": "2026-11-22T02:30:00Z", "ended": "2026-11-22T02:33:20Z", "seconds": 200.0,
        "images": {}, "outcomes": {"success": 1}, "pages": {"success": 1}, "left_out": {}, "already_there": 0,
        "bytes": 1_200_000, "attention": [], "sites": [], "named": {}, **more,
    }  # fmt: skip
    return Record(**values)


def run(number: int, **images: int) -> Numbers:
    return Numbers(
        job="j", run=number, began=f"2026-11-{number:02}T02:30:00Z", ended="", seconds=60.0, images=images,
        outcomes={}, pages={}, left_out={}, already_there=0, bytes=0,
    )  # fmt: skip


def of_words(*words: str) -> Record:
    """Return a record with these words wherever a stranger's can be."""
    named = [Named(w, w, w, w, w, w, w) for w in words]
    return record(
        job=words[0], attention=[*words, *(f"{w}: {w}" for w in words)],
        images=dict.fromkeys(vars(Change).values(), len(words)), outcomes=dict.fromkeys(words, 2),
        pages=dict.fromkeys(words, 2), left_out=dict.fromkeys(words, 2),
        sites=[Site(w, dict.fromkeys(words, 3), w) for w in words],
        named={change: named for name, change in vars(Change).items() if name.isupper()},
        failures={w: Kind(len(words), 1, named) for w in words},
    )  # fmt: skip


def parsed(page: str) -> Any:
    """Return a page as the strictest parser there is sees it, which takes no error; browsers see the same elements."""
    tree = lxml.etree.fromstring(page.encode())
    loose = lxml.html.document_fromstring(page.encode())
    assert [element.tag for element in loose.iter()] == [element.tag for element in tree.iter()]
    return tree


def is_harmless(tree: Any) -> bool:
    """Tell whether there is nothing but what reports are made of, and no link but to the web and into the folder."""
    for element in tree.iter():
        assert element.tag in TAGS, element.tag
        assert {name.lower() for name in element.attrib} <= ATTRIBUTES, element.attrib
        assert re.fullmatch(r"\./[^\s\\:]+", element.get("src", "./x")), element.attrib
        href = element.get("href", "#x")
        assert re.fullmatch(r"\./[^\s\\:]+|#\w+|https?://[!-~]+", href), element.attrib
        assert "/../" not in href or href.startswith("http")
        if href.startswith("http"):
            assert element.get("rel") == "noreferrer noopener"
    return True


def texts(tree: Any, path: str) -> list[str]:
    return ["".join(element.itertext()) for element in tree.findall(path)]


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_are_nothing_but_text(words: str) -> None:
    tree = parsed(report_page(of_words(words), []))
    assert is_harmless(tree)
    assert tree.find(".//style").text == STYLE and not tree.findall(".//script")


def test_what_is_shown_is_what_was_sent() -> None:
    tree = parsed(report_page(of_words("<b>&amp;\"'\x1b</b>"), []))
    assert texts(tree, ".//h1") == ["<b>&amp;\"'\\x1b</b>"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=3, unique=True))
def test_whatever_words_are_nothing_but_text(words: list[str]) -> None:
    earlier = Numbers(**{name: getattr(of_words(*words), name) for name in Numbers.__struct_fields__})
    earlier.began = earlier.ended = words[0]
    assert is_harmless(parsed(report_page(of_words(*words), [earlier])))


def test_it_lets_nothing_in_but_its_pictures_and_its_own_style() -> None:
    tree = parsed(report_page(record(), []))
    (policy,) = [m.get("content") for m in tree.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(tree.find(".//style").text.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["style-src"] == f"'sha256-{digest}'"
    assert "script-src" not in rules and "unsafe-inline" not in policy
    assert "url(" not in STYLE and "@import" not in STYLE


# The numbers


def test_its_numbers_are_those_of_the_record() -> None:
    images = {change: 1000 + n for n, (name, change) in enumerate(vars(Change).items()) if name.isupper()}
    tree = parsed(report_page(record(images=images), []))
    tiles = dict(zip(texts(tree, ".//dl[@class='tiles']//dt"), texts(tree, ".//dl[@class='tiles']//dd"), strict=True))
    assert tiles == {change.replace("_", " "): f"{number:,}" for change, number in images.items()} | {
        "bytes": "1.2 MB", "duration": "3 min 20 s",
    }  # fmt: skip


def test_the_last_runs_are_bars_and_rows() -> None:
    earlier = [run(1, new=20_000), run(2, unchanged=20_000), run(3, new=3, changed=4, failed=1, left_alone=9)]
    tree = parsed(report_page(record(images={"new": 5}), earlier))
    rows = [[*row.itertext()] for row in tree.findall(".//section[@id='runs']//tbody/tr")]
    assert [row[0] for row in rows] == ["7", "3", "2", "1"], "the last one first"
    assert [cell for row in rows for cell in row if cell.startswith("20,")] == ["20,000", "20,000"]
    bars = tree.findall(".//svg/g")
    drawn = [[part.get("class") for part in bar.iter("rect")][1:] for bar in bars]
    assert drawn == [["new"], [], ["new", "changed", "failed"], ["new"]]
    heights = [sum(float(part.get("height")) for part in bar.findall("rect")[1:]) for bar in bars]
    assert heights[0] > heights[2] > heights[3] > heights[1] == 0, "one that is cut off is the highest all the same"
    assert [bar.find("title").text for bar in bars][2] == "run 3, 2026-11-03: 3 new, 4 changed, 1 failed"
    (caption,) = texts(tree, ".//figure[@class='chart']/figcaption")
    assert "run 1 (20,000)" in caption
    svg = tree.find(".//svg")
    assert svg.get("aria-labelledby").split() == [svg.find("title").get("id"), svg.find("desc").get("id")]


@pytest.mark.parametrize("numbers", [[0], [1], [7], [3, 30, 300], [10**12, 1], [-5, 2]])
def test_no_bar_leaves_the_drawing(numbers: list[int]) -> None:
    earlier = [run(n + 1, **dict.fromkeys(["new", "gone", "failed"], number)) for n, number in enumerate(numbers)]
    earlier.append(run(28, new=10**6, changed=1, gone=1, works_again=1, failed=1, failed_again=1))
    for bar in parsed(report_page(record(), earlier)).iterfind(".//svg/g"):
        parts = [(float(part.get("y")), float(part.get("height"))) for part in bar.findall("rect")[1:]]
        assert all(y >= 0 and height > 0 and y + height <= 176.11 for y, height in parts)
        assert sum(height for _, height in parts) <= 176.5, "none lies on another"


def test_only_so_many_runs_are_drawn() -> None:
    tree = parsed(report_page(record(run=99), [run(n % 28 + 1, new=n) for n in range(50)]))
    assert len(tree.findall(".//svg/g")) == len(tree.findall(".//section[@id='runs']//tbody/tr")) == MOST_RUNS


def test_what_needs_a_person_comes_first() -> None:
    sites = [Site(f"http://{n}.test/", {"success": 1, "timeout": n}, "success") for n in range(300)]
    sites.append(Site("http://down.test/", {}, "dns"))
    line = "http://down.test/: its first page failed: dns: no such host"
    tree = parsed(report_page(record(attention=[line], sites=sites), []))
    assert tree.find(".//section").get("id") == "attention"
    assert texts(tree, ".//section[@id='attention']//li") == [
        "http://down.test/ its first page failed: dns: no such host"
    ]
    rows = tree.findall(".//section[@id='sites']//tbody/tr")
    assert len(rows) == 200 and rows[0].get("class") == "trouble" and "trouble" not in rows[1].attrib.values()
    assert [cell.strip() for cell in rows[1].itertext()][:3] == ["http://299.test/", "1", "299"]
    assert "and 101 more" in "".join(tree.itertext())


def test_a_quiet_night_and_one_without_any_image() -> None:
    quiet = "".join(parsed(report_page(record(images={"unchanged": 9}), [run(6)])).itertext())
    assert "Nothing needs you." in quiet and "Nothing is other than before." in quiet
    none = "".join(parsed(report_page(record(outcomes={}, pages={"script_only": 2}), [])).itertext())
    assert "no image was found: 2 pages name no images but run scripts" in none


# The pictures and lists


def test_what_is_new_is_shown_and_what_changed_beside_what_it_was() -> None:
    new = Named("https://a.test/ü %.png", "a.test/ü %-1.png", same_as="a.test/other-1.png")
    changed = Named("https://a.test/2", "a.test/now-2.jpeg", previous="a.test/before-1.jpeg")
    named = {"new": [new], "changed": [changed]}
    tree = parsed(report_page(record(images={"new": 1, "changed": 1}, named=named), []))
    sources = [image.get("src") for image in tree.iter("img")]
    assert sources == ["./a.test/%C3%BC%20%25-1.png", "./a.test/before-1.jpeg", "./a.test/now-2.jpeg"]
    assert {image.get("loading") for image in tree.iter("img")} == {"lazy"}
    assert [image.getparent().get("href") for image in tree.iter("img")] == sources
    assert "https://a.test/2" in texts(tree, ".//section[@id='changed']//figcaption/a")
    assert "./a.test/other-1.png" in [a.get("href") for a in tree.iter("a")]


@pytest.mark.parametrize(("name", "box", "saves"), [
    ("h/a.tiff", "tiff", False), ("h/a.heic", "heic", False), ("h/a.jxl", "jxl", False), ("h/a.svg", "", True),
    ("h/a.avif", "", False), ("", "no file here", False), ("../h/a.png", "no file here", False),
])  # fmt: skip
def test_what_browsers_do_not_show_is_named(name: str, box: str, saves: bool) -> None:
    tree = parsed(report_page(record(images={"new": 1}, named={"new": [Named("http://a.test/", name)]}), []))
    assert texts(tree, ".//span[@class='box']") == ([box] if box else [])
    assert [image.get("src") for image in tree.iter("img")] == ([] if box else [f"./{name}"])
    assert [a.get("href") for a in tree.iter("a") if a.get("download") is not None] == ([f"./{name}"] if saves else [])


@pytest.mark.parametrize(("name", "href"), [
    ("h/a b.png", "./h/a%20b.png"), ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
    ("h/%2e%2e/a", "./h/%252e%252e/a"), ("a?b#c", "./a%3Fb%23c"), ("h\\..\\a", "./h%5C..%5Ca"), ("/etc/passwd", ""),
    ("//evil.test/a", ""), ("h/../../a", ""), ("h/./a", ""), ("", ""), ("h/", ""), ("x" * 3000, ""),
])  # fmt: skip
def test_the_way_to_a_file_stays_in_the_folder(name: str, href: str) -> None:
    assert file_href(name) == href


@pytest.mark.parametrize(
    "url", ["ftp://a.test/", "javascript:alert(1)", "/x", "http://a test/", "http://ä.test/", " http://a/"]
)
def test_only_the_web_is_linked(url: str) -> None:
    assert "href" not in link(url) and 'href="https://a.test/?a=1&amp;b=2"' in link("https://a.test/?a=1&b=2")


def test_failures_are_told_by_kind() -> None:
    failed = [Named(f"http://a.test/{n}", outcome="timeout", message="slow", before="dns") for n in range(5)]
    kinds = {"http_404": Kind(2, 2, [Named("http://a.test/x")]), "timeout": Kind(1200, 0, failed)}
    tree = parsed(report_page(record(images={"failed": 2, "failed_again": 1200}, failures=kinds), []))
    assert texts(tree, ".//section[@id='failed']//h3") == ["timeout 1,200", "http_404 2"]
    listed = texts(tree, ".//section[@id='failed']//li")
    assert len(listed) == 6 and listed[0] == "http://a.test/0 again: slow"
    text = "".join(tree.itertext())
    assert "2 for the first time, 1,200 again" in text and "and 1,195 more" in text


def test_what_is_gone_and_what_works_again_is_listed() -> None:
    named = {
        "gone": [Named("http://a.test/1", "a.test/1.jpeg", outcome="http_404"), Named("http://a.test/2")],
        "works_again": [Named("http://a.test/3", "a.test/3.jpeg", before="http_500")],
    }
    tree = parsed(report_page(record(images={"gone": 2, "works_again": 1}, named=named), []))
    assert texts(tree, ".//section[@id='gone']//li") == [
        "http://a.test/1 http_404; its file", "http://a.test/2 no page names it any more",
    ]  # fmt: skip
    assert texts(tree, ".//section[@id='works_again']//li") == ["http://a.test/3 was http_500; its file"]


def test_it_stays_small_whatever_is_named() -> None:
    number, long = 100_000, "x" * 8000
    rows = [
        Named(f"http://a.test/{long}", f"a.test/{'y' * 200}.jpeg", f"a.test/{long}", long, long, long, long)
    ] * number
    changes = [change for name, change in vars(Change).items() if name.isupper()]
    full = record(
        job=long, attention=[long] * number, images=dict.fromkeys(changes, number), named=dict.fromkeys(changes, rows),
        sites=[Site(f"http://a.test/{long}", {long: 1}, long)] * number, pages={long: 1}, left_out={long: 2},
        failures={f"{long}{n}": Kind(number, 1, rows[:5]) for n in range(1000)}, outcomes={long: 3},
    )  # fmt: skip
    page = report_page(full, [run(1, new=number)] * 100)
    tree = parsed(page)
    assert len(page) < 600_000
    told = Counter(re.findall(r"and ([0-9,]+) more", "".join(tree.itertext())))
    assert told.keys() >= {"99,940", "99,970", "99,800", "99,900", "99,995", "960"}
    assert len(tree.findall(".//section[@id='new']//img")) == 60


# Where it is


def kept(folder: Any, state: Path, made: Record) -> Keeper:
    keeper = Keeper(folder, state)
    write_record(made, folder.path or state / "ledger")
    keeper.report(made)
    return keeper


def test_it_is_beside_the_records_and_each_run_replaces_it(tmp_path: Path) -> None:
    for number in (1, 2):
        kept(FileFolder(tmp_path), tmp_path, record(run=number, began=f"2026-11-0{number}T02:30:00Z"))
    tree = parsed((tmp_path / REPORT).read_text())
    assert texts(tree, ".//title")[0] == "j: run 2" and len(tree.findall(".//svg/g")) == 2
    assert {path.name for path in tmp_path.iterdir()} == {REPORT, "runs"}
    assert (tmp_path / tree.findall(".//footer//a")[-1].get("href").replace("%3A", ":")).is_file()


def test_in_a_bucket_it_is_put(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "state" / "ledger").mkdir(parents=True)
    kept(Bucket(tmp_path / "there"), tmp_path / "state", record())
    assert (tmp_path / "there" / REPORT).read_text() == (tmp_path / "state" / "ledger" / REPORT).read_text()


def test_no_planted_link_is_followed(tmp_path: Path) -> None:
    job, theirs = tmp_path / "job", tmp_path / "theirs"
    job.mkdir()
    theirs.write_text("theirs")
    for name in (REPORT, draft_of(REPORT)):
        (job / name).symlink_to(theirs)
    kept(FileFolder(job), tmp_path, record())
    assert theirs.read_text() == "theirs" and not (job / REPORT).is_symlink()
    assert {path.name for path in job.iterdir()} == {REPORT, "runs"}


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / REPORT).mkdir()
    with pytest.raises(StoreError, match=r"report of the run in .* cannot be written"):
        kept(FileFolder(tmp_path), tmp_path, record())
    assert {path.name for path in tmp_path.iterdir()} == {REPORT, "runs"}
