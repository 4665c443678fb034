from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pycurl
import pytest

from crawler.errors import UsageError
from crawler.guard import Guard
from crawler.images import transfer as transfers
from crawler.images.engine import Engine, referrer_for
from crawler.images.many import SHARING
from crawler.images.transfer import Handle, Transfer
from crawler.model import ImageDetail, Kind, Task, pack
from crawler.outcomes import Outcome
from crawler.robots import MAX_BYTES
from crawler.spec import Access, Spec
from servers.faulty import CountingServer, FaultySite
from servers.pictures import jpeg
from servers.raw import RawServer, chunk

BODY = jpeg(1)


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as site:
        yield site


@pytest.fixture(params=["few", "many"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make engines, driven as if their connections were few, and as if they were many."""
    monkeypatch.setattr("crawler.images.engine.FEW", 64 if request.param == "few" else 0)
    engines: list[Engine] = []

    def engine(connections: int = 8, allowed: tuple[str, ...] = ("127.0.0.0/8",), **more: Any) -> Engine:
        values: dict[str, Any] = {"job": "j", "user_agent": "crawler/1.0", "max_image_bytes": 1_000_000, **more}
        engines.append(Engine(connections, Spec(**values), Guard(allowed)))
        return engines[-1]

    yield engine
    for each in engines:
        each.close()


def task(url: str, number: int = 1) -> Task:
    return Task(number, Kind.IMAGE, url, url, pack(ImageDetail()))


def run(engine: Engine, *urls: str, seconds: float = 15.0) -> list[Transfer]:
    """Fetch all, as many at a time as the engine takes, and return them in the order of the URLs."""
    waiting = [task(url, number) for number, url in enumerate(urls)]
    ended: list[Transfer] = []
    until = time.monotonic() + seconds
    while len(ended) < len(urls):
        assert time.monotonic() < until, "transfers did not end"
        while waiting and engine.free:
            engine.start(waiting.pop(0), "")
        ended += engine.wait(0.1)
    assert engine.running == 0
    return sorted(ended, key=lambda transfer: transfer.task.number)


def outcome(engine: Engine, url: str) -> tuple[str, bool]:
    (transfer,) = run(engine, url)
    assert transfer.error is not None, transfer
    assert transfer.body == b""
    return transfer.error.outcome, transfer.error.retriable


def test_an_answer(site: FaultySite, make: Any) -> None:
    site.add("/a.jpg", BODY, headers={"ETag": '"1"', "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"})
    (transfer,) = run(make(), site.url + "/a.jpg")
    assert transfer.error is None
    assert (transfer.status, transfer.body, transfer.location) == (200, BODY, "")
    assert transfer.headers == {"etag": '"1"', "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT"}
    assert 0 < transfer.latency < 5
    assert site.headers("/a.jpg")[0]["user-agent"] == "crawler/1.0"


def test_many_transfers(site: FaultySite, make: Any) -> None:
    bodies = {f"/{number}.jpg": jpeg(number, 400 + 97 * number) for number in range(300)}
    for path, body in bodies.items():
        site.add(path, body)
    transfers = run(make(16), *(site.url + path for path in bodies))
    assert [transfer.body for transfer in transfers] == list(bodies.values())
    assert site.most_at_once <= 16


def test_connections_to_a_host_are_used_again_however_many_there_are(site: FaultySite, make: Any) -> None:
    paths = [f"/{number}.jpg" for number in range(500)]
    for path in paths:
        site.slow(path, BODY, 0.2)
    engine = make(3 * SHARING)
    transfers = run(engine, *(site.url + path for path in paths))
    assert {transfer.body for transfer in transfers} == {BODY}
    assert SHARING < site.most_at_once <= 3 * SHARING
    made = site.connections
    assert made <= 3 * SHARING
    site.add("/a.jpg", BODY)
    for _ in range(50):
        assert run(engine, site.url + "/a.jpg")[0].body == BODY
    assert site.connections == made


def test_what_runs_elsewhere_changes_nothing_of_that(site: FaultySite, make: Any) -> None:
    site.add("/a.jpg", BODY)
    engine = make(4 * SHARING)
    with CountingServer() as hanging:
        for number in range(10):
            assert _one(engine, site.url + "/a.jpg")[0].body == BODY
            engine.start(task(f"{hanging.url}/{number}.jpg", 100 + number), "")
        assert site.connections == 1
        engine.abandon()


def test_what_is_abandoned_is_over_at_once(site: FaultySite, make: Any) -> None:
    engine = make(2)
    for number, path in enumerate(("/a.jpg", "/b.jpg")):
        site.hang(path)
        engine.start(task(site.url + path, number), "")
    until = time.monotonic() + 10
    while len(site.requests) < 2:
        assert time.monotonic() < until
        engine.wait(0.05)
    assert sorted(task.number for task in engine.abandon()) == [0, 1]
    assert (engine.running, engine.abandon()) == (0, [])
    site.add("/c.jpg", BODY)
    (transfer,) = run(engine, site.url + "/c.jpg")
    assert transfer.body == BODY
    assert site.most_at_once == 2, "the site has seen the end of both"


def test_one_that_hangs_stops_no_other(site: FaultySite, make: Any) -> None:
    site.hang("/hang")
    site.add("/a.jpg", BODY)
    transfers = run(make(2, timeout=1.0), site.url + "/hang", *[site.url + "/a.jpg"] * 20)
    assert transfers[0].error is not None
    assert all(transfer.body == BODY for transfer in transfers[1:])


@pytest.mark.alone
def test_those_that_are_held_up_take_no_connection_from_the_others(
    site: FaultySite, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawler.images.engine.LAG", 0.1)
    site.drip("/drip.jpg", BODY, 0.05)
    site.add("/a.jpg", BODY)
    engine = make(4, timeout=2.0)
    began = time.monotonic()
    for number in range(4):
        engine.start(task(f"{site.url}/drip.jpg", number), "")
    while not engine.free:
        assert engine.wait(0.1) == []
    good = [transfer for _ in range(20) for transfer in _one(engine, site.url + "/a.jpg")]
    assert [transfer.body for transfer in good] == [BODY] * 20
    assert engine.running == 4 == engine.free, "no more than as many again"
    ended: list[Transfer] = []
    while len(ended) < 4:
        ended += engine.wait(0.1)
    assert {transfer.error and transfer.error.outcome for transfer in ended} == {Outcome.TIMEOUT}
    assert time.monotonic() - began < 2.0 + 1.0
    assert (engine.running, engine.free) == (0, 4)


def test_what_answered_is_known_whatever_fails_later(site: FaultySite, make: Any) -> None:
    site.add("/a.jpg", BODY)
    engine = make(timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert outcome(engine, dead)[0] == Outcome.TIMEOUT
        assert not engine.reach._private
        run(engine, site.url + "/a.jpg")
        assert outcome(engine, dead)[0] == Outcome.TIMEOUT
    assert list(engine.reach._private) == [(socket.AF_INET, ("127.0.0.1", site.port))]


def _one(engine: Engine, url: str) -> list[Transfer]:
    engine.start(task(url, 9), "")
    while not (ended := engine.wait(0.1)):
        pass
    return ended


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_told_not_followed(site: FaultySite, make: Any, status: int) -> None:
    site.redirect("/a.jpg", "/b.jpg", status)
    site.add("/b.jpg", BODY)
    (transfer,) = run(make(), site.url + "/a.jpg")
    assert (transfer.status, transfer.location, transfer.body) == (status, "/b.jpg", b"")
    assert [request.path for request in site.requests] == ["/a.jpg"]


def test_a_redirect_in_another_charset_is_told(site: FaultySite, make: Any) -> None:
    for path, name in (("/utf8.jpg", "b\u00fccher".encode()), ("/latin.jpg", "b\u00fccher".encode("latin-1"))):
        site.redirect(path, f"http://{name.decode('latin-1')}.example/x")
    transfers = run(make(), site.url + "/utf8.jpg", site.url + "/latin.jpg")
    assert [transfer.location for transfer in transfers] == ["http://b\u00fccher.example/x"] * 2


def test_a_redirect_to_a_file_is_only_told(site: FaultySite, make: Any) -> None:
    site.redirect("/a.jpg", "file:///etc/passwd")
    (transfer,) = run(make(), site.url + "/a.jpg")
    assert (transfer.status, transfer.body) == (302, b"")


@pytest.mark.parametrize("status", [404, 410, 429, 503])
def test_a_status_is_an_answer(site: FaultySite, make: Any, status: int) -> None:
    site.add("/a.jpg", b"no", status=status, headers={"Retry-After": "7"})
    (transfer,) = run(make(), site.url + "/a.jpg")
    assert transfer.error is None
    assert (transfer.status, transfer.headers["retry-after"]) == (status, "7")


@pytest.mark.parametrize("how", ["drip", "drip_headers", "hang", "slow"])
@pytest.mark.alone
def test_the_deadline_is_for_all_of_it(site: FaultySite, make: Any, how: str) -> None:
    if how == "hang":
        site.hang("/a.jpg")
    elif how == "slow":
        site.slow("/a.jpg", BODY, 30.0)
    else:
        getattr(site, how)("/a.jpg", BODY, 0.05)
    began = time.monotonic()
    assert outcome(make(timeout=0.5), site.url + "/a.jpg") == (Outcome.TIMEOUT, True)
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(("how", "said"), [("hang", Outcome.TIMEOUT), ("drip", Outcome.TOO_SLOW)])
def test_slow_is_what_has_begun_to_answer(
    site: FaultySite, make: Any, how: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "SLOW_SECONDS", 1)
    if how == "hang":
        site.hang("/a.jpg")
    else:
        site.drip("/a.jpg", BODY, 0.05)
    assert outcome(make(timeout=6.0), site.url + "/a.jpg") == (said, True)


def test_who_has_longer_may_be_silent_for_longer(site: FaultySite, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "SLOW_SECONDS", 1)
    site.slow("/a.jpg", BODY, 2.5)
    assert outcome(make(timeout=6.0), site.url + "/a.jpg") == (Outcome.TIMEOUT, True)
    (transfer,) = run(make(timeout=30.0), site.url + "/a.jpg")
    assert transfer.body == BODY


def test_an_answer_is_never_there_before_it_was_asked_for(make: Any) -> None:
    """libcurl times the request that it made anew, where the server had closed the connection, as beginning later."""
    engine = make()
    handle = Handle(engine._spec, engine._guard, engine._credentials, engine._proxies)
    times = {pycurl.RESPONSE_CODE: 200, pycurl.STARTTRANSFER_TIME: 0.1, pycurl.PRETRANSFER_TIME: 0.2}
    handle.curl, handle.task = SimpleNamespace(getinfo=times.__getitem__), task("http://a.test/")
    assert handle.answer().latency == 0.0


class TestTooLarge:
    def test_as_announced(self, site: FaultySite, make: Any) -> None:
        site.add("/a.jpg", BODY)
        (transfer,) = run(make(max_image_bytes=len(BODY)), site.url + "/a.jpg")
        assert transfer.body == BODY
        assert outcome(make(max_image_bytes=len(BODY) - 1), site.url + "/a.jpg") == (Outcome.TOO_LARGE, False)

    def test_without_an_announcement(self, make: Any) -> None:
        with RawServer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(50_000), 400) as server:
            assert outcome(make(), server.url) == (Outcome.TOO_LARGE, False)
        with RawServer(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 50_000, 400) as server:
            assert outcome(make(), server.url) == (Outcome.TOO_LARGE, False)

    def test_headers_without_end(self, make: Any) -> None:
        line = b"X-Long: " + b"x" * 1000 + b"\r\n"
        with RawServer(b"HTTP/1.1 200 OK\r\n", line, 1_000_000 // len(line)) as server:
            assert outcome(make(timeout=5.0), server.url)[0] == Outcome.PROTOCOL

    def test_more_headers_than_anyone_has(self, make: Any) -> None:
        with RawServer(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n", 60_000) as server:
            assert outcome(make(timeout=5.0), server.url)[0] == Outcome.PROTOCOL

    @pytest.mark.parametrize(("line", "times"), [(b"a:b\r\n", 200_000), (b"a:" + b"b" * 4000 + b"\r\n", 4900)])
    def test_trailers_without_end(self, make: Any, line: bytes, times: int) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n"
        with RawServer(head, line, times) as server:
            assert outcome(make(timeout=5.0), server.url)[0] == Outcome.PROTOCOL

    def test_a_libcurl_that_does_not_bound_them_is_refused(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pycurl.version_info", lambda: (9, "8.12.1", 0x080C01))
        with pytest.raises(UsageError, match=r"8\.12\.1 is too old"):
            make()


class TestCut:
    def test_a_body_that_is_cut_off_is_truncated(self, site: FaultySite, make: Any) -> None:
        site.cut("/a.jpg", BODY, at=1000)
        assert outcome(make(), site.url + "/a.jpg") == (Outcome.TRUNCATED, True)

    def test_also_when_chunked(self, make: Any) -> None:
        with RawServer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(500), 3) as server:
            assert outcome(make(), server.url) == (Outcome.TRUNCATED, True)

    def test_a_connection_that_ends_before_an_answer(self, site: FaultySite, make: Any) -> None:
        with RawServer(b"", b"", 0) as server:
            assert outcome(make(), server.url) == (Outcome.CONNECT, True)

    def test_what_is_no_http(self, make: Any) -> None:
        with RawServer(b"SSH-2.0-OpenSSH_9.6\r\n", b"", 0) as server:
            assert outcome(make(), server.url)[0] == Outcome.PROTOCOL


class TestAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_a_private_one_is_never_connected(self, make: Any, host: str) -> None:
        with CountingServer() as canary:
            (transfer,) = run(make(allowed=()), f"http://{host}:{canary.port}/a.jpg")
            assert transfer.error is not None
            assert (transfer.error.outcome, transfer.error.retriable) == (Outcome.PRIVATE_ADDRESS, False)
            assert "--allow-net" in str(transfer.error)
            assert canary.connections == 0

    def test_nobody_listens(self, site: FaultySite, make: Any) -> None:
        site.close()
        assert outcome(make(), site.url + "/a.jpg") == (Outcome.CONNECT, True)

    def test_no_such_host(self, make: Any) -> None:
        assert outcome(make(), "http://no-such-host.invalid/a.jpg") == (Outcome.DNS, True)

    def test_proxies_of_the_environment_are_not_used(
        self, site: FaultySite, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.add("/a.jpg", BODY)
        with CountingServer() as canary:
            monkeypatch.setenv("http_proxy", canary.url)
            monkeypatch.setenv("all_proxy", canary.url)
            assert run(make(), site.url + "/a.jpg")[0].body == BODY
            assert canary.connections == 0


def test_a_handle_that_is_used_again_remembers_nothing(site: FaultySite, make: Any) -> None:
    site.add("/a.jpg", BODY, headers={"ETag": "1", "Set-Cookie": "a=1"})
    site.add("/b.jpg", b"b")
    engine = make(1)
    engine.start(task(site.url + "/a.jpg"), "https://pages.example/")
    while not engine.wait(0.1):
        pass
    (second,) = run(engine, site.url + "/b.jpg")
    assert second.body == b"b" and "etag" not in second.headers
    assert site.headers("/a.jpg")[0]["referer"] == "https://pages.example/"
    assert not {"referer", "cookie"} & set(site.headers("/b.jpg")[0])


def test_what_ends_while_it_is_sent_is_told(site: FaultySite, make: Any) -> None:
    engine = make(allowed=())
    engine.start(task(site.url), "")
    engine.send()
    (transfer,) = engine.wait(10)
    assert transfer.error is not None and transfer.error.outcome == Outcome.PRIVATE_ADDRESS
    assert engine.wait(0) == []


@pytest.mark.alone
def test_wake_ends_a_wait(make: Any) -> None:
    engine = make()
    for _ in range(100_000):
        engine.wake()
    began = time.monotonic()
    assert engine.wait(5.0) == []
    assert time.monotonic() - began < 1.0
    threading.Timer(0.1, engine.wake).start()
    while time.monotonic() - began < 4.0 and engine.wait(5.0) == [] and time.monotonic() - began < 0.1:
        pass
    assert time.monotonic() - began < 4.0


def test_a_connection_that_is_hung_up_wakes_nobody_and_is_made_anew(make: Any) -> None:
    engine = make()
    kept_alive = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    with RawServer(kept_alive) as server:  # and then it hangs up
        for _ in range(3):
            (transfer,) = run(engine, server.url)
            assert transfer.body == BODY
            turns, until = 0, time.monotonic() + 0.5
            while time.monotonic() < until:
                assert engine.wait(0.1) == []
                turns += 1
            assert turns < 20, "it turns and turns"


def test_descriptors_that_others_took_meanwhile_are_told_apart(site: FaultySite, make: Any) -> None:
    """Connections that are closed give their numbers to others, of which epoll knows nothing yet."""
    site.add("/a.jpg", BODY)
    first, second = make(1), make(1)
    for _ in range(5):
        for engine in (first, second):
            with RawServer(b"HTTP/1.0 200 OK\r\n\r\n" + BODY) as other:
                took = [transfer.body for transfer in run(engine, site.url + "/a.jpg", other.url, seconds=5.0)]
            assert took == [BODY, BODY]


@pytest.mark.parametrize(
    ("url", "page", "expected"),
    [
        ("https://a.example/1.jpg", "https://a.example/p?q", "https://a.example/p?q"),
        ("https://b.example/1.jpg", "https://a.example/p?q", "https://a.example/"),
        ("http://a.example/1.jpg", "https://a.example/p", ""),
        ("https://a.example/1.jpg", "http://a.example/p", "http://a.example/"),
        ("https://a.example/1.jpg", "", ""),
    ],
)
def test_what_is_said_of_the_page(url: str, page: str, expected: str) -> None:
    assert referrer_for(url, page) == expected


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_of_a_long_robots_txt_the_beginning_is_kept(site: FaultySite, make: Any, status: int, packed: bool) -> None:
    text = b"User-agent: *\nDisallow: /private\n" + b"#" * 2_000_000
    if packed:
        site.add("/robots.txt", gzip.compress(text), status=status, headers={"Content-Encoding": "gzip"})
    else:
        site.add("/robots.txt", text, status=status)
    engine = make(1, max_image_bytes=1000)
    url = site.url + "/robots.txt"
    engine.start(Task(1, Kind.ROBOTS, url, url, pack(None)), "")
    ended: list[Transfer] = []
    while not ended:
        ended = engine.wait(0.1)
    assert (ended[0].status, ended[0].error) == (status, None)
    assert ended[0].body == text[:MAX_BYTES]
    site.add("/a.jpg", b"x" * 2000)
    assert outcome(engine, site.url + "/a.jpg")[0] == "too_large", "the next one is bounded as an image"


@pytest.mark.parametrize("length", [b"0", b"500000", b"100000000"], ids=["empty", "short", "too long"])
@pytest.mark.parametrize(
    ("field", "rule"),
    [
        (b"X-Robots-Tag: noai\n", "noai: noai"),
        (b"X-Robots-Tag : noai\r\n", "noai: noai"),
        (b"x-robots-tag:a: all\r\nX-ROBOTS-TAG:noai\r\n", "noai: noai"),
        (b"tdm-reservation: 1\r\n", "tdm: tdm-reservation"),
        (b"X-Robots-Tag: noai\r\nHTTP/x: y\r\n", "noai: noai"),
    ],
)
@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK", b"HTTP/1.1 200"])
def test_what_is_to_be_left_alone_is_not_read_to_its_end(
    make: Any, status: bytes, field: bytes, rule: str, length: bytes
) -> None:
    end = b"\n" if field.endswith(b"i\n") else b"\r\n"
    head = status + end + b"Content-Length: " + length + end + field + end
    with RawServer(head, b"x" * 10_000, 50) as server:
        (transfer,) = run(make(obeyed=("noai", "tdm")), server.url + "/a.jpg")
    assert transfer.error is not None
    assert (transfer.error.outcome, str(transfer.error), transfer.body) == (Outcome.OPTED_OUT, rule, b"")


def test_headers_of_a_notice_before_the_answer_do_not_count(make: Any) -> None:
    notice = b"HTTP/1.1 103 Early Hints\r\nETag: early\r\nX-Robots-Tag: noai\r\n\r\n"
    with RawServer(notice + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: late\r\n\r\n", b"x", 1) as server:
        (transfer,) = run(make(obeyed=("noai",)), server.url + "/a.jpg")
    assert (transfer.error, transfer.body, transfer.headers) == (None, b"x", {"etag": "late"})


def test_a_person_says_who_referred(site: FaultySite, make: Any) -> None:
    site.add("/a.jpg", BODY)
    where = site.url.removeprefix("http://")
    run(make(access=Access(headers=((where, "Referer", "https://mine.example/"),))), site.url + "/a.jpg")
    assert site.headers("/a.jpg")[0]["referer"] == "https://mine.example/"
