"""Nothing that the web names leads to an address that is not open: a canary counts connections and bytes, 0 allowed.

The real engine and the real session are asked, as the loops ask them: each redirect is a request of its own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pycurl
import pytest

from crawler import answers
from crawler.errors import FetchError
from crawler.guard import Guard
from crawler.images.engine import Engine
from crawler.images.transfer import Handle
from crawler.model import ImageDetail, Kind, PageDetail, Task, pack
from crawler.outcomes import Outcome
from crawler.pages.session import PageSession
from crawler.proxies import Proxies
from crawler.spec import Spec
from crawler.urls import normalise
from hostile_urls import ALL, CLOSED, LOOPBACK, at
from servers.faulty import CountingServer, FaultySite

#: The address that `--allow-net` opens in these tests; 127.0.0.1 stays shut.
OPEN, OPENED = "127.0.0.2", "127.0.0.2/32"
BASE = f"http://{OPEN}/"
Fetch = Callable[[list[str]], list[str]]


@pytest.fixture
def canary() -> Iterator[CountingServer]:
    with CountingServer("::") as made:
        yield made


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite(OPEN) as made:
        made.add("/good", b"good", "text/html")
        yield made


def images(kind: Kind, guard: Guard, seconds: float = 5.0, **more: Any) -> Fetch:
    """Return what asks for URLs by libcurl, redirects too, and says how each ended: an outcome, or its body."""
    engine = Engine(64, Spec(job="j", user_agent="crawler/1.0", timeout=seconds, **more), guard)

    def fetch(urls: list[str]) -> list[str]:
        waiting = [Task(number, kind, url, url, pack(ImageDetail())) for number, url in enumerate(urls)]
        ended, until = [""] * len(urls), time.monotonic() + 15
        while waiting or engine.running:
            assert time.monotonic() < until, "transfers did not end"
            while waiting and engine.free:
                engine.start(waiting.pop(), "")
            for transfer in engine.wait(0.1):
                try:
                    if transfer.error is not None:
                        raise transfer.error
                    if transfer.location:
                        waiting.append(followed(transfer.task, transfer.location))
                    ended[transfer.task.number] = transfer.body.decode()
                except FetchError as error:
                    ended[transfer.task.number] = error.outcome
        return ended

    return fetch


def pages(guard: Guard, seconds: float = 5.0, **more: Any) -> Fetch:
    """Return the same for pages, by requests."""
    session = PageSession(guard, "crawler/1.0", seconds, **more)

    def fetch_one(url: str) -> str:
        task = Task(1, Kind.PAGE, url, url, pack(PageDetail()))
        try:
            while True:
                page = session.get(task.at, seconds, 10_000, lambda _: True)
                if "location" not in page.headers:
                    return page.body.decode()
                task = followed(task, page.headers["location"])
        except FetchError as error:
            return error.outcome

    def fetch(urls: list[str]) -> list[str]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(fetch_one, urls))

    return fetch


def followed(task: Task, location: str) -> Task:
    move = answers.follow(task, location, 5).move
    return Task(task.number, task.kind, task.url, move.at, task.detail, move.hops)


def fetches(guard: Guard, seconds: float = 5.0) -> dict[str, Fetch]:
    return {
        "image": images(Kind.IMAGE, guard, seconds),
        "robots": images(Kind.ROBOTS, guard, seconds),
        "page": pages(guard, seconds),
    }


@pytest.mark.parametrize("role", ["image", "robots", "page"])
class TestCanary:
    def test_directly(self, canary: CountingServer, role: str) -> None:
        urls = [url for text in at(canary.port) if (url := normalise(text, BASE))]
        outcomes = dict(zip(urls, fetches(Guard([OPENED]))[role](urls), strict=True))
        assert (canary.connections, canary.received) == (0, 0)
        assert len(urls) >= len(LOOPBACK + CLOSED)
        assert not [url for url, said in outcomes.items() if said != Outcome.PRIVATE_ADDRESS and ".invalid" not in url]

    def test_as_strangers_wrote_them(self, canary: CountingServer, role: str) -> None:
        """Not one depends on the normalisation of URLs that stands before: the libraries' own parsers decide here."""
        urls = [url for url in at(canary.port) if url.isascii() and "://" in url]
        outcomes = fetches(Guard([OPENED]))[role](urls)
        assert (canary.connections, canary.received) == (0, 0)
        assert all(outcomes)

    def test_by_redirect_from_a_permitted_server(self, canary: CountingServer, site: FaultySite, role: str) -> None:
        for number, text in enumerate(at(canary.port)):
            site.redirect(f"/{number}", text.encode().decode("latin-1"))
        outcomes = fetches(Guard([OPENED]))[role]([f"{site.url}/{number}" for number in range(len(ALL))])
        assert (canary.connections, canary.received) == (0, 0)
        assert len(site.requests) == len(ALL), "each was redirected"
        refused = {Outcome.PRIVATE_ADDRESS, Outcome.BAD_URL}
        said = dict(zip(ALL, outcomes, strict=True))
        assert not [text for text, outcome in said.items() if outcome not in refused and ".invalid" not in text]

    def test_what_is_opened_works(self, site: FaultySite, role: str) -> None:
        assert fetches(Guard([OPENED]))[role]([site.url + "/good"]) == ["good"]

    def test_the_canary_would_have_sung(self, canary: CountingServer, role: str) -> None:
        """With this machine opened every vector reaches it, so none of the above passes for want of a way."""
        fetch = fetches(Guard(["127.0.0.0/8", "::1", "0.0.0.0"]), 0.5)[role]
        fetch([str(normalise(text, BASE)) for text in at(canary.port, LOOPBACK)])
        assert canary.connections >= len(LOOPBACK) and canary.received > 10 * len(LOOPBACK)


