from __future__ import annotations

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.urls import (
    MAX_URL,
    Base,
    address,
    from_command_line,
    host,
    normalise,
    without_credentials,
    without_tracking,
    without_www,
)

BASE = "https://example.com/gallery/index.html?page=2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg", "https://example.com/gallery/a.jpg"),
        ("./a.jpg", "https://example.com/gallery/a.jpg"),
        ("../a.jpg", "https://example.com/a.jpg"),
        ("../../../a.jpg", "https://example.com/a.jpg"),
        ("%2e%2e/a.jpg", "https://example.com/a.jpg"),
        ("/a.jpg", "https://example.com/a.jpg"),
        ("//cdn.example.net/a.jpg", "https://cdn.example.net/a.jpg"),
        ("?page=3", "https://example.com/gallery/index.html?page=3"),
        ("  a.jpg\n", "https://example.com/gallery/a.jpg"),
        ("a\n.j\tpg", "https://example.com/gallery/a.jpg"),
        ("a b.jpg", "https://example.com/gallery/a%20b.jpg"),
        ("\\img\\a.jpg", "https://example.com/img/a.jpg"),
        ("ä.jpg", "https://example.com/gallery/%C3%A4.jpg"),
        ("a.jpg#top", "https://example.com/gallery/a.jpg"),
        ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
        ("https://example.com:443/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://bücher.example/ß", "https://xn--bcher-kva.example/%C3%9F"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://127。0。0。1/", "http://127.0.0.1/"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
        ("https://user:secret@example.com/a", "https://example.com/a"),
        ("https://us@er:se@cret@example.com/a@b", "https://example.com/a@b"),
        ("https://example.com/a?b=c@d", "https://example.com/a?b=c@d"),
        ("https://example.com?b=/@d", "https://example.com/?b=/@d"),
    ],
)
def test_names_are_resolved_as_browsers_do(text: str, expected: str) -> None:
    assert normalise(text, BASE) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "ftp://example.com/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "mailto:a@example.com",
        "http://",
        "http://exa mple.com/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://256.1.1.1/",
        "http://a<b>/",
        "https://example.com/" + "a" * MAX_URL,
        "/" + "ä" * (MAX_URL // 3),
    ],
)
def test_what_cannot_be_fetched_is_none(text: str) -> None:
    assert normalise(text, BASE) is None


@pytest.mark.parametrize("text", ["a.jpg", "/a.jpg", "//example.com/a.jpg", "example.com"])
def test_without_a_base_only_absolute_urls_are_some(text: str) -> None:
    assert normalise(text) is None
    assert normalise("a.jpg", "no base") is None


@given(st.text(max_size=200))
def test_any_text_gives_a_normal_url_or_none(text: str) -> None:
    for url in (normalise(text, BASE), normalise("http://" + text)):
        if url is not None:
            assert normalise(url) == url
            assert url.isascii() and url.isprintable() and "#" not in url and " " not in url
            assert url.startswith(address(url).origin + "/")


def test_lone_surrogates_do_no_harm() -> None:
    assert normalise("a\ud800.jpg", BASE) in (None, "https://example.com/gallery/a%EF%BF%BD.jpg")


