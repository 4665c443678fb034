"""What a site asks for is kept by all processes together, and a site that stalls holds nobody for ever."""

from __future__ import annotations

import math
import time
from email.utils import formatdate

import pytest

from acceptance.here import Here, asked, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import png


def after(site: FaultySite, when: float) -> list[str]:
    """Return the paths that were asked for after `when`, a wall-clock time."""
    offset = time.time() - time.monotonic()
    return [request.path for request in site.requests if request.time + offset >= when]


@pytest.mark.alone
def test_a_date_in_retry_after_is_waited_for(here: Here) -> None:
    """An image of one site and a page of another are refused until a date: until then, nothing of either is asked."""
    with FaultySite() as site, FaultySite("127.0.0.2") as other:
        images = [f"/i/{n}.png" for n in range(6)]
        for n, path in enumerate(images):
            site.add(path, png(n))
        site.slow("/", page(*images), 1.0, "text/html")
        other.slow("/", page(links=("/two.html", "/three.html")), 1.0, "text/html")
        other.add("/three.html", page(), "text/html")
        door = here.start("crawler", *here.job(site.url, other.url, "--requests-per-host", "1"))
        wait_for(lambda: asked(site, "/") and asked(other, "/"))
        date = math.ceil(time.time()) + 3
        site.retry_after("/i/0.png", png(0), 429, formatdate(date, usegmt=True))
        other.retry_after("/two.html", page(), 503, formatdate(date, usegmt=True), "text/html")
        _, errors = door.communicate(timeout=30)
        assert door.returncode == 0, errors
        assert len(here.rows("metadata.jsonl")) == 6
        for one, refused in ((site, "/i/0.png"), (other, "/two.html")):
            paths = asked(one, "/")
            since = paths[paths.index(refused) + 1 :]
            assert refused in since and since == after(one, date), "something was asked before the date"


@pytest.mark.alone
def test_a_page_that_drips_ends_at_its_deadline(here: Here) -> None:
    with FaultySite() as site:
        site.add("/", page("/i/0.png", links=("/body.html", "/head.html")), "text/html")
        site.add("/i/0.png", png(0))
        site.drip("/body.html", page("/i/1.png"), 1.0, "text/html")
        site.drip_headers("/head.html", page("/i/1.png"), 1.0, "text/html")
        began = time.monotonic()
        code, _, errors = here.crawl(site.url, "--page-deadline", "1", "--processes", "1")
        assert code == 0 and time.monotonic() - began < 20
        assert "1 read, 2 timeout" in errors
        assert asked(site, "/body.html") == 3 * ["/body.html"], "three attempts"


def test_a_crawl_delay_is_kept_over_all_processes(here: Here) -> None:
    with FaultySite() as site:
        site.add("/robots.txt", "User-agent: *\nCrawl-delay: 0.3\n", "text/plain")
        pages = [f"/p{p}.html" for p in range(3)]
        site.add("/", page(links=tuple(pages)), "text/html")
        for p, name in enumerate(pages):
            images = [f"/i/{p}-{n}.png" for n in range(5)]
            site.add(name, page(*images), "text/html")
            for n, path in enumerate(images):
                site.add(path, png(9 * p + n))
        code, _, errors = here.crawl(site.url, "--processes", "2")
        assert code == 0, errors
        assert site.most_at_once == 1
        assert min(site.gaps()[1:]) >= 0.3, "counted from the end of the last answer"