class TestNames:
    """Names whose addresses an attacker chooses.

    For pages the system's resolver is replaced. libcurl has a resolver of its own: its cache of names is filled as an
    answer would fill it, which is what it connects by.
    """

    @pytest.fixture(params=["image", "robots", "page"])
    def fetch(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[int, list[str]], list[str]]:
        """Return what asks for `/good` at a name that has these addresses now, over a new connection."""
        ways = fetches(Guard([OPENED]))
        known: list[str] = []
        prepare = Handle.prepare

        def resolved(name: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

        def prepared(handle: Handle, task: Task, *rest: Any) -> None:
            prepare(handle, task, *rest)
            place = task.at.partition("://")[2].partition("/")[0]
            handle.curl.setopt(pycurl.RESOLVE, [f"-{place}", f"{place}:{','.join(known)}"])
            handle.curl.setopt(pycurl.FRESH_CONNECT, 1)

        monkeypatch.setattr(Handle, "prepare", prepared)
        monkeypatch.setattr("crawler.pages.session.socket.getaddrinfo", resolved)

        def fetch(port: int, addresses: list[str]) -> list[str]:
            known[:] = addresses
            return ways[request.param]([f"http://name.test:{port}/good"])

        return fetch

    def test_one_that_changes_between_look_ups(self, fetch: Any, site: FaultySite) -> None:
        site.add("/good", b"good", "text/html", headers={"Connection": "close"})
        with CountingServer("127.0.0.1", site.port) as canary:
            assert fetch(site.port, [OPEN]) == ["good"]
            assert fetch(site.port, ["127.0.0.1"]) == [Outcome.PRIVATE_ADDRESS]
            assert fetch(site.port, [OPEN]) == ["good"]
            assert (canary.connections, canary.received) == (0, 0)

    @pytest.mark.parametrize("addresses", [[OPEN, "127.0.0.1"], ["127.0.0.1", OPEN]])
    def test_one_with_an_open_and_a_private_address(self, fetch: Any, addresses: list[str]) -> None:
        """Nobody answers at the open one, so that the next is tried."""
        with CountingServer("127.0.0.1") as canary:
            assert fetch(canary.port, addresses) in ([Outcome.PRIVATE_ADDRESS], [Outcome.CONNECT])
            assert (canary.connections, canary.received) == (0, 0)


@pytest.mark.parametrize("role", ["image", "robots", "page"])
@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0", "127.0.0.9"])
def test_no_range_opens_our_own_broker(canary: CountingServer, site: FaultySite, role: str, listening: str) -> None:
    guard = Guard(["127.0.0.0/8", "0.0.0.0", "::1"], [(listening, canary.port)])
    urls = [str(normalise(text, BASE)) for text in at(canary.port, LOOPBACK)]
    assert set(fetches(guard)[role](urls)) == {Outcome.PRIVATE_ADDRESS}
    assert (canary.connections, canary.received) == (0, 0)
    assert fetches(guard)[role]([site.url + "/good"]) == ["good"], "other ports are open"


class TestProxies:
    """A proxy that the user names is connected wherever it is; what the web names goes through it or nowhere."""

    @pytest.fixture(params=["image", "robots", "page"])
    def fetch(self, request: pytest.FixtureRequest) -> Callable[..., list[str]]:
        def fetch(url: str, guard: Guard, *, proxy: str = "", environment: bool = False) -> list[str]:
            if request.param == "page":
                return pages(guard, proxies=Proxies(proxy, of_environment=environment))([url])
            kind = Kind.IMAGE if request.param == "image" else Kind.ROBOTS
            return images(kind, guard, proxy=proxy, proxy_env=environment)([url])

        return fetch

    def test_one_that_is_named(self, fetch: Any, site: FaultySite, canary: CountingServer, monkeypatch: Any) -> None:
        """Not even the environment's own exceptions send a request past it, to an address that nobody checked."""
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("NO_PROXY", "*")
        for place in ("public.invalid", f"127.0.0.1:{canary.port}"):
            site.add(f"http://{place}/", b"by the proxy", "text/html")
            url = f"http://{place}/"
            proxy = f"http://ann:secret@{OPEN}:{site.port}"
            assert fetch(url, Guard(), proxy=proxy) == ["by the proxy"]
            assert site.headers(url)[0]["proxy-authorization"] == "Basic YW5uOnNlY3JldA=="
        assert (canary.connections, canary.received) == (0, 0)

    def test_our_own_broker_is_none(self, fetch: Any, canary: CountingServer) -> None:
        guard = Guard(["127.0.0.0/8"], [("127.0.0.1", canary.port)])
        assert fetch("http://public.invalid/", guard, proxy=f"http://127.0.0.1:{canary.port}") == ["private_address"]
        assert (canary.connections, canary.received) == (0, 0)

    def test_those_of_the_environment_where_asked_for(
        self, fetch: Any, site: FaultySite, canary: CountingServer, monkeypatch: Any
    ) -> None:
        site.add("http://public.invalid/", b"by the proxy", "text/html")
        monkeypatch.setenv("http_proxy", site.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetch("http://public.invalid/", Guard()) == [Outcome.DNS]
        assert fetch("http://public.invalid/", Guard(), environment=True) == ["by the proxy"]
        assert fetch(canary.url.replace("::", "127.0.0.1"), Guard(), environment=True) == [Outcome.PRIVATE_ADDRESS]
        assert (canary.connections, canary.received) == (0, 0)

    def test_one_that_is_not_there_is_no_fault_of_the_site(self, site: FaultySite) -> None:
        site.close()
        for url in ("http://public.invalid/", "https://public.invalid/"):
            with pytest.raises(FetchError) as caught:
                PageSession(Guard(), "crawler/1.0", 2.0, proxies=Proxies(site.url)).get(url, 5, 100, lambda _: True)
            assert (caught.value.outcome, caught.value.suspect) == (Outcome.CONNECT, True)
            engine = Engine(1, Spec(job="j", user_agent="crawler/1.0", proxy=site.url), Guard())
            engine.start(Task(1, Kind.IMAGE, url, url, pack(ImageDetail())), "")
            while not (ended := engine.wait(0.1)):
                pass
            assert ended[0].error is not None
            assert (ended[0].error.outcome, ended[0].error.suspect) == (Outcome.CONNECT, True)
            engine.close()