@pytest.mark.parametrize(
    ("url", "origin", "authority", "name"),
    [
        ("https://example.com/a/b", "https://example.com", "example.com", "example.com"),
        ("http://example.com/", "http://example.com", "example.com", "example.com"),
        ("http://example.com:8080/x?u=http://y/", "http://example.com:8080", "example.com:8080", "example.com"),
        ("http://[2001:db8::1]:81/", "http://[2001:db8::1]:81", "[2001:db8::1]:81", "2001:db8::1"),
        ("http://10.0.0.1/", "http://10.0.0.1", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_address_and_host(url: str, origin: str, authority: str, name: str) -> None:
    assert address(url) == (origin, authority)
    assert host(url) == name


def test_http_and_https_share_one_authority_but_no_origin() -> None:
    one, other = address("http://example.com/a"), address("https://example.com/a")
    assert one.authority == other.authority and one.origin != other.origin


def test_credentials_go_and_the_rest_stays() -> None:
    assert without_credentials("https://u:p@example.com:81/a@b?c@d") == "https://example.com:81/a@b?c@d"
    assert without_credentials("https://example.com/") == "https://example.com/"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", "https://example.com/"),
        (" example.com/start/ ", "https://example.com/start/"),
        ("http://example.com", "http://example.com/"),
        ("localhost:8000", "http://localhost:8000/"),
        ("127.0.0.1:8000/a", "http://127.0.0.1:8000/a"),
        ("[::1]:8000", "http://[::1]:8000/"),
        ("example.com:8443", "https://example.com:8443/"),
        ("ftp://example.com", None),
        ("", None),
        ("exa mple", None),
    ],
)
def test_what_a_person_means(text: str, expected: str | None) -> None:
    assert from_command_line(text) == expected


def test_without_www() -> None:
    assert without_www("www.example.com") == without_www("example.com") == "example.com"


def by_the_library(text: str, base: str) -> str | None:
    """Return what the library alone makes of `text`."""
    if not text.strip(" "):
        return None
    try:
        url = ada_url.join_url(base, text).partition("#")[0]
    except ValueError:
        return None
    if not url.startswith(("http://", "https://")) or len(url) > MAX_URL:
        return None
    return without_credentials(url) if "@" in url else url


ODD = st.text(alphabet="ab/.%-_~?=&'\"2eE:@0 \\#xn--A[]", max_size=24)
HOSTS = st.sampled_from(
    ["a.example", "A.example", "xn--bcher-kva.example", "1.2.3.4", "0x7f.1", "a.b-c.example", "a-.example",
     "a..example", "-a.example", "a.e1", "localhost", "a.example:80", "a.example:8080", "u@a.example", "a_b.example"]
)  # fmt: skip


@given(st.one_of(ODD, st.builds("/{}".format, ODD), st.builds("https://{}/{}".format, HOSTS, ODD)), HOSTS)
def test_the_short_way_of_plain_urls_is_the_librarys(text: str, host: str) -> None:
    base = f"https://{host}/x/y"
    assert normalise(text, base) == by_the_library(text, base)


@given(
    st.one_of(ODD, st.builds("/{}".format, ODD), st.text("abc./%2e?&=:;@#", max_size=12)),
    HOSTS,
    st.one_of(st.just("/"), st.builds("/{}".format, ODD), st.sampled_from(["/a/b", "/a/b/", "/a/../b", "/a%2f/b?c/d"])),
)
def test_the_short_way_of_joining_is_the_librarys(text: str, host: str, path: str) -> None:
    base = normalise(f"https://{host}{path}")
    if base is not None:
        assert Base(base).join(text) == normalise(text, base)


NAMES = st.sampled_from(
    ["a", "b.c", "manifest", "manifest/", "a.html", "a.jpg", ".", "%2e", "a.php/b", "//", "a;b", "ü"]
)
PATHS = st.builds("/{}".format, st.lists(NAMES, max_size=4).map("/".join))


@given(PATHS | st.builds("http://{}{}".format, HOSTS, PATHS | ODD) | st.builds("/{}".format, ODD), HOSTS, PATHS)
def test_the_short_way_of_links_to_pages_is_the_long_one(text: str, host: str, path: str) -> None:
    base = Base(normalise(f"http://{host}{path}") or "http://a.example/")
    if url := base.plain_page(text):
        assert url == normalise(text, base.url) == without_tracking(url)
        assert not url.endswith(("/manifest", "/manifest/", ".jpg"))


@given(st.lists(st.builds("https://{}/{}{}".format, HOSTS, st.sampled_from(["", "x/", "x/y/"]), ODD), max_size=6))
def test_what_was_joined_before_changes_nothing(texts: list[str]) -> None:
    base = Base("https://a.example/x/y")
    for text in texts:
        assert base.join(text) == normalise(text, base.url)
