from __future__ import annotations

import errno
import gzip
import time
from collections.abc import Callable, Iterator

import pytest
import requests
import responses
import urllib3

from crawler.errors import FetchError
from crawler.guard import Guard
from crawler.outcomes import Outcome
from crawler.pages.session import Page, PageSession
from servers.faulty import CountingServer, FaultySite

HTML = b"<html><body>" + b"x" * 5000 + b"</body></html>"
MOST = 100_000


def everything(content_type: str) -> bool:
    return True


def session(*allowed: str) -> PageSession:
    return PageSession(Guard(allowed), "crawler/1.0", 2.0)


def get(
    url: str,
    seconds: float = 5.0,
    max_bytes: int = MOST,
    accepts: Callable[[str], bool] = everything,
    *,
    cut: bool = False,
) -> Page:
    return session("127.0.0.0/8").get(url, seconds, max_bytes, accepts, cut=cut)


def failure(url: str, seconds: float = 5.0, max_bytes: int = MOST) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(url, seconds, max_bytes)
    return caught.value


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as site:
        yield site


class TestAnswers:
    """Over `responses`: no network at all."""

    @responses.activate
    def test_a_page(self) -> None:
        responses.get("https://example.com/", body=HTML, content_type="text/html", headers={"ETag": '"1"'})
        page = get("https://example.com/")
        assert (page.status, page.body) == (200, HTML)
        assert page.headers["content-type"] == "text/html" and page.headers["etag"] == '"1"'
        sent = responses.calls[0].request.headers
        assert sent["User-Agent"] == "crawler/1.0" and "text/html" in sent["Accept"]

    @responses.activate
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_told_not_followed(self, status: int) -> None:
        responses.get("https://example.com/", status=status, headers={"Location": "/b"}, body="elsewhere")
        page = get("https://example.com/")
        assert (page.status, page.headers["location"], page.body) == (status, "/b", b"")
        assert len(responses.calls) == 1

    @responses.activate
    @pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
    def test_a_status_is_no_error(self, status: int) -> None:
        responses.get("https://example.com/", status=status, body="no", headers={"Retry-After": "3"})
        page = get("https://example.com/")
        assert (page.status, page.headers["retry-after"]) == (status, "3")

    @responses.activate
    def test_the_body_is_read_where_its_type_is_wanted(self) -> None:
        responses.get("https://example.com/a.zip", body=HTML, content_type="application/zip")
        assert get("https://example.com/a.zip", accepts=lambda kind: "html" in kind).body == b""

    @responses.activate
    @pytest.mark.parametrize(
        ("error", "outcome", "retriable"),
        [
            (requests.exceptions.SSLError("certificate"), Outcome.TLS, False),
            (requests.exceptions.ConnectTimeout("slow"), Outcome.TIMEOUT, True),
            (requests.exceptions.ReadTimeout("slow"), Outcome.TIMEOUT, True),
            (requests.exceptions.ConnectionError("gone"), Outcome.CONNECT, True),
            (requests.exceptions.ChunkedEncodingError("cut"), Outcome.TRUNCATED, True),
            (requests.exceptions.InvalidURL("bad"), Outcome.BAD_URL, False),
            (requests.exceptions.ContentDecodingError("gzip"), Outcome.PROTOCOL, False),
        ],
    )
    def test_errors_of_requests_have_our_names(self, error: Exception, outcome: str, retriable: bool) -> None:
        responses.get("https://example.com/", body=error)
        found = failure("https://example.com/")
        assert (found.outcome, found.retriable) == (outcome, retriable)


