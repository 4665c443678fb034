"""What a site names leads the real commands to no address that is not open; a canary counts connections and bytes."""

from __future__ import annotations

import pytest

from acceptance.here import Here, asked, page
from acceptance.machines import OPEN_NETWORK, A, Machines
from acceptance.network import Names
from hostile_urls import ALL, at
from servers.faulty import CountingServer, FaultySite
from servers.pictures import png
from servers.ports import free_port

OPEN = "127.0.0.2"
#: What asks outside for what it stands for, where a parser lets it.
ENTITIES = '<!DOCTYPE x SYSTEM "{}x.dtd" [<!ENTITY e SYSTEM "{}e"><!ENTITY % p SYSTEM "{}p"> %p;]>'


def lay_out(site: FaultySite, bad: list[str]) -> None:
    """Let a site name each URL as everything that is fetched, by itself and by a redirect."""
    moved = [f"/moved/{number}" for number in range(len(bad))]
    for path, url in zip(moved, bad, strict=True):
        for ending in ("", ".png", ".css", ".xml"):
            site.redirect(path + ending, url.encode().decode("latin-1"))
    every = [url.replace("\t", "&#9;").replace('"', "&quot;") for url in bad]
    head = [f'<link rel=stylesheet href="{url}">' for url in [*every, *(path + ".css" for path in moved)]]
    head += [f'<link rel=alternate type=application/rss+xml href="{url}">' for url in every]
    head += [f'<meta property="og:image" content="{url}"><base target="{url}">' for url in every]
    images = ["/good.png", *every, *(path + ".png" for path in moved)]
    site.add("/", "".join(head) + page(*images, links=(*every, *moved)), "text/html")
    site.add("/good.png", png(1))
    canary = bad[0]
    doctype = ENTITIES.replace("{}", canary)
    sitemaps = [f"{site.url}{path}.xml" for path in moved] + [url for url in bad if url.isascii() and "\t" not in url]
    lines = [f"Sitemap: {url}" for url in [f"{site.url}/sitemap.xml", *sitemaps]]
    site.add("/robots.txt", "\n".join(["User-agent: *", "Disallow:", *lines]), "text/plain")
    site.add("/sitemap.xml", f"{doctype}<urlset><url><loc>&e;{canary}</loc></url></urlset>", "application/xml")
    site.add("/feed.xml", f"{doctype}<rss><item><link>&e;{canary}</link></item></rss>", "application/rss+xml")


@pytest.mark.parametrize("more", [[], ["--ignore-robots"]], ids=["robots first", "at once"])
def test_no_address_that_is_not_open_is_connected(here: Here, more: list[str]) -> None:
    """Robots.txt of each host is asked first, so that only without it images and pages are asked for themselves."""
    with FaultySite(OPEN) as site, FaultySite(OPEN) as other, CountingServer("::") as canary:
        bad = at(canary.port)
        lay_out(site, bad)
        other.redirect("/robots.txt", f"http://127.0.0.1:{canary.port}/robots.txt")
        flags = ["--scope", "any", "--css", "--variants", "all", "--allow-net", f"{OPEN}/32", "--job", "j"]
        sites = [site.url, f"{site.url}/feed.xml", other.url]
        _, _, errors = here.run("crawler", *sites, *flags, *more, "--output", str(here.output), seconds=120)
        assert (canary.connections, canary.received) == (0, 0)
        assert list(here.rows("metadata.jsonl")) == [f"{site.url}/good.png"], errors
        outcomes = {row["outcome"] for row in here.rows("failures.jsonl").values()}
        assert "private_address" in outcomes or not more
        assert outcomes <= {"private_address", "robots_unreachable", "bad_url", "dns"}, errors
        moved = {request.path for request in site.requests if request.path.startswith("/moved/")}
        kinds = 3 if more else 4  # page, image, style sheet, and sitemap where robots.txt is read
        assert len(moved) == kinds * len(ALL), "each was redirected"


def test_nobody_is_led_to_the_broker_or_past_what_is_open(here: Here) -> None:
    """On the collector's machine and on a worker's, by URL and by redirect, although its network is opened."""
    broker = free_port()
    with FaultySite() as site:
        names = ["127.0.0.1", "0.0.0.0", "127.0.0.7", "localhost", "[::1]"]
        urls = [f"http://{name}:{broker}/x.png" for name in names]
        for number, url in enumerate(urls):
            site.redirect(f"/{number}.png", url)
        site.add("/", page("/good.png", *urls, *(f"/{n}.png" for n in range(len(urls)))), "text/html")
        site.add("/good.png", png(1))
        flags = ["--listen", f"127.0.0.1:{broker}", "--job", "j", "--output", str(here.output), "--ignore-robots"]
        opened = [word for network in ("127.0.0.0/8", "0.0.0.0", "::1") for word in ("--allow-net", network)]
        collector = here.start("crawler.collect", "--site", site.url, *flags, *opened)
        worker = here.start("crawler.download", "--server", f"127.0.0.1:{broker}", "--processes", "1")
        lines, errors = collector.communicate(timeout=90)
        assert worker.wait(20) == 0
        outcomes = dict(line.split("--->", 1) for line in lines.splitlines())
        assert outcomes.pop(f"{site.url}/good.png") == "success", errors
        assert len(outcomes) == 2 * len(urls)
        for said in outcomes.values():
            assert said.startswith("private_address: ") and said.endswith("where our own broker listens")
        assert "it does not have the key" not in errors and "refused" not in errors


def test_a_name_that_changes_leads_nowhere_else(here: Here) -> None:
    """A real name server answers each question otherwise: with an open address, a private one, and with both."""
    machine = Machines(A)
    try:
        machine.look_up_at(A, A)
        names = machine.inside(A, lambda: Names(A, [[A], ["127.0.0.1"], [A, "127.0.0.1"], ["127.0.0.1", A]]))
        with machine.inside(A, lambda: FaultySite(A)) as site:
            canary = machine.inside(A, lambda: CountingServer("127.0.0.1", site.port))
            there = f"http://name.test:{site.port}"
            links = [f"{there}/i/{n}.html" for n in range(40)]
            for n in range(40):
                site.slow(f"/i/{n}.html", page(f"{there}/i/{n}.png"), 0.0, "text/html", {"Connection": "close"})
                site.slow(f"/i/{n}.png", png(n), 0.0, headers={"Connection": "close"})
            site.add("/", page("/good.png", links=tuple(links)), "text/html")
            site.add("/good.png", png(99))
            flags = [
                "--scope",
                "any",
                "--ignore-robots",
                "--processes",
                "4",
                "--job",
                "j",
                "--output",
                str(here.output),
            ]
            door = here.start("crawler", site.url, *flags, *OPEN_NETWORK, prefix=machine.at(A))
            _, errors = door.communicate(timeout=90)
            assert (canary.connections, canary.received) == (0, 0)
            assert asked(site) and ["127.0.0.1"] in names.given, "it was led to both"
            assert "private_address" in errors
            canary.close()
        names.close()
    finally:
        machine.close()
