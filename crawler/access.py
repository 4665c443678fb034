"""What a site is shown of who we are: cookies, headers and certificates, each for its own hosts only."""

from __future__ import annotations

import time
from collections.abc import Callable

from crawler.robots import product_token
from crawler.spec import Access, Cookie
from crawler.urls import address, host, port, without_www

USER_AGENT = "User-Agent"
_HTTPS = "https://"


class Credentials:
    """Gives each request what belongs to its host, and to no other."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._clock = clock
        self._headers: dict[str, list[tuple[str, str, str]]] = {}
        for header in access.headers:
            self._headers.setdefault(without_www(header[0].removeprefix(_HTTPS)), []).append(header)
        self.is_empty = access == Access()  #: nobody is shown anything

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers for a request of `url`, without cookies; what is for `https://HOST` is not sent openly."""
        if not self._headers:
            return {}
        is_open = url.startswith("http:")
        return {
            field: value
            for where, field, value in self._headers.get(without_www(address(url).authority), ())
            if not (is_open and where.startswith(_HTTPS))
        }

    def cookie(self, url: str) -> str:
        """Return the Cookie header for a request of `url`, or `""` (RFC 6265, 5.4)."""
        if not self._access.cookies:
            return ""
        now, name, at = self._clock(), host(url), port(url)
        path = "/" + url.partition("://")[2].partition("?")[0].partition("/")[2]
        fitting = [
            cookie
            for cookie in self._access.cookies
            if is_for_host(cookie, name)
            and _is_for_path(cookie, path)
            and (url.startswith("https:") or not cookie.secure)
            and (not at or at in cookie.ports)
            and (not cookie.expires or cookie.expires > now)
        ]
        fitting.sort(key=lambda cookie: -len(cookie.path))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in fitting)

    def is_verified(self, url: str) -> bool:
        """Tell whether the certificate of the host of `url` is checked."""
        unverified = self._access.unverified
        return not unverified or without_www(address(url).authority) not in unverified

    def certificate(self, url: str) -> str:
        """Return the client certificate and key (PEM) that the host of `url` may see, or `""`."""
        if not self._access.certificate or not url.startswith("https:"):
            return ""
        name = without_www(address(url).authority)
        return self._access.certificate if name in self._access.certificate_hosts else ""


class Agents:
    """By which name robots.txt and others address us: that of the User-Agent that their host sees."""

    def __init__(self, user_agent: str, access: Access) -> None:
        own = [said for _, field, said in access.headers if field == USER_AGENT]
        self._credentials = Credentials(access)
        self._usual = product_token(user_agent)
        self.tokens = {self._usual, *map(product_token, own)}

    def of(self, url: str) -> str:
        if len(self.tokens) == 1:
            return self._usual
        own = self._credentials.headers(url).get(USER_AGENT)
        return product_token(own) if own else self._usual


def is_for_host(cookie: Cookie, name: str) -> bool:
    return name == cookie.domain or (cookie.subdomains and name.endswith("." + cookie.domain))


def _is_for_path(cookie: Cookie, path: str) -> bool:
    """Tell whether a path matches as RFC 6265 (5.1.4) has it."""
    return path == cookie.path or (
        path.startswith(cookie.path) and (cookie.path.endswith("/") or path[len(cookie.path)] == "/")
    )
