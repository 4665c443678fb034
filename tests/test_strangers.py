"""What a site may see of who we are stays with it: over redirects, over proxies, for pages and images."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from crawler import answers
from crawler.errors import FetchError
from crawler.guard import Guard
from crawler.images.engine import Engine, referrer_for
from crawler.model import ImageDetail, Kind, PageDetail, Task, pack
from crawler.pages.session import PageSession
from crawler.proxies import Proxies
from crawler.spec import Access, Cookie, Spec
from servers.faulty import FaultySite

SECRETS = ("authorization", "cookie", "x-key", "proxy-authorization")
OPEN = Guard(["127.0.0.0/8"])


def access_to(url: str, host: str, port: str) -> Access:
    """Return a header, an Authorization and a cookie for one place."""
    place = url.removeprefix("http://")
    cookie = Cookie(domain=host, subdomains=True, path="/", secure=False, ports=(port,), expires=0, name="k", value="v")
    return Access(cookies=(cookie,), headers=((place, "X-Key", "1"), (place, "Authorization", "Basic bWU6aXQ=")))


def as_page(url: str, guard: Guard, access: Access, proxy: str = "") -> None:
    """Ask for a page and for what it redirects to, as the loop does."""
    session = PageSession(guard, "crawler/1.0", 2.0, access=access, proxies=Proxies(proxy))
    task = Task(1, Kind.PAGE, url, url, pack(PageDetail()))
    for _ in range(2):  # the second time with what the first has set
        task.at = url
        while location := session.get(task.at, 5, 10_000, lambda _: True).headers.get("location"):
            task.at = answers.follow(task, location, 5).move.at


def as_image(url: str, guard: Guard, access: Access, proxy: str = "", page: str = "") -> None:
    """Ask for an image and for what it redirects to, as the loop does, with one handle."""
    engine = Engine(1, Spec(job="j", user_agent="crawler/1.0", access=access, proxy=proxy), guard)
    task, until = Task(1, Kind.IMAGE, url, url, pack(ImageDetail())), time.monotonic() + 10
    engine.start(task, referrer_for(task.at, page))
    while engine.running and time.monotonic() < until:
        for transfer in engine.wait(0.1):
            if transfer.error is not None:
                raise transfer.error
            if transfer.location:
                task.at = answers.follow(task, transfer.location, 5).move.at
                engine.start(task, referrer_for(task.at, page))
    engine.close()


@pytest.fixture
def home() -> Iterator[FaultySite]:
    with FaultySite() as made:
        yield made


@pytest.mark.parametrize("ask", [as_page, as_image])
@pytest.mark.parametrize("where", ["127.0.0.1", "127.0.0.2"], ids=["another port", "another host"])
@pytest.mark.parametrize("user", ["", "ann:it@"], ids=["plainly", "with a user"])
def test_a_redirect_takes_nothing_along(home: FaultySite, ask: Any, where: str, user: str) -> None:
    with FaultySite(where) as other:
        target = f"http://{user}{where}:{other.port}/there"
        home.add("/x", b"", "text/html", 302, {"Location": target, "Set-Cookie": "sid=1; Domain=127.0.0.1; Path=/"})
        other.add("/there", b"", "text/html", 302, {"Location": f"{home.url}/back"})
        home.add("/back", b"home", "text/html")
        ask(f"{home.url}/x", OPEN, access_to(home.url, "127.0.0.1", str(home.port)))
        assert other.headers("/there")
        for headers in other.headers("/there"):
            assert not set(SECRETS) & headers.keys()
        for headers in [*home.headers("/x"), *home.headers("/back")]:
            assert headers["authorization"] == "Basic bWU6aXQ=" and headers["x-key"] == "1"
            assert headers["cookie"].startswith("k=v")
        assert home.headers("/x")[-1]["cookie"] == ("k=v; sid=1" if ask is as_page else "k=v")


def test_an_image_elsewhere_hears_of_the_site_and_not_of_the_page(home: FaultySite) -> None:
    """A browser's default, `strict-origin-when-cross-origin`; at each redirect anew, for it is another's question."""
    with FaultySite("127.0.0.2") as other:
        home.redirect("/x", f"{other.url}/there")
        other.redirect("/there", f"{home.url}/back")
        home.add("/back", b"home")
        page = f"{home.url}/secret?token=1"
        as_image(f"{home.url}/x", OPEN, Access(), page=page)
        assert [headers["referer"] for headers in home.headers("/x") + home.headers("/back")] == [page, page]
        assert [headers["referer"] for headers in other.headers("/there")] == [home.url + "/"]


def test_a_page_elsewhere_hears_of_nothing(home: FaultySite) -> None:
    home.redirect("/x", "/y")
    home.add("/y", b"", "text/html")
    as_page(f"{home.url}/x", OPEN, Access())
    assert not [headers for headers in home.headers("/x") + home.headers("/y") if "referer" in headers]


@pytest.mark.parametrize("ask", [as_page, as_image])
def test_a_proxy_is_told_where_to_connect_and_nothing_else(ask: Any) -> None:
    place = "https://secret.invalid"
    access = access_to(place, "secret.invalid", "")
    with Refusing() as proxy, pytest.raises(FetchError):
        ask(f"{place}/path", Guard(), access, proxy=f"http://ann:it@127.0.0.1:{proxy.port}")
    said = proxy.said.decode().lower()
    assert said.startswith("connect secret.invalid:443 http/1.") and "proxy-authorization: basic yw5uoml0" in said
    for secret in ("\r\nauthorization:", "cookie:", "x-key:", "/path", "referer:"):
        assert secret not in said


def test_a_site_is_not_told_of_the_proxy(home: FaultySite) -> None:
    """What is for the proxy is in a request that goes to it alone; a direct one afterwards has none of it."""
    home.add("http://a.invalid/", b"by the proxy", "text/html")
    home.add("/direct", b"", "text/html")
    proxied = f"http://ann:it@127.0.0.1:{home.port}"
    as_image("http://a.invalid/", Guard(), Access(), proxy=proxied)
    as_page("http://a.invalid/", Guard(), Access(), proxy=proxied)
    as_image(f"{home.url}/direct", OPEN, Access())
    as_page(f"{home.url}/direct", OPEN, Access())
    assert {headers.get("proxy-authorization") for headers in home.headers("http://a.invalid/")} == {"Basic YW5uOml0"}
    assert not [headers for headers in home.headers("/direct") if "proxy-authorization" in headers]


class Refusing:
    """A proxy that remembers the head of the first request, and refuses it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.said = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Refusing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while b"\r\n\r\n" not in self.said and (data := connection.recv(65536)):
                self.said += data
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
