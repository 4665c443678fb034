"""What an answer to the request for robots.txt means (RFC 9309, 2.3.1 and 2.5), with one host for each case."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import Enum
from typing import Any, NamedTuple

import pytest

from acceptance.here import Here, page
from robots_cases import LIMIT
from servers.faulty import FaultySite
from servers.pictures import png
from servers.ports import free_port

OPEN, SHUT = "/open.png", "/shut.png"
RULES = "User-agent: *\nDisallow: /shut.png\n"
NOTHING = "User-agent: *\nDisallow: /\n"
ROBOTS = "/robots.txt"
TEXT = "text/plain"


class May(Enum):
    """Which images of a host may be asked for."""

    ALL = (OPEN, SHUT)
    BY_RULES = (OPEN,)
    NONE = ()


class Case(NamedTuple):
    name: str
    may: May
    arrange: Callable[[FaultySite, FaultySite], None]  #: what the host answers, and another one that it may lead to


def answers(
    body: bytes | str, status: int = 200, kind: str = TEXT, **headers: str
) -> Callable[[FaultySite, Any], None]:
    """Return an arrangement: robots.txt is answered at once."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda site, _: site.add(ROBOTS, body, kind, status, named)


def leads(location: str, status: int = 302) -> Callable[[FaultySite, FaultySite], None]:
    """Return an arrangement: robots.txt redirects to `location`, where `{other}` is the other host."""
    return lambda site, other: site.redirect(ROBOTS, location.format(other=other.url), status)


def moved_here(site: FaultySite, other: FaultySite) -> None:
    site.redirect(ROBOTS, "rules/robots.txt", 301)
    site.add("/rules/robots.txt", RULES, TEXT)


def hops(statuses: list[int], last: str) -> Callable[[FaultySite, FaultySite], None]:
    """Return an arrangement: redirects between both hosts, one for each status, and then a file."""

    def arrange(site: FaultySite, other: FaultySite) -> None:
        at, where = site, ROBOTS
        for number, status in enumerate(statuses):
            then, name = (other, site)[number % 2], f"/{len(statuses)}/{number}"
            at.redirect(where, then.url + name, status)
            at, where = then, name
        at.add(where, last, TEXT)

    return arrange


def circle(site: FaultySite, other: FaultySite) -> None:
    site.redirect(ROBOTS, other.url + "/circle")
    other.redirect("/circle", site.url + ROBOTS)


def leads_to_nobody(site: FaultySite, other: FaultySite) -> None:
    site.redirect(ROBOTS, f"http://127.0.0.1:{free_port()}/robots.txt")


def leads_to_the_first_page(site: FaultySite, other: FaultySite) -> None:
    site.redirect(ROBOTS, "/")
    site.add("/", page(OPEN), "text/html")


def long_file(rest: int) -> str:
    """Return a file with a rule in the last bytes within the limit, and `rest` more bytes."""
    first, last = "User-agent: *\n#", f"\nDisallow: {SHUT}\n"
    return first + "x" * (LIMIT - len(first) - len(last)) + last + "#" * rest


