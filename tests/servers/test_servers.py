import http.client
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers.faulty import CountingServer, FaultySite
from servers.nginx import Nginx, nginx_available
from servers.pictures import bmp, gif, jpeg, png

KINDS: dict[str, Callable[[int], bytes]] = {"PNG": png, "GIF": gif, "BMP": bmp, "JPEG": jpeg}


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as site:
        yield site


class TestPictures:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_seed_is_one_picture_and_another_seed_another(self, kind: str) -> None:
        make = KINDS[kind]
        assert make(7) == make(7)
        assert len({make(seed) for seed in range(-50, 50)}) == 100

    @pytest.mark.parametrize(("kind", "start"), [("PNG", b"\x89PNG\r\n\x1a\n"), ("GIF", b"GIF89a"), ("BMP", b"BM")])
    def test_formats_begin_as_they_should(self, kind: str, start: bytes) -> None:
        assert KINDS[kind](1).startswith(start)

    @pytest.mark.parametrize("size", [400, 12_000, 65_900, 200_000])
    def test_jpeg_is_of_the_size_asked_for_and_whole(self, size: int) -> None:
        picture = jpeg(3, size)
        assert len(picture) == size
        markers = list(jpeg_markers(picture))
        assert markers[0] == 0xE0 and markers[-1] == 0xDA
        assert {0xFE, 0xDB, 0xC0, 0xC4} <= set(markers)
        assert picture.endswith(b"\xff\xd9")

    def test_jpeg_refuses_a_size_too_small(self) -> None:
        with pytest.raises(ValueError, match="the smallest is"):
            jpeg(1, 100)
        smallest = next(size for size in range(100, 1000) if _fits(size))
        assert len(jpeg(1, smallest)) == smallest

    @pytest.mark.parametrize("kind", KINDS)
    def test_pillow_decodes_them(self, kind: str) -> None:
        pillow = pytest.importorskip("PIL.Image")
        with pillow.open(io.BytesIO(KINDS[kind](5))) as picture:
            picture.load()
            assert picture.format == kind
            assert picture.size == ((16, 16) if kind == "JPEG" else (8, 8))

    def test_png_has_the_dimensions_asked_for(self) -> None:
        assert struct.unpack(">II", png(1, width=31, height=2)[16:24]) == (31, 2)


