"""Credentials: each request has what belongs to its host, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crawler.access import Credentials
from crawler.answers import follow
from crawler.errors import UsageError
from crawler.model import Kind, PageDetail, Task, pack
from crawler.settings import CrawlSettings
from crawler.signing import access_of
from crawler.spec import Access, Cookie
from crawler.urls import address

SITES = ["https://a.example/", "https://www.b.example/start", "http://c.example/"]


def cookie(**more: Any) -> Cookie:
    given = {"domain": "a.example", "subdomains": False, "path": "/", "secure": False, "expires": 0}
    return Cookie(**{**given, "name": "id", "value": "1", **more})


@pytest.mark.parametrize(
    ("own", "url", "sent"),
    [
        ({}, "https://a.example/x", True),
        ({}, "https://sub.a.example/x", False),
        ({"subdomains": True}, "https://sub.a.example/x", True),
        ({"subdomains": True}, "https://nota.example/x", False),
        ({"domain": "example", "subdomains": False}, "https://a.example/", False),
        ({"path": "/in"}, "https://a.example/in", True),
        ({"path": "/in"}, "https://a.example/in/x?y", True),
        ({"path": "/in"}, "https://a.example/inside", False),
        ({"path": "/in/"}, "https://a.example/in/x", True),
        ({"path": "/in"}, "https://a.example", False),
        ({"secure": True}, "http://a.example/", False),
        ({"secure": True}, "https://a.example/", True),
        ({"expires": 1000}, "https://a.example/", False),
        ({"expires": 1001}, "https://a.example/", True),
    ],
)
def test_a_cookie_goes_where_it_belongs(own: dict[str, Any], url: str, sent: bool) -> None:
    credentials = Credentials(Access(cookies=(cookie(**own),)), lambda: 1000.0)
    assert credentials.cookie(url) == ("id=1" if sent else "")


def test_longer_paths_go_first() -> None:
    access = Access(cookies=(cookie(value="short"), cookie(value="long", path="/in")))
    assert Credentials(access).cookie("http://a.example/in/") == "id=long; id=short"


def settings(**more: Any) -> CrawlSettings:
    return CrawlSettings(sites=("a.example",), **more)


def access(**more: Any) -> Credentials:
    return Credentials(access_of(settings(**more), SITES, []))


def test_headers_go_to_the_sites_or_the_host_that_is_named() -> None:
    mine = access(header=("X-Key:  secret: 1 ", "cdn.example Referer: https://a.example/"))
    assert mine.headers("https://a.example/x") == {"X-Key": "secret: 1"}
    assert mine.headers("https://www.a.example/x") == {"X-Key": "secret: 1"}
    assert mine.headers("http://a.example/x") == {}, "a site that was named with https hears it by https only"
    assert mine.headers("http://c.example/x") == {"X-Key": "secret: 1"}
    assert mine.headers("https://b.example/") == {"X-Key": "secret: 1"}
    assert mine.headers("https://cdn.example/") == {"Referer": "https://a.example/"}
    assert mine.headers("https://sub.a.example/") == mine.headers("https://d.example/") == {}


@pytest.mark.parametrize(
    "text", ["X-Key", "X Key: secret", "X-Key: a\nsecret: b", "X-Key: \xe4secret", "Host: secret", "Cookie: secret", ""]
)
def test_a_header_that_is_none_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(UsageError, match="--header") as caught:
        access(header=(text,))
    assert "secret" not in str(caught.value)


def test_a_header_for_a_list_needs_a_host() -> None:
    with pytest.raises(UsageError, match="a list has no site"):
        access_of(settings(header=("X-Key: 1",)), [], [])
    assert access_of(settings(header=("c.example X-Key: 1",)), [], []).headers == (("https://c.example", "X-Key", "1"),)


def test_cookies_of_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(
        "# Netscape HTTP Cookie File\n"
        "#HttpOnly_.a.example\tTRUE\t/\tTRUE\t4102444800\tsid\tsecret\n"
        "b.example\tFALSE\t/in\tFALSE\t0\tk\tv\n"
        "old.example\tFALSE\t/\tFALSE\t1\tk\tv\n"
    )
    mine = access(cookies=path)
    assert mine.cookie("https://www.a.example/") == "sid=secret"
    assert mine.cookie("http://b.example/in") == "k=v"
    assert mine.cookie("http://old.example/") == ""


@pytest.mark.parametrize("content", [b"nothing", b"\xff\xfe", b"# Netscape HTTP Cookie File\nbroken line\n"])
def test_a_cookie_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(UsageError, match=r"--cookies .* cannot be read"):
        access(cookies=tmp_path / "c")


def test_what_netrc_has_for_the_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        access(netrc=True)
    path = tmp_path / ".netrc"
    path.write_text("machine a.example login me password it\nmachine d.example login you password that\n")
    path.chmod(0o600)
    mine = access(netrc=True)
    assert mine.headers("https://a.example/") == {"Authorization": "Basic bWU6aXQ="}
    assert mine.headers("https://d.example/") == mine.headers("https://b.example/") == {}


def test_a_certificate_is_shown_to_the_sites_over_https(tmp_path: Path) -> None:
    path = tmp_path / "me.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\ny\n")
    mine = access(client_cert=path)
    assert mine.certificate("https://b.example/") == path.read_text()
    assert mine.certificate("http://b.example/") == mine.certificate("https://d.example/") == ""
    path.write_text("-----BEGIN CERTIFICATE-----\nx")
    with pytest.raises(UsageError, match="a certificate and its key are expected"):
        access(client_cert=path)


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(access_of(settings(header=("X-Key: secret",)), SITES, []))


def test_credentials_keep_to_their_port() -> None:
    mine = Credentials(access_of(settings(header=("X-Key: 1",)), ["https://a.example/", "http://b.example:8080/"], []))
    assert mine.headers("https://a.example/") and mine.headers("http://b.example:8080/x")
    for url in ("https://a.example:8443/", "http://a.example/", "http://b.example/", "https://b.example/"):
        assert mine.headers(url) == {}


def test_what_is_said_goes_before_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine a.example login me password it\n")
    (tmp_path / ".netrc").chmod(0o600)
    signed = [("https://a.example", "Authorization", "Basic of-the-url")]
    assert Credentials(access_of(settings(netrc=True), SITES, signed)).headers("https://a.example/") == {
        "Authorization": "Basic of-the-url"
    }


def test_a_cookie_that_no_header_can_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text("# Netscape HTTP Cookie File\na.example\tFALSE\t/\tFALSE\t0\tname\tJos\u00e9\n")
    with pytest.raises(UsageError, match=r"the cookie 'name' of a\.example is not in printable ASCII"):
        access(cookies=path)


@pytest.fixture
def everything(tmp_path: Path) -> Credentials:
    """A cookie that its site did not mark as secret, a header and a certificate, all for one site."""
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\na.example\tFALSE\t/\tFALSE\t0\tk\tv\n")
    (tmp_path / "me.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\ny\n")
    given = settings(cookies=tmp_path / "cookies.txt", header=("X-Key: 1",), client_cert=tmp_path / "me.pem")
    return Credentials(access_of(given, ["https://a.example/"], []))


@pytest.mark.parametrize(
    "location",
    [
        "https://a.example:8443/", "http://a.example/", "http://a.example:443/", "https://sub.a.example/",
        "https://a.example.evil.example/", "https://aa.example/", "https://example/", "https://a.example./",
        "https://evil.example/https://a.example/", "https://a.example@evil.example/", "//ann:it@evil.example/",
        "https://a.example%2f@evil.example/", "https://evil.example\\@a.example/", "https://evil.example#@a.example/",
    ],
)  # fmt: skip
def test_a_redirect_takes_nothing_to_another_host(everything: Credentials, location: str) -> None:
    mine = "https://a.example/x"
    assert everything.headers(mine) and everything.cookie(mine) and everything.certificate(mine)
    target = follow(Task(1, Kind.IMAGE, mine, mine, pack(PageDetail())), location, 5).move.at
    assert (everything.headers(target), everything.cookie(target), everything.certificate(target)) == ({}, "", "")
    assert "it" not in address(target).authority, "nor what a redirect wants to be sent"


def test_a_cookie_of_a_site_at_a_port_goes_there_and_to_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text("# Netscape HTTP Cookie File\n.a.example\tTRUE\t/\tFALSE\t0\tk\tv\n")
    mine = Credentials(access_of(settings(cookies=path), ["http://a.example:8080/", "http://b.example:81/"], []))
    for url in ("http://a.example:8080/", "https://a.example/", "http://sub.a.example/", "http://sub.a.example:8080/"):
        assert mine.cookie(url) == "k=v"
    for url in ("http://a.example:81/", "https://a.example:8443/", "http://b.example/"):
        assert mine.cookie(url) == ""
