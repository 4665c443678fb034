"""Images that are pruned once they are gone, and images that are forgotten for good."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import png

NAMES = [f"/i/{n}.png" for n in range(12)]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.add("/", page(*NAMES), "text/html")
        for n, name in enumerate(NAMES):
            made.add(name, png(n))
        yield made


def files(here: Here) -> set[str]:
    return {path.name.partition("-")[0] for path in (here.output / "j").rglob("*.png")}


def said_anywhere(here: Here, text: str) -> list[str]:
    """Return the files of job `j`, its state too, that have `text` in them."""
    database = sqlite3.connect(here.state / "j" / "queue.sqlite")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("VACUUM")
    database.close()
    found = [*(here.output / "j").rglob("*"), *(here.state / "j").rglob("*")]
    return [str(path) for path in found if text in path.name or (path.is_file() and text.encode() in path.read_bytes())]


class TestPrune:
    def test_files_of_what_is_gone_are_removed_up_to_a_tenth(self, here: Here, site: FaultySite) -> None:
        assert here.crawl(site.url)[0] == 0
        site.add("/", page(*NAMES[1:]), "text/html")
        code, _, errors = here.crawl(site.url, "--prune")
        assert code == 0 and "1 gone, 1 file pruned" in errors, errors
        assert files(here) == {str(n) for n in range(1, 12)}
        (pruned,) = here.rows("failures.jsonl").values()
        assert (pruned["url"], pruned["outcome"]) == (site.url + NAMES[0], "pruned")
        assert here.is_clean()
        site.add("/", page(*NAMES), "text/html")
        code, _, errors = here.crawl(site.url, "--prune")
        assert "changes 1 new" in errors and len(files(here)) == 12 and here.is_clean()

    def test_more_are_removed_only_where_their_number_is_told(self, here: Here, site: FaultySite) -> None:
        assert here.crawl(site.url)[0] == 0
        site.add("/", page(*NAMES[3:]), "text/html")
        code, _, errors = here.crawl(site.url, "--prune")
        assert "3 files of 12 would be pruned, more than a tenth: none was; --prune 3 does it" in errors
        assert len(files(here)) == 12 and len(here.rows("metadata.jsonl")) == 12
        code, _, errors = here.crawl(site.url, "--prune", "2")
        assert "more than 2: none was" in errors and len(files(here)) == 12
        code, _, errors = here.crawl(site.url, "--prune", "3")
        assert code == 0 and "3 files pruned" in errors and len(files(here)) == 9 and here.is_clean()
        assert "pruned" not in here.crawl(site.url, "--prune")[2]

    def test_nonsense_is_refused(self, here: Here, site: FaultySite) -> None:
        code, _, errors = here.crawl(site.url, "--prune", "many")
        assert code == 2 and "write how many files may be removed" in errors and not site.requests


class TestForget:
    def forget(self, here: Here, *arguments: str) -> tuple[int, str, str]:
        return here.run("crawler.forget", *arguments)

    def test_by_url_nothing_is_left_of_any_version(self, here: Here, site: FaultySite) -> None:
        for version in range(3):
            site.add(NAMES[5], png(100 + version))
            assert here.crawl(site.url, "--refresh", "always")[0] == 0
        assert len(list((here.output / "j").rglob("5-*.png"))) == 3
        code, out, errors = self.forget(here, "--url", site.url + NAMES[5], "--yes")
        assert code == 0 and "j: 1 image, 3 files forgotten" in out, errors
        assert "an earlier version" in out
        before = len(asked(site))
        for version in range(3):
            assert said_anywhere(here, hashlib.sha256(png(100 + version)).hexdigest()[:12]) == []
        assert said_anywhere(here, NAMES[5]) == []
        code, _, errors = here.crawl(site.url, "--refresh", "always")
        assert code == 0 and "1 forgotten" in errors and site.url + NAMES[5] not in here.rows("metadata.jsonl")
        assert NAMES[5] not in asked(site)[before:] and len(asked(site)[before:]) == 11
        assert here.is_clean() and not here.rows("failures.jsonl")

    def test_by_content_under_whatever_url(self, here: Here, site: FaultySite) -> None:
        site.add("/i/copy.png", png(3))
        site.add("/", page(*NAMES, "/i/copy.png"), "text/html")
        assert here.crawl(site.url)[0] == 0
        content = hashlib.sha256(png(3)).hexdigest()
        code, out, errors = self.forget(here, "--sha256", content, "--job", "j", "--yes")
        assert code == 0 and "j: 2 images, 2 files forgotten" in out, errors
        assert said_anywhere(here, f"-{content[:12]}") == []
        site.add("/", page(*NAMES, "/i/copy.png", "/i/again.png"), "text/html")
        site.add("/i/again.png", png(3))
        assert here.crawl(site.url)[0] == 0
        (row,) = here.rows("failures.jsonl").values()
        assert (row["url"], row["outcome"]) == (site.url + "/i/again.png", "forgotten")
        before = len(site.requests)
        here.crawl(site.url)
        assert "/i/again.png" not in asked(site)[before:] and said_anywhere(here, f"-{content[:12]}") == []

    def test_a_site_is_not_read_any_more(self, here: Here, site: FaultySite) -> None:
        with FaultySite("127.0.0.2") as other:
            other.add("/", page("/i/x.png"), "text/html")
            other.add("/i/x.png", png(50))
            assert here.crawl(site.url, other.url)[0] == 0
            code, out, errors = self.forget(here, "--site", other.url, "--yes")
            assert code == 0 and "j: 1 image, 1 file forgotten" in out, errors
            before = len(other.requests)
            code, _, errors = here.crawl(site.url, other.url)
            assert code == 0 and "was forgotten, and is not read" in errors and len(other.requests) == before
            assert len(here.rows("metadata.jsonl")) == 12 and here.is_clean()

    def test_a_site_that_was_renamed_is_not_read_either(self, here: Here, site: FaultySite) -> None:
        sites = here.folder / "sites.toml"
        sites.write_text(f'[[site]]\nurl = "{site.url}"\nname = "one"\n')
        assert here.crawl("--sites-file", str(sites))[0] == 0
        assert self.forget(here, "--site", "one", "--yes")[0] == 0 and not files(here)
        sites.write_text(f'[[site]]\nurl = "{site.url}"\nname = "other"\n')
        before = len(site.requests)
        assert "was forgotten" in here.crawl("--sites-file", str(sites))[2] and len(site.requests) == before

    def test_what_others_lead_to_is_not_fetched_either(self, here: Here, site: FaultySite) -> None:
        site.redirect("/i/r.png", "/i/real.png")
        site.add("/i/real.png", png(30))
        site.add("/i/small.png", png(31))
        fallback = '<img src="/i/small.png" srcset="/i/big.png 2x">'
        site.add("/", page("/i/r.png") + fallback, "text/html")
        assert here.crawl(site.url)[0] == 0
        shown = {row["final_url"].removeprefix(site.url) for row in here.rows("metadata.jsonl").values()}
        assert shown == {"/i/real.png", "/i/small.png"}
        for name in shown:
            assert self.forget(here, "--url", site.url + name, "--yes")[0] == 0
        assert not files(here)
        site.redirect("/i/new.png", "/i/real.png")
        site.add("/", page("/i/r.png", "/i/new.png") + fallback, "text/html")
        before = len(asked(site))
        here.crawl(site.url)
        assert asked(site)[before:] == ["/i/new.png"] and not files(here)

    def test_files_of_others_stay(self, here: Here, site: FaultySite) -> None:
        names = ["/i/a.png", "/i/a.jpg", "/i/a.webp", "/i/a.", "/i/a", "/i/a.png?v=1", "/i/a-.png"]
        for n, name in enumerate(names):
            site.add(name, png(40 + n), "image/png")
        site.add("/", page(*names), "text/html")
        assert here.crawl(site.url)[0] == 0
        for left, name in zip(range(len(names) - 1, -1, -1), names, strict=True):
            code, out, _ = self.forget(here, "--url", site.url + name, "--yes")
            assert code == 0 and "j: 1 image, 1 file forgotten" in out
            assert len(list((here.output / "j").rglob("*.png"))) == left and here.is_clean()

    def test_it_asks_before_it_acts(self, here: Here, site: FaultySite) -> None:
        assert here.crawl(site.url)[0] == 0
        code, out, errors = self.forget(here, "--url", site.url + NAMES[0])
        assert code == 2 and NAMES[0] in out and "--yes is needed where nobody can be asked" in errors
        assert len(files(here)) == 12

    def test_what_was_never_met_is_not_fetched_either(self, here: Here, site: FaultySite) -> None:
        site.add("/", page(*NAMES[:2]), "text/html")
        assert here.crawl(site.url)[0] == 0
        assert self.forget(here, "--url", site.url + NAMES[7], "--yes")[0] == 0
        site.add("/", page(*NAMES), "text/html")
        assert here.crawl(site.url)[0] == 0
        assert len(here.rows("metadata.jsonl")) == 11 and NAMES[7] not in asked(site)

    def test_one_that_was_stopped_is_done_again(self, here: Here, site: FaultySite) -> None:
        assert here.crawl(site.url)[0] == 0
        for path in (here.output / "j").rglob("4-*.png"):
            path.unlink()  # as far as it came
        assert self.forget(here, "--url", site.url + NAMES[4], "--yes")[0] == 0
        (here.output / "j" / "metadata.jsonl").write_text(f'{{"url": "{site.url}{NAMES[4]}"}}\n')
        assert self.forget(here, "--url", site.url + NAMES[4], "--yes")[0] == 0
        assert said_anywhere(here, NAMES[4]) == [] and len(here.rows("metadata.jsonl")) == 11

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "nothing to forget"),
            (("--url", "x"), "'x' is no http or https URL"),
            (("--sha256", "12"), "'12' is no SHA-256"),
            (("--site", "nobody"), "no job has a site 'nobody'"),
            (("--job", "other", "--url", "http://a.example/"), "there is no job other"),
        ],
    )
    def test_what_is_wrong_is_said(self, here: Here, site: FaultySite, arguments: tuple[str, ...], said: str) -> None:
        here.crawl(site.url)
        code, _, errors = self.forget(here, *arguments, "--yes")
        assert code == 2 and said in errors and "Traceback" not in errors

    def test_a_job_that_runs_is_left_alone(self, here: Here, site: FaultySite) -> None:
        site.hang(NAMES[0])
        running = here.start("crawler", *here.job(site.url))
        wait_for(lambda: len(asked(site)) == 12)
        code, _, errors = self.forget(here, "--url", site.url + NAMES[1], "--yes")
        assert code == 75 and "job j is running already" in errors
        running.kill()


def test_links_that_were_planted_lead_nowhere(here: Here, site: FaultySite, tmp_path: Path) -> None:
    assert here.crawl(site.url)[0] == 0
    (folder,) = {path.parent for path in (here.output / "j").rglob("1-*.png")}
    theirs = tmp_path / "theirs"
    folder.rename(theirs)
    folder.symlink_to(theirs)
    code, _, _ = here.run("crawler.forget", "--url", site.url + NAMES[1], "--yes")
    assert code == 0 and len(list(theirs.iterdir())) == 12