class TestFaultySite:
    def test_serves_what_was_added_and_keeps_the_connection(self, site: FaultySite) -> None:
        site.add("/a.png?v=1", png(1), headers={"ETag": '"one"'})
        connection = http.client.HTTPConnection(site.address, site.port, timeout=5)
        answers = []
        for path in ("/a.png?v=1", "/robots.txt", "/a.png?v=1"):
            connection.request("GET", path, headers={"X-Worker": "w1"})
            with connection.getresponse() as response:
                answers.append((response.status, response.getheader("ETag"), response.read()))
        connection.close()
        assert answers[0] == answers[2] == (200, '"one"', png(1))
        assert answers[1][0] == 404
        assert [request[1:] for request in site.requests][:2] == [
            ("GET", "/a.png?v=1", 200),
            ("GET", "/robots.txt", 404),
        ]
        assert site.headers("/robots.txt")[0]["x-worker"] == "w1"
        assert site.most_at_once == 1

    def test_head_has_the_length_and_no_body(self, site: FaultySite) -> None:
        site.add("/", "<p>hello")
        answer = raw(site, "/", method="HEAD")
        assert b"Content-Length: 8\r\n" in answer and answer.endswith(b"\r\n\r\n")

    def test_content_type_follows_the_name(self, site: FaultySite) -> None:
        site.add("/", "<p>")
        site.add("/x.webp", b"")
        site.add("/y.png", b"", content_type="text/plain")
        kinds = [get(site, path)[2].get("Content-Type") for path in ("/", "/x.webp", "/y.png")]
        assert kinds == ["text/html; charset=utf-8", "image/webp", "text/plain"]

    def test_fail_then_fails_in_turn(self, site: FaultySite) -> None:
        site.fail_then("/a", [503, 500], b"at last")
        assert [get(site, "/a")[:2] for _ in range(4)] == [(503, b"503"), (500, b"500")] + [(200, b"at last")] * 2

    def test_retry_after_says_when(self, site: FaultySite) -> None:
        site.retry_after("/a", b"body", value="2")
        status, _, headers = get(site, "/a")
        assert (status, headers["Retry-After"]) == (429, "2")
        assert get(site, "/a")[:2] == (200, b"body")

    def test_cut_promises_all_and_sends_less(self, site: FaultySite) -> None:
        site.cut("/a", b"x" * 100, at=30)
        for _ in range(2):
            with pytest.raises(http.client.IncompleteRead) as error:
                get(site, "/a")
            assert (len(error.value.partial), error.value.expected) == (30, 70)

    def test_cut_then_sends_the_whole_the_second_time(self, site: FaultySite) -> None:
        site.cut_then("/a", b"x" * 100, at=30)
        with pytest.raises(http.client.IncompleteRead):
            get(site, "/a")
        assert get(site, "/a")[:2] == (200, b"x" * 100)

    def test_drip_drips(self, site: FaultySite) -> None:
        site.drip("/a", b"0123456789", seconds_per_byte=0.02)
        with socket.create_connection((site.address, site.port), timeout=5) as connection:
            connection.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            pieces = list(iter(lambda: connection.recv(4096), b""))
        assert len(pieces) > 5
        assert b"".join(pieces).endswith(b"0123456789")
        assert elapsed(lambda: get(site, "/a")) >= 0.2

    def test_drip_headers_drips_before_the_body(self, site: FaultySite) -> None:
        site.drip_headers("/a", b"body", seconds_per_byte=0.001)
        assert elapsed(lambda: get(site, "/a")) >= 0.05
        assert get(site, "/a")[:2] == (200, b"body")

    def test_slow_waits_and_then_answers(self, site: FaultySite) -> None:
        site.slow("/a", b"body", delay=0.1)
        assert elapsed(lambda: get(site, "/a")) >= 0.1

    def test_hang_never_answers(self, site: FaultySite) -> None:
        site.hang("/a")
        with pytest.raises(TimeoutError):
            get(site, "/a", timeout=0.1)
        assert [request[1:] for request in site.requests] == [("GET", "/a", 0)]

    def test_redirects(self, site: FaultySite) -> None:
        site.redirect("/a", "/b")
        site.redirect("/b", "/a", status=308)
        answers = [get(site, path) for path in ("/a", "/b")]
        assert [(status, headers["Location"]) for status, _, headers in answers] == [(302, "/b"), (308, "/a")]

    def test_most_at_once_counts_overlapping_requests(self, site: FaultySite) -> None:
        site.slow("/a", b"body", delay=1.5)
        together(5, lambda: get(site, "/a"))
        assert site.most_at_once == 5
        assert max(site.gaps()) < 0

    def test_most_at_once_is_one_for_one_at_a_time(self, site: FaultySite) -> None:
        site.add("/a", b"x" * 300_000)
        for _ in range(100):
            get(site, "/a")
        assert site.most_at_once == 1
        assert min(site.gaps()) >= 0

    def test_a_request_given_up_no_longer_counts(self, site: FaultySite) -> None:
        site.hang("/a")
        for _ in range(5):
            with pytest.raises(TimeoutError):
                get(site, "/a", timeout=0.02)
        assert site.most_at_once == 1

    def test_gaps_are_counted_from_the_end_of_the_last(self, site: FaultySite) -> None:
        site.slow("/a", b"body", delay=0.3)
        site.add("/b")
        for path in ("/a", "/b", "/a"):
            get(site, path)
            time.sleep(0.05)
        assert len(site.gaps()) == 2 and all(0.05 <= gap < 0.3 for gap in site.gaps())
        assert len(site.gaps("/a")) == 1

    @pytest.mark.alone
    def test_close_ends_within_a_second_whatever_is_under_way(self) -> None:
        site = FaultySite()
        site.hang("/hang")
        site.slow("/slow", b"x", delay=60)
        site.drip("/drip", b"x" * 1000, seconds_per_byte=10)
        site.add("/large", b"x" * 50_000_000)
        connections = [ask(site, path) for path in ("/hang", "/slow", "/drip", "/large")]
        wait_until(lambda: len(site.requests) == 4)
        assert elapsed(site.close) < 1
        for connection in connections:
            with connection:
                assert drained(connection)
        with pytest.raises(ConnectionRefusedError):
            get(site, "/hang")
        site.close()

    def test_another_address_and_a_port_used_before(self) -> None:
        with FaultySite("127.0.0.2") as site:
            site.add("/a")
            assert site.url == f"http://127.0.0.2:{site.port}"
            assert get(site, "/a")[0] == 200
        with FaultySite("127.0.0.2", site.port) as again:
            assert get(again, "/a")[0] == 404


