from __future__ import annotations

import os

import pytest

from crawler.errors import UsageError
from crawler.proxies import Proxies, parse_proxy


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("HTTPS://proxy.example/", "https://proxy.example:443"),
        ("proxy.example", "http://proxy.example:80"),
        ("http://ann:p%40ss:w@10.0.0.1:8080", "http://ann:p%40ss:w@10.0.0.1:8080"),
        ("http://[::1]:3128", "http://[::1]:3128"),
    ],
)
def test_a_proxy_has_its_port(text: str, url: str) -> None:
    assert parse_proxy(text, "--proxy") == url


@pytest.mark.parametrize(
    "text",
    [
        "socks5://ann:secret@proxy.example:1080", "http://ann:secret@", "http://ann:secret@proxy.example:0",
        "http://ann:secret@proxy.example:99999", "http://ann:secret@proxy.example/path", "",
        "http://ann:secret@proxy.example\r\nX: 1", "http://ann:secret@pro xy.example", "file:///secret",
    ],
)  # fmt: skip
def test_what_is_none_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(UsageError, match="--proxy: a proxy is written as") as caught:
        parse_proxy(text, "--proxy")
    assert "secret" not in str(caught.value)


class TestOfTheEnvironment:
    @pytest.fixture(autouse=True)
    def clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)

    def test_each_scheme_has_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "one.example:1")
        monkeypatch.setenv("HTTPS_PROXY", "https://two.example:2")
        monkeypatch.setenv("NO_PROXY", "direct.example, .local:81,10.0.0.0/8,fd00::/8")
        proxies = Proxies(of_environment=True)
        assert proxies.of("http://a.example/") == "http://one.example:1"
        assert proxies.of("https://a.example/") == "https://two.example:2"
        assert proxies.of("https://sub.direct.example/") == proxies.of("http://direct.example:81/") == ""
        assert (
            proxies.of("https://a.local:81/") == proxies.of("http://10.1.2.3/") == proxies.of("http://[fd00::1]/") == ""
        )
        for url in ("http://indirect.example/", "http://a.local/", "http://11.0.0.1/", "http://10.0.0.0.example/"):
            assert proxies.of(url) == "http://one.example:1"

    @pytest.mark.parametrize(("name", "value"), [("no_proxy", "10.0.0.0/99"), ("http_proxy", "socks4://a.example:1")])
    def test_what_cannot_be_kept_to_is_refused(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=f"--proxy-env: {name}: "):
            Proxies(of_environment=True)

    def test_none_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "one.example:1")
        monkeypatch.setenv("no_proxy", "*")
        assert Proxies(of_environment=True).of("http://a.example/") == ""

    def test_one_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", "http://one.example:1")
        assert Proxies(of_environment=True).of("https://a.example/") == "http://one.example:1"

    def test_is_not_looked_at_unless_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "no proxy at all")
        assert Proxies().of("http://a.example/") == ""
        assert Proxies("http://mine.example:1").of("http://a.example/") == "http://mine.example:1"
