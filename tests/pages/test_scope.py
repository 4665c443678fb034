from __future__ import annotations

import pytest

from crawler.pages.scope import Scope

SCOPES = ("host", "domain", "prefix", "any")
BASE = "https://www.example.com/blog/2024/index.html"


@pytest.mark.parametrize(
    ("url", "kinds"),
    [
        ("https://www.example.com/blog/2024/a.html", "host domain prefix any"),
        ("https://www.example.com/blog/2024/deep/a", "host domain prefix any"),
        ("http://example.com/blog/2024/", "host domain prefix any"),
        ("https://www.example.com/blog/2024", "host domain any"),
        ("https://www.example.com/blog/20245/a", "host domain any"),
        ("https://example.com/", "host domain any"),
        ("https://shop.example.com/blog/2024/a", "domain any"),
        ("https://www.example.com:8443/blog/2024/a", "domain any"),
        ("https://example.org/blog/2024/a", "any"),
        ("https://notexample.com/blog/2024/a", "any"),
        ("https://example.com.evil.example/blog/2024/a", "any"),
        ("https://example.com@evil.example/blog/2024/a", "any"),
    ],
)
def test_scopes(url: str, kinds: str) -> None:
    assert {kind for kind in SCOPES if not Scope(kind).refuses(url, BASE)} == set(kinds.split())
    assert {Scope(kind).refuses(url, BASE) for kind in SCOPES} <= {"", "scope"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.example.co.uk", "b.example.co.uk", True),
        ("example.co.uk", "other.co.uk", False),
        ("a.example.de", "example.de", True),
        ("a.example.com", "b.example.com", True),
        ("example.com", "example.net", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.1.0.1", "10.2.0.1", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("[2001:db8::1]", "[2001:db8::2]", False),
        ("shop.example.kawasaki.jp", "example.kawasaki.jp", False),
        ("one.github.io", "two.github.io", False),
        ("a.one.github.io", "one.github.io", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("localhost", "localhost", True),
    ],
)
def test_domains(one: str, other: str, same: bool) -> None:
    assert (Scope("domain").refuses(f"http://{other}/", f"http://{one}/") == "") is same


def test_default_ports_are_no_ports() -> None:
    assert not Scope("host").refuses("http://a.example/", "https://a.example/x")
    assert Scope("host").refuses("http://a.example:8080/", "http://a.example/") == "scope"
    assert not Scope("host").refuses("http://a.example:8080/", "http://a.example:8080/x")


class TestPatterns:
    def test_include_and_exclude(self) -> None:
        scope = Scope("host", include=["/photos/", "/art/"], exclude=[r"\?print=", "/photos/private/"])
        base = "https://a.example/"
        assert scope.refuses("https://a.example/photos/1", base) == ""
        assert scope.refuses("https://a.example/art/1", base) == ""
        assert scope.refuses("https://a.example/news/1", base) == "include"
        assert scope.refuses("https://a.example/photos/1?print=1", base) == "exclude"
        assert scope.refuses("https://a.example/photos/private/1", base) == "exclude"
        assert scope.refuses("https://b.example/photos/1", base) == "scope"

    def test_exclude_alone(self) -> None:
        scope = Scope("any", exclude=["logout$"])
        assert scope.refuses("https://b.example/logout", BASE) == "exclude"
        assert scope.refuses("https://b.example/logout?x", BASE) == ""