class TestCountingServer:
    def test_counts_connections_and_bytes(self) -> None:
        with CountingServer("127.0.0.3") as canary:
            assert (canary.connections, canary.received) == (0, 0)
            for text in (b"", b"12345"):
                with socket.create_connection((canary.address, canary.port)) as connection:
                    connection.sendall(text)
            assert (canary.connections, canary.received) == (2, 5)
            with socket.create_connection((canary.address, canary.port)) as open_connection:
                open_connection.sendall(b"1")
                assert (canary.connections, canary.received) == (3, 6)
                open_connection.sendall(b"2")
                assert (canary.connections, canary.received) == (3, 7)
        assert (canary.connections, canary.received) == (3, 7)


@pytest.mark.skipif(not nginx_available(), reason="nginx is not installed")
class TestNginx:
    def test_serves_a_folder(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        (root / "a.png").write_bytes(png(1))
        with Nginx(root, tmp_path / "nginx", access_log=True) as nginx:
            status, body, headers = get(nginx, "/a.png")
            assert (status, body, headers["Content-Type"]) == (200, png(1), "image/png")
            assert get(nginx, "/")[0] in (403, 404)
        assert nginx.access_log is not None
        assert len(nginx.access_log.read_text().splitlines()) == 2
        with pytest.raises(ConnectionRefusedError):
            get(nginx, "/a.png")

    def test_two_side_by_side(self, tmp_path: Path) -> None:
        first = Nginx(tmp_path, tmp_path / "one")
        second = Nginx(tmp_path, tmp_path / "two", address="127.0.0.2")
        with first, second:
            assert get(first, "/one/nginx.conf")[0] == get(second, "/one/nginx.conf")[0] == 200
        assert not (tmp_path / "one" / "access.log").exists()


def ask(server: FaultySite | Nginx, path: str, method: str = "GET") -> socket.socket:
    connection = socket.create_connection((server.address, server.port), timeout=5)
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    return connection


def raw(server: FaultySite | Nginx, path: str, method: str = "GET") -> bytes:
    with ask(server, path, method) as connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def get(server: FaultySite | Nginx, path: str, timeout: float = 5) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(server.address, server.port, timeout=timeout)
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status, response.read(), response.headers
    finally:
        connection.close()


def together(number: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def elapsed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def drained(connection: socket.socket) -> bool:
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionError:
        pass
    return True


def jpeg_markers(data: bytes) -> Iterator[int]:
    """The markers of the segments up to the start of the scan."""
    assert data[:2] == b"\xff\xd8"
    at, marker = 2, 0
    while marker != 0xDA:
        start, marker, length = struct.unpack(">BBH", data[at : at + 4])
        assert start == 0xFF
        yield marker
        at += 2 + length


def _fits(size: int) -> bool:
    try:
        return bool(jpeg(1, size))
    except ValueError:
        return False
