"""Cookies that hosts set: each comes back to its host alone."""

from __future__ import annotations

from http.cookiejar import Cookie

from crawler.pages.cookies import MAX_COOKIE, MAX_COOKIES, MAX_HOSTS, KeptCookies

URL = "https://a.example/page"


def cookie(name: str, value: str = "1", expires: int | None = None) -> Cookie:
    return Cookie(
        0, name, value, None, False, ".example", True, True, "/", True, False, expires, False, None, None, {}
    )  # fmt: skip


def test_they_come_back_to_their_host_alone() -> None:
    kept = KeptCookies()
    kept.keep(URL, [cookie("sid"), cookie("b", "2")])
    assert kept.cookie("https://a.example/other", "") == "sid=1; b=2"
    for url in ("https://b.example/", "http://a.example/", "https://a.example:8443/", "https://sub.a.example/"):
        assert kept.cookie(url, "") == ""


def test_what_a_person_brings_goes_before() -> None:
    kept = KeptCookies()
    kept.keep(URL, [cookie("sid", "logged-out"), cookie("b")])
    assert kept.cookie(URL, "x=1; sid=mine") == "b=1"


def test_what_expires_is_forgotten() -> None:
    kept = KeptCookies()
    kept.keep(URL, [cookie("sid")])
    kept.keep(URL, [cookie("sid", "", expires=1)])
    assert kept.cookie(URL, "") == ""


def test_they_are_few_and_short() -> None:
    kept = KeptCookies()
    kept.keep(URL, [cookie("long", "x" * MAX_COOKIE)])
    assert kept.cookie(URL, "") == ""
    kept.keep(URL, [cookie(f"n{number}") for number in range(100)])
    assert len(kept.cookie(URL, "").split("; ")) == MAX_COOKIES
    for number in range(MAX_HOSTS):
        kept.keep(f"https://h{number}.example/", [cookie("a")])
    assert kept.cookie(URL, "") == "" and kept.cookie("https://h5.example/", "") == "a=1"
