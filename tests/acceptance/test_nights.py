"""A job that runs again, against a real nginx, whose validators are its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from acceptance.here import Here, asked, kill_all, page, wait_for
from crawler.brokers.local import is_running
from servers.faulty import FaultySite
from servers.nginx import Nginx, nginx_available
from servers.pictures import png

PAGES, IMAGES = 6, 4


class Site:
    """Pages in a row, each with images of its own, that a test changes between two nights."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = {p: [f"/i/{p}-{n}.png" for n in range(IMAGES)] for p in range(PAGES)}
        self._age = 0
        for p in range(PAGES):
            self.write_page(p)
            for n, name in enumerate(self.names[p]):
                self.write(name, png(p * IMAGES + n))

    def write(self, name: str, body: bytes | str) -> None:
        """Write a file, another second than before: nginx tells its time in seconds."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)
        self._age += 1
        os.utime(path, (1_700_000_000 + self._age, 1_700_000_000 + self._age))

    def write_page(self, p: int) -> None:
        links = (f"/p{p + 1}.html",) if p + 1 < PAGES else ()
        self.write(f"p{p}.html" if p else "index.html", page(*self.names[p], links=links))

    @property
    def images(self) -> list[str]:
        return [name for names in self.names.values() for name in names]


class Night:
    """What one run asked of the server and told."""

    def __init__(self, here: Here, server: Nginx, *flags: str) -> None:
        assert server.access_log is not None
        before = server.access_log.stat().st_size if server.access_log.exists() else 0
        self.code, _, self.errors = here.crawl(server.url, *flags)
        lines = server.access_log.read_text()[before:].splitlines()
        found = [re.search(r'"GET (\S+) [^"]*" (\d+) (\d+)', line) for line in lines]
        self.asked = [(match[1], int(match[2]), int(match[3])) for match in found if match]
        self.there, self.failed = here.rows("metadata.jsonl"), here.rows("failures.jsonl")

    def statuses(self, prefix: str = "/i/") -> Counter[int]:
        return Counter(status for path, status, _ in self.asked if path.startswith(prefix))

    def outcomes(self) -> dict[str, str]:
        """Return the outcomes by the path of the URL."""
        rows = {**self.there, **self.failed}.values()
        return {re.sub(r"\Ahttp://[^/]*", "", row["url"]): row["outcome"] for row in rows}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def server(site: Site, tmp_path: Path) -> Iterator[Nginx]:
    if not nginx_available():
        if "CI" in os.environ:
            pytest.fail("nginx is missing")
        pytest.skip("needs nginx")
    with Nginx(site.root, tmp_path / "nginx", access_log=True) as made:
        yield made


def test_a_night_without_news_brings_no_bodies(here: Here, site: Site, server: Nginx) -> None:
    first = Night(here, server)
    assert first.code == 0 and first.statuses() == {200: PAGES * IMAGES}, first.errors
    files = {path: path.stat().st_mtime_ns for path in here.output.rglob("*.png")}
    for _ in range(2):
        night = Night(here, server)
        assert (night.code, night.statuses(), night.statuses("/p")) == (0, {304: PAGES * IMAGES}, {304: PAGES - 1})
        assert sum(size for path, _, size in night.asked if path.startswith("/i/")) == 0
        assert set(night.outcomes().values()) == {"unchanged"} and not night.failed
        assert f"{PAGES * IMAGES} unchanged; 0 B" in night.errors and f"{PAGES} read" in night.errors
        assert {path: path.stat().st_mtime_ns for path in here.output.rglob("*.png")} == files
    assert here.is_clean()
    assert {row["mentions_total"] for row in night.there.values()} == {1}


def test_what_changed_is_fetched_and_what_it_was_stays(here: Here, site: Site, server: Nginx) -> None:
    first = Night(here, server)
    changed, touched, added, removed = "/i/1-1.png", "/i/1-2.png", "/i/2-new.png", "/i/3-0.png"
    site.write(changed, png(99))
    site.write(touched, png(1 * IMAGES + 2))
    site.names[2].append(added)
    site.write(added, png(2 * IMAGES))  # the same picture as another one of that page
    site.write_page(2)
    (site.root / removed.lstrip("/")).unlink()
    night = Night(here, server)
    assert night.statuses() == {200: 3, 404: 1, 304: PAGES * IMAGES - 3}
    expected = dict.fromkeys(site.images, "unchanged") | {changed: "success", added: "success", removed: "http_404"}
    assert night.outcomes() == expected
    row = night.there[server.url + changed]
    assert row["previous"] == first.there[server.url + changed]["file_name"] != row["file_name"]
    for name, body in ((row["file_name"], png(99)), (row["previous"], png(1 * IMAGES + 1))):
        assert (here.output / "j" / name).read_bytes() == body
    assert night.there[server.url + added]["same_as"] == first.there[server.url + "/i/2-0.png"]["file_name"]
    gone = night.there[server.url + removed]
    assert gone["file_name"] == first.there[server.url + removed]["file_name"], "what is there stays told"
    assert (gone["outcome"], gone["run"]) == ("http_404", 2)
    later = Night(here, server)
    assert later.statuses() == {304: PAGES * IMAGES}, "what is missing rests for a week"
    assert later.there[server.url + changed]["previous"] == row["previous"]


def test_a_file_that_somebody_removed_or_cut_is_fetched_again(here: Here, site: Site, server: Nginx) -> None:
    first = Night(here, server)
    lost, cut = (here.output / "j" / first.there[server.url + path]["file_name"] for path in site.images[:2])
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:20])
    night = Night(here, server)
    assert night.statuses() == {200: 2, 304: PAGES * IMAGES - 2}
    assert here.is_clean()


@pytest.mark.parametrize("refresh", ["always", "new"])
def test_more_or_less_is_asked_for_on_demand(here: Here, site: Site, server: Nginx, refresh: str) -> None:
    Night(here, server)
    night = Night(here, server, "--refresh", refresh)
    assert night.statuses() == ({304: PAGES * IMAGES} if refresh == "always" else {})
    assert (f"{PAGES * IMAGES} were there already" in night.errors) is (refresh == "new")


def test_pages_are_read_anew_where_other_links_are_wanted(here: Here, site: Site, server: Nginx) -> None:
    Night(here, server)
    assert Night(here, server, "--icons").statuses("/p") == {200: PAGES - 1}
    assert Night(here, server, "--icons").statuses("/p") == {304: PAGES - 1}


def test_sites_that_tell_no_versions(here: Here) -> None:
    """Such images come whole at each request: they are asked for once a week; those that are said to be fresh, then."""
    with FaultySite() as site:
        names = ["/i/plain.png", "/i/fresh.png", "/i/same.png", "/i/moved.png", "/i/here.png"]
        site.add("/", page(*names[:4]), "text/html")
        site.add("/i/plain.png", png(1))
        site.add("/i/fresh.png", png(2), headers={"Cache-Control": "max-age=3600", "ETag": '"f"'})
        site.add("/i/same.png", png(3), headers={"ETag": '"s"'})  # knows no conditions: answers 200
        site.redirect("/i/moved.png", "/i/here.png")
        site.add("/i/here.png", png(4), headers={"Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT"})
        assert here.crawl(site.url)[0] == 0
        first = here.rows("metadata.jsonl")
        for _ in range(2):
            before = len(asked(site))
            assert here.crawl(site.url)[0] == 0
            assert sorted(asked(site)[before:]) == ["/i/here.png", "/i/moved.png", "/i/same.png"]
        rows = here.rows("metadata.jsonl")
        assert {row["outcome"] for row in rows.values()} == {"unchanged"} and rows.keys() == first.keys()
        assert {url: row["file_name"] for url, row in rows.items()} == {u: r["file_name"] for u, r in first.items()}
        assert site.headers("/i/same.png")[-1]["if-none-match"] == '"s"'
        assert "if-modified-since" not in site.headers("/i/moved.png")[-1], "the date is of where it leads"
        assert site.headers("/i/here.png")[-1]["if-modified-since"] == "Mon, 02 Nov 2026 00:00:00 GMT"
        body = (here.output / "j" / rows[site.url + "/i/moved.png"]["file_name"]).read_bytes()
        assert hashlib.sha256(body).digest() == hashlib.sha256(png(4)).digest()


def test_a_server_that_says_unchanged_without_being_asked_is_not_believed(here: Here) -> None:
    with FaultySite() as site:
        site.add("/", page("/i/a.png", "/i/b.png"), "text/html")
        site.add("/i/a.png", b"", status=304)
        site.add("/i/b.png", png(1))
        here.crawl(site.url)
        assert here.rows("failures.jsonl")[site.url + "/i/a.png"]["outcome"] == "http_304"


def test_a_list_is_fetched_again_where_there_is_news(here: Here, site: Site, server: Nginx, tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("".join(f"{server.url}{name}\n" for name in site.images))
    assert here.crawl("--urls", str(urls))[0] == 0
    site.write("/i/0-0.png", png(50))
    code, _, errors = here.crawl("--urls", str(urls))
    assert code == 0 and f"1 success, {len(site.images) - 1} unchanged" in errors, errors


# What is told of it


def record(here: Here) -> dict[str, Any]:
    """Return the record of the last run."""
    latest: dict[str, Any] = json.loads(max((here.output / "j" / "runs").glob("*.json")).read_text())
    return latest


def told(here: Here, change: str) -> set[str]:
    """Return the paths of the images that the last record names under a change."""
    named = record(here)["named"].get(change, [])
    assert len(named) == record(here)["images"].get(change, 0)
    return {re.sub(r"\Ahttp://[^/]*", "", image["url"]) for image in named}


def test_the_report_names_what_is_new_changed_and_gone(here: Here, site: Site, server: Nginx) -> None:
    first = Night(here, server)
    assert record(here)["images"] == {"new": PAGES * IMAGES} and "changes" not in first.errors
    changed, removed, unlinked, old, renamed = "/i/1-1.png", "/i/3-0.png", "/i/4-2.png", "/i/5-0.png", "/i/renamed.png"
    site.write(changed, png(99))
    (site.root / removed.lstrip("/")).unlink()
    site.names[4].remove(unlinked)
    site.names[5] = [renamed, *site.names[5][1:]]
    (site.root / old.lstrip("/")).rename(site.root / renamed.lstrip("/"))
    for p in (4, 5):
        site.write_page(p)
    night = Night(here, server)
    assert "\n  changes 1 new, 1 changed, 3 gone\n" in night.errors
    assert {change: told(here, change) for change in ("new", "changed", "gone")} == {
        "new": {renamed}, "changed": {changed}, "gone": {removed, unlinked, old},
    }  # fmt: skip
    (new,) = record(here)["named"]["new"]
    assert new["same_as"] == first.there[server.url + old]["file_name"]
    report = here.output / "j" / "report.html"
    assert f"\n  report  {report}\n" in night.errors
    assert f'src="./{new["file_name"]}"' in report.read_text() and f">{server.url}{removed}</a>" in report.read_text()
    rows = night.there
    assert {row["gone"] for row in rows.values()} == {False, True} and rows[server.url + unlinked]["gone"]
    assert not night.failed and len(rows) == PAGES * IMAGES + 1
    Night(here, server)
    assert set(record(here)["images"]) == {"unchanged"}, "what was gone before is no news"


def test_a_run_whose_report_cannot_be_written_has_its_record(here: Here, site: Site, server: Nginx) -> None:
    (here.output / "j" / "report.html").mkdir(parents=True)
    night = Night(here, server)
    assert night.code == 0 and record(here)["images"] == {"new": PAGES * IMAGES}
    assert "the report of the run in" in night.errors and "cannot be written" in night.errors
    assert "  report  " not in night.errors and "Traceback" not in night.errors


def test_failures_are_told_as_they_come_and_go(here: Here, site: Site, server: Nginx) -> None:
    broken = site.root / "i" / "1-1.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    assert Night(here, server).code == 0 and told(here, "failed") == {"/i/1-1.png"}
    Night(here, server)
    assert told(here, "failed_again") == {"/i/1-1.png"}
    site.write("i/1-1.png", whole)
    night = Night(here, server)
    assert told(here, "works_again") == {"/i/1-1.png"} and "1 failed before and work now" in night.errors


def test_nothing_is_gone_on_a_bad_night(here: Here, site: Site, server: Nginx) -> None:
    Night(here, server)
    for p in range(1, PAGES):
        (site.root / f"p{p}.html").chmod(0)
        (site.root / f"p{p}.html").rename(site.root / f"p{p}")
        (site.root / f"p{p}.html").mkdir()  # nginx answers 403 for a folder
    night = Night(here, server)
    assert night.statuses("/p") == {301: PAGES - 1, 403: PAGES - 1} and "gone" not in record(here)["images"]
    assert not any(row["gone"] for row in night.there.values()) and len(night.there) == PAGES * IMAGES


def test_a_site_that_shrinks_by_half_is_told(here: Here, site: Site, server: Nginx) -> None:
    Night(here, server)
    site.names = {p: names[:1] for p, names in site.names.items()}
    for p in range(PAGES):
        site.write_page(p)
    night = Night(here, server)
    assert night.errors.splitlines()[1] == f"! {server.url}/: 6 images, and 24 in run 1", night.errors
    assert record(here)["attention"] and record(here)["images"]["gone"] == PAGES * (IMAGES - 1)


@pytest.mark.parametrize("when", [0.0, 0.5, 1.0])
def test_a_run_that_is_killed_and_goes_on_reports_what_it_would_have(
    here: Here, site: Site, server: Nginx, when: float
) -> None:
    Night(here, server)
    site.write("/i/1-1.png", png(99))
    (site.root / "i" / "3-0.png").unlink()
    site.names[4].pop()
    site.write_page(4)
    kill_in_the_middle(here, server, when)
    Night(here, server)
    assert record(here)["run"] == 2
    assert (told(here, "changed"), told(here, "gone")) == ({"/i/1-1.png"}, {"/i/3-0.png", "/i/4-3.png"})
    assert record(here)["images"] == {"changed": 1, "gone": 2, "unchanged": PAGES * IMAGES - 3}
    site.write("/i/2-1.png", png(98))
    site.names[5].pop()
    site.write_page(5)
    kill_in_the_middle(here, server, when)
    Night(here, server)
    assert record(here)["run"] == 3
    assert (told(here, "changed"), told(here, "gone")) == ({"/i/2-1.png"}, {"/i/5-3.png"})
    assert record(here)["images"] == {"changed": 1, "gone": 1, "unchanged": PAGES * IMAGES - 4}
    assert here.crawl(server.url)[0] == 0 and record(here)["run"] == 4


def kill_in_the_middle(here: Here, server: Nginx, when: float) -> None:
    """Start a run, and kill all of its processes some time after its broker began."""
    door = here.start("crawler", *here.job(server.url, "--requests-per-host", "1", "--delay", "0.05", "--lease", "3"))
    wait_for((here.state / "j" / "broker.json").exists)
    time.sleep(0.7 + when)
    kill_all(door)


def test_a_run_that_is_killed_before_it_tells_is_told_first(here: Here, site: Site, server: Nginx) -> None:
    Night(here, server)
    with sqlite3.connect(here.state / "j" / "queue.sqlite") as state:  # as it is between its end and its report
        state.execute("UPDATE runs SET concluded = 0")
    state.close()
    night = Night(here, server)
    assert [line for line in night.errors.splitlines() if " run " in line and "finished" in line] != []
    assert "run 1 finished" in night.errors and "run 2 finished" in night.errors
    assert night.statuses() == {304: PAGES * IMAGES}


WALL = '<!doctype html><title>Sign in</title><img src="/logo.png"><form><input name=u><input type=Password></form>'


@pytest.mark.parametrize("redirects", [True, False])
def test_nothing_is_gone_behind_a_sign_in_wall(here: Here, redirects: bool) -> None:
    with FaultySite() as site:
        shown = page("/i/1.png", "/i/2.png", "/i/3.png", links=("/p.html",))
        both = {"/": shown, "/p.html": page("/i/4.png", "/i/5.png", "/i/6.png")}
        for path, text in both.items():
            site.add(path, text, "text/html")
        for number in range(1, 7):
            site.add(f"/i/{number}.png", png(number), headers={"ETag": f'"{number}"'})
        assert here.crawl(site.url)[0] == 0
        for path in both:
            if redirects:
                site.redirect(path, "/login")
            else:
                site.add(path, WALL, "text/html")
        site.add("/login", WALL, "text/html")
        site.add("/logo.png", png(9))
        code, _, errors = here.crawl(site.url)
        assert code == 1 and f"! {site.url}/: its first page failed: login_required" in errors, errors
        rows = here.rows("metadata.jsonl")
        assert len(rows) == 6 and not any(row["gone"] for row in rows.values())
        for path, text in both.items():
            site.add(path, text, "text/html")
        assert here.crawl(site.url)[0] == 0
        assert "gone" not in record(here)["images"] and len(here.rows("metadata.jsonl")) == 6


def test_a_page_that_always_asked_for_a_password_is_believed(here: Here) -> None:
    with FaultySite() as site:
        site.add("/", WALL + page("/i/1.png", "/i/2.png", "/i/3.png"), "text/html")
        for path in ("/i/1.png", "/i/2.png", "/i/3.png", "/logo.png"):
            site.add(path, png(len(path)), headers={"ETag": '"1"'})
        assert here.crawl(site.url)[0] == 0
        site.add("/", WALL, "text/html")
        assert here.crawl(site.url)[0] == 0
        assert told(here, "gone") == {"/i/1.png", "/i/2.png", "/i/3.png"}


# What sites say of the use of their images, and what settings leave out


class Versions(FaultySite):
    """Answers 304 where the ETag is known that it would send."""

    def _begin(self, handler: Any) -> Any:
        reply, entry = super()._begin(handler)
        if handler.headers.get("If-None-Match") == reply.headers.get("ETag", ""):
            reply = replace(reply, body=b"", status=304)
        return reply, entry


@pytest.fixture
def versions() -> Iterator[Versions]:
    """A page with an image that is another one the next night; a test says what else is."""
    with Versions() as made:
        made.add("/", page("/i/a.png"), "text/html", headers={"ETag": '"page"'})
        made.add("/i/a.png", png(1), headers={"ETag": '"1"'})
        yield made


def has_new_picture(here: Here, site: Versions, *flags: str) -> bool:
    """Crawl once more, and tell whether the image that changed was fetched."""
    site.add("/i/a.png", png(2), headers={"ETag": '"2"'})
    assert here.crawl(site.url, *flags)[0] == 0
    (row,) = here.rows("metadata.jsonl").values()
    return row["previous"] is not None


def test_an_image_is_fetched_anew_while_its_page_is_unchanged(here: Here, versions: Versions) -> None:
    here.crawl(versions.url)
    assert has_new_picture(here, versions)


def test_what_a_page_says_with_its_304_is_heard(here: Here, versions: Versions) -> None:
    here.crawl(versions.url)
    headers = {"ETag": '"page"', "X-Robots-Tag": "noimageindex"}
    versions.add("/", page("/i/a.png"), "text/html", headers=headers)
    assert not has_new_picture(here, versions)


def test_what_a_page_said_is_kept_to_while_it_is_unchanged(here: Here, versions: Versions) -> None:
    here.crawl(versions.url)
    text = '<meta name="robots" content="noimageindex">' + page("/i/a.png")
    versions.add("/", text, "text/html", headers={"ETag": '"another"'})
    here.crawl(versions.url)
    assert not has_new_picture(here, versions)


def test_what_a_site_reserves_is_heard_though_its_pages_are_unchanged(here: Here, versions: Versions) -> None:
    here.crawl(versions.url, "--respect", "tdm")
    reserved = json.dumps([{"location": "/", "tdm-reservation": 1}])
    versions.add("/.well-known/tdmrep.json", reserved, "application/json")
    assert not has_new_picture(here, versions, "--respect", "tdm")


def test_who_signs_in_reads_pages_anew(here: Here, versions: Versions) -> None:
    fresh = {"ETag": '"page"', "Cache-Control": "max-age=86400"}
    versions.add("/", page("/i/a.png"), "text/html", headers=fresh)
    here.crawl(versions.url)
    here.crawl(versions.url)
    assert len(versions.headers("/")) == 1, "it is said to be fresh"
    here.crawl(versions.url, "--header", "X-Key: 1")
    assert "if-none-match" not in versions.headers("/")[1]


def test_pages_that_settings_leave_out_are_left_alone(here: Here, versions: Versions) -> None:
    versions.add("/", page("/i/a.png", links=("/cart/1",)), "text/html", headers={"ETag": '"page"'})
    versions.add("/cart/1", page("/i/b.png"), "text/html", headers={"ETag": '"cart"'})
    versions.add("/i/b.png", png(3), headers={"ETag": '"3"'})
    here.crawl(versions.url)
    before = len(versions.requests)
    for _ in range(3):
        assert here.crawl(versions.url, "--exclude", "/cart/")[0] == 0
    assert "/cart/1" not in {request.path for request in versions.requests[before:]}
    assert not any(row["gone"] for row in here.rows("metadata.jsonl").values())


# Who else is told


def notices(here: Here) -> list[dict[str, Any]]:
    file = here.folder / "notices"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_command_is_told_of_each_end(here: Here, site: Site, server: Nginx) -> None:
    flags = ("--notify", f"cat >> {here.folder}/notices")
    assert Night(here, server, *flags).code == 0
    code, _, errors = here.crawl(server.url, "--refresh", "always", "--max-time", "0.1", *flags)
    assert code == 3, errors
    assert here.crawl(server.url, *flags)[0] == 0
    first, second, third = notices(here)
    assert (first["ending"], first["exit_code"], first["record"]["images"]) == ("finished", 0, {"new": PAGES * IMAGES})
    assert first["summary"].startswith("j: run 1 finished") and first["images"] == {"success": PAGES * IMAGES}
    assert (second["ending"], second["exit_code"], second["record"]) == ("stopped at --max-time", 3, None)
    assert (third["run"], third["record"]["images"]) == (2, {"unchanged": PAGES * IMAGES})


def test_a_command_is_told_of_what_cannot_begin_and_not_of_a_refusal(here: Here, site: Site, server: Nginx) -> None:
    flags = ("--notify", f"cat >> {here.folder}/notices")
    here.crawl(server.url)
    door = here.start("crawler", *here.job(server.url, "--delay", "0.3", "--refresh", "always"))
    wait_for(lambda: is_running(here.state / "j"))
    assert here.crawl(server.url, *flags)[0] == 75
    kill_all(door)
    assert notices(here) == []
    for file in (here.state / "j").glob("queue.sqlite*"):  # with its log, out of which it would be made whole
        file.write_bytes(b"no state at all, but long enough to look like one" * 100)
    code, _, errors = here.crawl(server.url, *flags)
    (notice,) = notices(here)
    assert code == 2 and (notice["ending"], notice["exit_code"]) == ("failed", 2) and notice["summary"] in errors


def test_a_command_that_fails_harms_nothing(here: Here, site: Site, server: Nginx) -> None:
    night = Night(here, server, "--notify", "exit 7")
    assert night.code == 0 and "--notify: exit 7 ended with 7" in night.errors


# A real site

DOCS = Path("/usr/share/doc/python-skimage-doc/html")


def test_two_nights_of_real_documentation(here: Here, tmp_path: Path) -> None:
    if not DOCS.is_dir() or not nginx_available():
        if "CI" in os.environ:
            pytest.fail("nginx or python-skimage-doc is missing")
        pytest.skip("needs nginx and Debian's python-skimage-doc")
    root = tmp_path / "site"
    shutil.copytree(DOCS, root)
    with Nginx(root, tmp_path / "nginx", access_log=True) as server:
        first = Night(here, server, "--fail-above", "100")
        changed, removed, unlinked, old = named_once(first, server, root)[:4]
        (root / changed.path).write_bytes(png(1))
        (root / removed.path).unlink()
        unlinked.edit(r"<(?:img|a)\b[^>]*%s[^>]*>", "")
        (root / old.path).rename(root / "_images" / "renamed.png")
        old.edit("%s", "renamed.png")
        night = Night(here, server, "--fail-above", "100")
        assert {change: told(here, change) for change in ("new", "changed", "gone")} == {
            "new": {"/_images/renamed.png"},
            "changed": {f"/{changed.path}"},
            "gone": {f"/{image.path}" for image in (removed, unlinked, old)},
        }
        (new,) = record(here)["named"]["new"]
        assert new["same_as"] == first.there[old.url]["file_name"]
        assert record(here)["images"]["unchanged"] == len(first.there) - 4 > 100
        assert {url for url, row in night.failed.items() if row["run"] == 2} <= first.failed.keys()
        assert here.crawl(server.url, "--fail-above", "100")[0] == 0 and not told(here, "changed") | told(here, "gone")


@dataclass(frozen=True)
class Once:
    """An image that one page names once: its URL, its file below the site's root, and that of the page."""

    url: str
    path: str
    page: Path

    def edit(self, pattern: str, by: str) -> None:
        """Replace in the page what matches `pattern`, with the image's name in it."""
        name = re.escape(self.path.rpartition("/")[2])
        text, number = re.subn(pattern % name, by, self.page.read_text())
        assert number
        self.page.write_text(text)


def named_once(night: Night, server: Nginx, root: Path) -> list[Once]:
    """Return the images that one page mentions, with words of one kind."""
    found = []
    for url, row in sorted(night.there.items()):
        where = row["mentions"][0]["page"].removeprefix(f"{server.url}/")
        image = Once(url, url.removeprefix(f"{server.url}/"), root / where)
        if row["mentions_total"] == 1 and not row["same_as"] and where.endswith(".html"):
            found.append(image)
    return found
