"""Failures tried again by hand, and nothing else."""

from __future__ import annotations

from acceptance.here import Here, asked, page
from servers.faulty import FaultySite
from servers.pictures import png


def test_failures_of_some_kinds_are_tried_again_and_nothing_else(here: Here) -> None:
    with FaultySite() as site:
        names = [f"/i/{n}.png" for n in range(4)]
        site.add("/", page(*names, links=("/gone",)), "text/html")
        for n, status in enumerate((200, 500, 403, 404)):
            site.add(names[n], png(n), status=status)
        assert here.crawl(site.url)[0] in (0, 1)
        assert {row["outcome"] for row in here.rows("failures.jsonl").values()} == {"http_500", "http_403", "http_404"}
        for n in (1, 2):
            site.add(names[n], png(n))
        before = len(site.requests)
        collect = (
            "crawler.collect", "--job", "j", "--listen", "127.0.0.1:0", "--processes", "1", "--quiet",
            "--fail-above", "90")  # fmt: skip
        code, _, errors = here.run(*collect, "--retry-failed", "http_5xx,timeout")
        assert code == 0, errors
        assert [request.path for request in site.requests[before:]] in (["/i/1.png"], ["/robots.txt", "/i/1.png"])
        assert {row["outcome"] for row in here.rows("failures.jsonl").values()} == {"http_403", "http_404"}
        code, _, errors = here.run(*collect, "--retry-failed")
        assert sorted(asked(site)[-2:]) == names[2:], "all failures, known to be missing or not"
        assert here.rows("failures.jsonl").keys() == {site.url + names[3]} and here.is_clean()
        code, _, errors = here.run(*collect, "--retry-failed", "timeout")
        assert (code, errors) == (0, "j: nothing failed that is to be tried again\n")
        assert "j: run 2 finished" in here.crawl(site.url)[2]


def test_what_fails_again_keeps_its_file_and_what_works_again_is_no_news(here: Here) -> None:
    with FaultySite() as site, FaultySite("127.0.0.2") as other:
        for each in (site, other):
            each.add("/", page("/i/a.png", "/i/b.png"), "text/html")
            for n, name in enumerate(("/i/a.png", "/i/b.png")):
                each.add(name, png(n))
        assert here.crawl(site.url, other.url)[0] == 0
        for each in (site, other):
            for name in ("/i/a.png", "/i/b.png"):
                each.add(name, status=403)
        here.crawl(site.url, other.url, "--refresh", "always", "--fail-above", "100")
        site.add("/i/b.png", png(1))
        before = len(other.requests)
        retry = ("--retry-failed", "http_403", "--only", site.url, "--fail-above", "100")
        code, _, errors = here.run("crawler", "--job", "j", *retry)
        assert code == 0 and len(other.requests) == before, errors
        rows = here.rows("metadata.jsonl")
        assert (rows[site.url + "/i/a.png"]["outcome"], rows[site.url + "/i/b.png"]["outcome"]) == (
            "http_403",
            "unchanged",
        )
        assert len(rows) == 4 and here.is_clean()


def test_what_is_wrong_is_said(here: Here) -> None:
    for arguments, said in (
        (("--retry-failed",), "name the job with --job NAME"),
        (("--job", "j", "--retry-failed"), "there is no job j in "),
        (("--job", "j", "--retry-failed", "slowness"), "--retry-failed: 'slowness' is no outcome"),
        (("--job", "j", "--retry-failed", "opted_out"), "what is opted_out did not fail"),
    ):
        code, _, errors = here.run("crawler.collect", *arguments)
        assert code == 2 and said in errors and "Traceback" not in errors
