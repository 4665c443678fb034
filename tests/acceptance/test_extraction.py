"""Which of a page's images are fetched: the best of several sizes, no icons, unless more is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acceptance.here import Here, asked
from servers.faulty import FaultySite
from servers.pictures import gif, png

PAGE = """<!doctype html><link rel="icon" href="/i/icon.png"><h1>Bears</h1><img src="/i/count.gif" width=1 height=1>
<img src="/i/small.png" srcset="/i/gone.png 900w, /i/large.png 600w" alt="A bear">"""


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.add("/", PAGE, "text/html")
        for number, name in enumerate(("icon", "small", "large")):
            made.add(f"/i/{name}.png", png(number))
        made.add("/i/count.gif", gif(7))
        yield made


def test_the_best_that_is_there_and_no_icons(here: Here, site: FaultySite) -> None:
    code, _, errors = here.crawl(site.url)
    assert code == 0 and "left out  1 icon, 1 pixel" in errors
    assert asked(site) == ["/i/gone.png", "/i/large.png"]
    (row,) = here.rows("metadata.jsonl").values()
    assert (row["mentions"][0]["heading"], row["mentions"][0]["alt"]) == ("Bears", "A bear")


def test_all_of_them_when_asked_for(here: Here, site: FaultySite) -> None:
    code, _, errors = here.crawl(site.url, "--icons", "--variants", "all", "--fail-above", "30")
    assert code == 0, errors
    names = {url.rpartition("/")[2] for url in here.rows("metadata.jsonl")}
    assert names == {"icon.png", "count.gif", "small.png", "large.png"}
    assert [url.rpartition("/")[2] for url in here.rows("failures.jsonl")] == ["gone.png"]
