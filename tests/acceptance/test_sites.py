"""Many sites in one job, with settings of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, page
from crawler.settings import CrawlSettings
from crawler.sites import named_sites
from servers.certificates import Authority
from servers.faulty import FaultySite
from servers.pictures import png

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        yield made


def add_pages(site: FaultySite, number: int, images: int = 1) -> None:
    """Let a site have a row of pages, each with images of its own."""
    for p in range(number):
        names = [f"/i/{p}-{n}.png" for n in range(images)]
        site.add(f"/p{p}" if p else "/", page(*names, links=(f"/p{p + 1}",)), "text/html")
        for n, name in enumerate(names):
            site.add(name, png(p * images + n))


def write_sites(here: Here, text: str) -> list[str]:
    path = here.folder / "sites.toml"
    path.write_text(text)
    return ["--sites-file", str(path)]


def record(here: Here) -> dict[str, object]:
    latest = max((here.output / "j" / "runs").glob("*.json"))
    content: dict[str, object] = json.loads(latest.read_text())
    return content


def test_each_has_settings_of_its_own(here: Here, site: FaultySite, tmp_path: Path) -> None:
    with (
        FaultySite("127.0.0.2") as two,
        FaultySite("127.0.0.3", certificate=Authority(tmp_path).certify("127.0.0.3")) as old,
    ):
        for each in (site, two, old):
            add_pages(each, 4)
        two.add("/robots.txt", "User-agent: archive\nDisallow: /p2\n", "text/plain")
        (here.folder / "own.txt").write_text("# Netscape HTTP Cookie File\n127.0.0.2\tFALSE\t/\tFALSE\t0\tsession\t7\n")
        sites = f"""
            [[site]]
            url = "{site.url}"
            name = "one"
            depth = 1
            [[site]]
            url = "{two.url}"
            name = "two"
            header = ["X-Key: 1"]
            cookies = "own.txt"
            user_agent = "archive/2 (us)"
            delay = 0.01
            [[site]]
            url = "{old.url}"
            name = "old"
            exclude = ["p3"]
            tls_verify = false
        """
        code, _, errors = here.crawl(*write_sites(here, sites))
        assert code == 0, errors
        rows = here.rows("metadata.jsonl")
        found = {(row["site"], row["url"].rpartition("/")[2]) for row in rows.values()}
        assert found == {
            *(("one", f"{p}-0.png") for p in range(2)), *(("two", f"{p}-0.png") for p in range(2)),
            *(("old", f"{p}-0.png") for p in range(3)),
        }  # fmt: skip
        assert "certificates are not checked (tls_verify): 127.0.0.3" in errors
        for path in ("/robots.txt", "/", "/i/0-0.png"):
            (seen,) = two.headers(path)
            assert (seen["user-agent"], seen["x-key"], seen["cookie"]) == ("archive/2 (us)", "1", "session=7"), path
            (seen,) = site.headers(path)
            assert "x-key" not in seen and "cookie" not in seen and seen["user-agent"].startswith("crawler/")
        assert min(two.gaps()) >= 0, "one at a time, since it has a delay"


def test_an_endless_a_slow_and_a_broken_site_cost_the_others_nothing(here: Here, site: FaultySite) -> None:
    with FaultySite("127.0.0.2") as endless, FaultySite("127.0.0.3") as slow, FaultySite("127.0.0.5") as limited:
        add_pages(site, 3, images=4)
        limited.add("/", page(*(f"{site.url}/i/0-{n}.png" for n in range(4))), "text/html")
        add_pages(endless, 3000)
        slow.hang("/")
        sites = "".join(
            f'[[site]]\nname = "{name}"\nurl = "{url}"\n{limit}\n'
            for name, url, limit in (
                ("good", site.url, ""),
                ("endless", endless.url, "max_time = 3\ndelay = 0.05"),
                ("slow", slow.url, "max_time = 3"),
                ("broken", "http://127.0.0.4:9/", ""),
                ("limited", limited.url, "max_images = 1"),
            )
        )
        code, _, errors = here.crawl(*write_sites(here, sites), "--max-alike", "0")
        assert code == 1, errors
        assert (
            len(asked(site)) == 12
            and "endless (" in errors
            and "stopped at its max_time; the next run goes on" in errors
        )
        told = {entry["name"]: entry for entry in record(here)["sites"]}  # type: ignore[attr-defined]
        assert {name for name, entry in told.items() if entry["stopped"]} >= {"endless", "slow"}
        assert told["broken"]["first_page"] == "robots_unreachable" and not told["good"]["stopped"]
        before = len(here.rows("metadata.jsonl"))
        here.crawl(*write_sites(here, sites), "--max-alike", "0", "--only", "endless")
        assert len(here.rows("metadata.jsonl")) > before, "it went on"
        (only,) = record(here)["sites"]  # type: ignore[misc]
        assert only["name"] == "endless" and len(asked(site)) == 12


def test_a_site_that_left_the_file_keeps_what_it_has(here: Here, site: FaultySite) -> None:
    with FaultySite("127.0.0.2") as two:
        for each in (site, two):
            add_pages(each, 2)
        one, other = (f'[[site]]\nurl = "{url}"\n' for url in (site.url, two.url))
        assert here.crawl(*write_sites(here, one + other))[0] == 0
        assert here.crawl(*write_sites(here, one))[0] == 0
        rows = here.rows("metadata.jsonl")
        assert len(rows) == 4 and not any(row["gone"] for row in rows.values())
        assert record(here)["images"] == {"unchanged": 2}
        code, _, errors = here.crawl(*write_sites(here, other.replace(two.url, "http://127.0.0.9:1")))
        assert code == 2 and "give it another name with --job" in errors


def test_a_thousand_sites_are_an_ordinary_night(here: Here) -> None:
    """Each at an address of its own; one in a hundred refuses connections, one in a hundred has no such page."""
    with FaultySite("0.0.0.0") as server:
        text = []
        for n in range(1000):
            port, path = server.port if n % 100 != 1 else 1, f"/{n}/"
            url = f"http://127.1.{n // 250}.{n % 250 + 1}:{port}{path}"
            text.append(f'[[site]]\nurl = "{url}"\nscope = "prefix"\nmax_time = "4h"\nmax_images = 10\n')
            if n % 100 != 2:
                server.add(path, page("a.png"), "text/html")
                server.add(f"{path}a.png", png(n))
        code, _, errors = here.crawl(*write_sites(here, "".join(text)), seconds=240)
        assert code == 1 and "and 12 more sites: python -m crawler.status" in errors, errors
        rows = here.rows("metadata.jsonl")
        assert len(rows) == 980 and len({row["site"] for row in rows.values()}) == 980
        told = record(here)
        assert len(told["sites"]) == 1000 and told["images"] == {"new": 980}  # type: ignore[arg-type]


def test_the_shipped_example_is_understood() -> None:
    found = named_sites(CrawlSettings(sites_file=ROOT / "config" / "sites.toml"))
    assert [site.name for site in found] == ["example", "gallery", "members", "old"]
    assert all(site.settings.max_time == 4 * 3600 for site in found)
    assert found[2].settings.cookies == ROOT / "config" / "members.txt"