CASES = [
    Case("200", May.BY_RULES, answers(RULES)),
    Case("200-as-html", May.BY_RULES, answers(RULES, kind="text/html")),
    Case("200-as-octets", May.BY_RULES, answers(RULES, kind="application/octet-stream")),
    Case("200-in-gzip", May.BY_RULES, answers(gzip.compress(RULES.encode()), Content_Encoding="gzip")),
    Case("200-with-a-byte-order-mark", May.BY_RULES, answers("\ufeff" + RULES)),
    Case("200-empty", May.ALL, answers("")),
    Case("200-with-a-page", May.ALL, answers(page(OPEN), kind="text/html")),
    Case("204", May.ALL, answers("", 204)),
    Case("200-slow", May.BY_RULES, lambda site, _: site.slow(ROBOTS, RULES, 1.5, TEXT)),
    Case("200-as-long-as-the-limit", May.BY_RULES, answers(long_file(0))),
    Case("200-longer-than-the-limit", May.BY_RULES, answers(long_file(3_000_000))),
    Case("301-here", May.BY_RULES, moved_here),
    Case("302-to-another-host", May.BY_RULES, leads("{other}/rules")),
    Case("five-redirects", May.BY_RULES, hops([301, 302, 303, 307, 308], RULES)),
    Case("six-redirects", May.ALL, hops([301, 302, 303, 307, 308, 301], NOTHING)),
    Case("redirects-in-a-circle", May.ALL, circle),
    Case("redirect-to-no-url", May.ALL, leads("http://[/robots.txt")),
    Case("redirect-to-the-first-page", May.ALL, leads_to_the_first_page),
    Case("redirect-to-404", May.ALL, leads("{other}/missing", 308)),
    Case("redirect-to-500", May.NONE, leads("{other}/broken", 307)),
    Case("redirect-to-nobody", May.NONE, leads_to_nobody),
    Case("400", May.ALL, answers(NOTHING, 400)),
    Case("401", May.ALL, answers(NOTHING, 401)),
    Case("403", May.ALL, answers(NOTHING, 403)),
    Case("404", May.ALL, answers(NOTHING, 404)),
    Case("410", May.ALL, answers(NOTHING, 410)),
    Case("451", May.ALL, answers(NOTHING, 451)),
    Case("429", May.NONE, answers("User-agent: *\nAllow: /\n", 429)),
    Case("500", May.NONE, answers("User-agent: *\nAllow: /\n", 500)),
    Case("503", May.NONE, answers("User-agent: *\nAllow: /\n", 503)),
    Case("503-once", May.BY_RULES, lambda site, _: site.fail_then(ROBOTS, [503], RULES, TEXT)),
    Case("body-cut-off", May.NONE, lambda site, _: site.cut(ROBOTS, RULES + 999 * "#", 20, TEXT)),
    Case("body-cut-off-once", May.BY_RULES, lambda site, _: site.cut_then(ROBOTS, RULES, 10, TEXT)),
    Case("no-body", May.NONE, lambda site, _: site.cut(ROBOTS, RULES, 0, TEXT)),
    Case("no-answer", May.NONE, lambda site, _: site.hang(ROBOTS)),
]


class Crawled(NamedTuple):
    """What came of all cases: the hosts by name, and which images the ledger has."""

    sites: dict[str, FaultySite]
    stored: set[str]
    errors: str


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawled]:
    """Crawl one page that shows two images of each host."""
    here = Here(tmp_path_factory.mktemp("robots"))
    with ExitStack() as stack:
        stack.callback(here.close)
        first, other = (stack.enter_context(FaultySite()) for _ in range(2))
        sites = {"other": other}
        other.add("/rules", RULES, TEXT)
        other.add("/broken", "broken", TEXT, 500)
        for number, case in enumerate(CASES):
            sites[case.name] = stack.enter_context(FaultySite(f"127.0.0.{number + 2}"))
            case.arrange(sites[case.name], other)
        for number, site in enumerate(sites.values()):
            site.add(OPEN, png(2 * number))
            site.add(SHUT, png(2 * number + 1))
        images = [site.url + path for site in sites.values() for path in May.ALL.value]
        first.add("/", page(*images), "text/html")
        _, _, errors = here.crawl(first.url, "--timeout", "3", "--page-deadline", "3", "--fail-above", "100")
        yield Crawled(sites, set(here.rows("metadata.jsonl")), errors)


def images_of(name: str, crawled: Crawled) -> tuple[set[str], set[str]]:
    """Return the images that a host was asked for, and those of it that are stored."""
    site = crawled.sites[name]
    asked = {request.path for request in site.requests} & set(May.ALL.value)
    return asked, {url.removeprefix(site.url) for url in crawled.stored if url.startswith(site.url + "/")}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_may_be_asked_for(crawled: Crawled, case: Case) -> None:
    asked, stored = images_of(case.name, crawled)
    assert asked == stored == set(case.may.value), crawled.errors


def test_robots_txt_comes_before_all_else(crawled: Crawled) -> None:
    for name, site in crawled.sites.items():
        if name != "other":  # which is asked for what others lead to
            assert site.requests[0].path == ROBOTS, name


def test_rules_that_another_host_serves_are_not_for_itself(crawled: Crawled) -> None:
    asked, stored = images_of("other", crawled)
    assert asked == stored == set(May.ALL.value), crawled.errors


def test_every_hop_is_made_and_no_sixth(crawled: Crawled) -> None:
    requests = {name: [request.path for request in site.requests] for name, site in crawled.sites.items()}
    assert [path for path in requests["other"] if path.startswith("/5/")] == ["/5/0", "/5/2", "/5/4"]
    assert [path for path in requests["five-redirects"] if path.startswith("/5/")] == ["/5/1", "/5/3"]
    assert [path for path in requests["other"] if path.startswith("/6/")] == ["/6/0", "/6/2", "/6/4"]
