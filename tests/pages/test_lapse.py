"""A page process that is cut off from its broker for longer than its lease asks nothing of a host any more."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from crawler import contracts
from crawler.errors import BrokerUnreachable
from crawler.model import Grant, Kind, PageDetail, Reply, Report, Settlement, State, Task, Verb, pack
from crawler.pages.loop import PageLoop
from crawler.spec import Spec
from servers.faulty import CountingServer, FaultySite

LEASE = 1.0
HTML = "<html><body>" + "x" * 5000


class Broker:
    """Gives one page out; it is finished when it hears of that."""

    def __init__(self, url: str) -> None:
        self.waiting = [Task(1, Kind.PAGE, url, url, pack(PageDetail()))]
        self.grants = {url.split("/")[2]: Grant(4)}
        self.away = threading.Event()
        self.settled: list[Settlement] = []
        self.heard = 0.0

    def exchange(self, worker: str, report: Report) -> Reply:
        if self.away.is_set():
            raise BrokerUnreachable("it is away")
        self.heard = time.monotonic()
        self.settled += report.settlements
        tasks, self.waiting = self.waiting, []
        return Reply(
            serial=1, state=State.FINISHED if self.settled else State.OPEN, tasks=tasks, grants=self.grants,
            retry_in=0.01, spec_digest="1",
        )  # fmt: skip

    def robots(self, digest: str) -> str:
        return ""


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as site:
        yield site


def cut_off(broker: Broker, while_under_way: Callable[[], object], until: Callable[[], object]) -> None:
    """Work for the broker, which is away from the one on, and back at the other."""
    spec = Spec(
        job="j", lease=LEASE, allow_net=("127.0.0.0/8",), user_agent="crawler/1", obeyed=("tdm",), sitemaps=False
    )  # fmt: skip
    loop = PageLoop(cast(contracts.Broker, broker), "w1", spec, patience=60.0)
    end, turns = time.monotonic() + 20.0, iter((while_under_way, until))
    awaited: Callable[[], object] | None = next(turns)

    def alive() -> bool:
        nonlocal awaited
        assert time.monotonic() < end, "it does not end"
        if awaited is not None and awaited():
            (broker.away.clear if broker.away.is_set() else broker.away.set)()
            awaited = next(turns, None)
        return True

    loop.run(alive)


def under_way(site: FaultySite) -> int:
    with site._records._lock:
        return len(site._records._open)


@pytest.mark.parametrize("how", ["no answer", "headers", "body", "of its site"])
@pytest.mark.alone
def test_a_request_under_way_ends_with_the_lease_and_its_page_goes_back(site: FaultySite, how: str) -> None:
    slow = "/page"
    if how == "no answer":
        site.hang("/page")
    elif how == "headers":
        site.drip_headers("/page", HTML, 0.05, "text/html")
    elif how == "body":
        site.drip("/page", HTML, 0.05, "text/html")
    else:
        slow = "/.well-known/tdmrep.json"
        site.add("/page", HTML, "text/html")
        site.hang(slow)
    broker = Broker(f"{site.url}/page")
    ended: list[float] = []

    def is_over() -> bool:
        if not under_way(site) and not ended:
            ended.append(time.monotonic())
        return time.monotonic() > broker.heard + LEASE + 0.5

    cut_off(broker, lambda: any(request.path == slow for request in site.requests), is_over)
    assert [(said.number, said.verb) for said in broker.settled] == [(1, Verb.RETURNED)]
    assert ended and ended[0] < broker.heard + LEASE
    assert [request.path for request in site.requests].count(slow) == 1, "it was asked again"


def test_a_request_that_waits_for_a_name_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, known = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slowly(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        assert known.wait(10)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with CountingServer() as server:
        broker = Broker(f"http://127.0.0.1:{server.port}/page")

        def has_lapsed() -> bool:
            if time.monotonic() > broker.heard + LEASE:
                known.set()
            return time.monotonic() > broker.heard + LEASE + 0.5

        cut_off(broker, asked.is_set, has_lapsed)
        assert server.connections == 0
    assert [said.verb for said in broker.settled] == [Verb.RETURNED]
