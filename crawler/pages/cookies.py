"""The cookies that sites set while their pages are read."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from crawler.urls import address

#: Cookies kept of one host, characters of one, and hosts.
MAX_COOKIES, MAX_COOKIE, MAX_HOSTS = 20, 4096, 1000


class KeptCookies:
    """The cookies that hosts set, each for that host alone, whatever domain it names; few and short ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str, dict[str, str]] = {}

    def keep(self, url: str, cookies: Iterable[Any]) -> None:
        """Keep what the answer of `url` sets, and forget what it lets expire."""
        for cookie in cookies:
            with self._lock:
                jar = self._hosts.setdefault(address(url).origin, {})
                jar.pop(cookie.name, None)
                value = cookie.value or ""
                if not cookie.is_expired() and len(jar) < MAX_COOKIES and len(cookie.name) + len(value) <= MAX_COOKIE:
                    jar[cookie.name] = value
                while len(self._hosts) > MAX_HOSTS:
                    del self._hosts[next(iter(self._hosts))]

    def cookie(self, url: str, own: str) -> str:
        """Return what the host of `url` has set, without what the Cookie header `own` has already."""
        names = {part.partition("=")[0] for part in own.split("; ")}
        with self._lock:
            jar = self._hosts.get(address(url).origin, {})
            return "; ".join(f"{name}={value}" for name, value in jar.items() if name not in names)