class TestNoWayIntoTheNetwork:
    """The request has not left this machine then: it is made once there is a way again."""

    @staticmethod
    def gone(times: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        asked: list[float] = []
        ask = requests.Session.get

        def get(self: requests.Session, *args: object, **more: object) -> requests.Response:
            asked.append(time.monotonic())
            if len(asked) <= times:
                why = OSError(errno.ENETUNREACH, "Network is unreachable")
                failed = urllib3.exceptions.NewConnectionError(None, str(why))  # type: ignore[arg-type]
                failed.__cause__ = why
                raise requests.ConnectionError(failed)
            return ask(self, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(requests.Session, "get", get)
        return asked

    def test_is_waited_for(self, site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.gone(2, monkeypatch)
        assert get(site.url + "/nothing-here").status == 404
        assert len(asked) == 3 and asked[2] - asked[0] >= 1.0

    def test_is_not_waited_for_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.gone(1000, monkeypatch)
        error = failure("http://127.0.0.1/", seconds=2.0)
        assert (error.outcome, error.suspect, error.retriable) == (Outcome.CONNECT, True, True)
        assert 2 <= len(asked) <= 5


class TestNetwork:
    def test_a_page_and_its_cookies(self, site: FaultySite) -> None:
        site.add("/", HTML, headers={"Set-Cookie": "a=1"})
        reader = session("127.0.0.0/8")
        for _ in range(2):
            assert reader.get(site.url + "/", 5, MOST, everything).body == HTML
        assert [headers.get("cookie") for headers in site.headers("/")] == [None, "a=1"]

    def test_gzip_is_decoded(self, site: FaultySite) -> None:
        site.add("/", gzip.compress(HTML), headers={"Content-Encoding": "gzip"})
        assert get(site.url + "/").body == HTML

    def test_a_bomb_is_measured_as_decoded(self, site: FaultySite) -> None:
        site.add("/", gzip.compress(b"\0" * 20_000_000), headers={"Content-Encoding": "gzip"})
        assert failure(site.url + "/").outcome == Outcome.TOO_LARGE

    def test_what_is_no_gzip_is_no_answer(self, site: FaultySite) -> None:
        site.add("/", HTML, headers={"Content-Encoding": "gzip"})
        error = failure(site.url + "/")
        assert (error.outcome, error.retriable) == (Outcome.PROTOCOL, False)

    def test_too_large_fails_or_is_cut(self, site: FaultySite) -> None:
        site.add("/", HTML)
        assert get(site.url + "/", max_bytes=len(HTML)).body == HTML
        error = failure(site.url + "/", max_bytes=len(HTML) - 1)
        assert (error.outcome, error.retriable) == (Outcome.TOO_LARGE, False)
        assert get(site.url + "/", max_bytes=100, cut=True).body == HTML[:100]

    def test_a_body_that_is_cut_off(self, site: FaultySite) -> None:
        site.cut("/", HTML, at=100)
        error = failure(site.url + "/")
        assert (error.outcome, error.retriable) == (Outcome.TRUNCATED, True)

    @pytest.mark.parametrize("how", ["drip", "drip_headers", "slow", "hang"])
    @pytest.mark.alone
    def test_the_deadline_is_for_all_of_it(self, site: FaultySite, how: str) -> None:
        if how == "hang":
            site.hang("/")
        elif how == "slow":
            site.slow("/", HTML, 30.0)
        else:
            getattr(site, how)("/", HTML, 0.05)
        began = time.monotonic()
        error = failure(site.url + "/", seconds=0.4)
        assert time.monotonic() - began < 2.0
        assert (error.outcome, error.retriable) == (Outcome.TIMEOUT, True)

    def test_after_a_deadline_the_session_goes_on(self, site: FaultySite) -> None:
        site.hang("/hang")
        site.add("/", HTML)
        reader = session("127.0.0.0/8")
        for _ in range(2):
            with pytest.raises(FetchError):
                reader.get(site.url + "/hang", 0.2, MOST, everything)
            assert reader.get(site.url + "/", 5, MOST, everything).body == HTML

    def test_an_old_deadline_does_not_end_a_later_request(self, site: FaultySite) -> None:
        site.add("/", HTML)
        site.slow("/slow", HTML, 0.6)
        reader = session("127.0.0.0/8")
        reader.get(site.url + "/", 0.3, MOST, everything)
        assert reader.get(site.url + "/slow", 5, MOST, everything).body == HTML

    def test_a_private_address_is_never_connected(self) -> None:
        with CountingServer() as canary:
            for host in ("127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"):
                with pytest.raises(FetchError) as caught:
                    session().get(f"http://{host}:{canary.port}/", 5, MOST, everything)
                assert caught.value.outcome == Outcome.PRIVATE_ADDRESS and not caught.value.retriable
                assert "--allow-net" in str(caught.value)
            assert canary.connections == 0

    def test_nobody_listens(self, site: FaultySite) -> None:
        site.close()
        error = failure(site.url + "/")
        assert (error.outcome, error.retriable) == (Outcome.CONNECT, True)

    def test_no_such_host(self) -> None:
        assert failure("http://no-such-host.invalid/").outcome == Outcome.DNS

    def test_proxies_of_the_environment_are_not_used(self, site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
        site.add("/", HTML)
        with CountingServer() as canary:
            monkeypatch.setenv("http_proxy", canary.url)
            assert get(site.url + "/").body == HTML
            assert canary.connections == 0
