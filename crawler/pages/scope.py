"""Which pages belong to a site: measured from where its first page's redirects ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList

from crawler.urls import address, host, without_www


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _domain(name: str) -> str:
    """Return the part of a host name that somebody registered (publicsuffix.org); an address is its own."""
    if ":" in name or name.rpartition(".")[2].isdecimal():
        return name
    return _suffixes().privatesuffix(name) or name


def _folder(url: str) -> str:
    path = urlsplit(url).path
    return path[: path.rfind("/") + 1] or "/"


class Scope:
    """Decides whether a page is to be read; http and https, `www.` and without are alike."""

    def __init__(self, kind: str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._kind = kind
        self._is_same_site = lru_cache(maxsize=4096)(self._compare)
        self._include = [re.compile(pattern) for pattern in include]
        self._exclude = [re.compile(pattern) for pattern in exclude]

    def refuses(self, url: str, base: str) -> str:
        """Return why `url` is no page of the site at `base`: `scope`, `include`, `exclude`, or `""` when it is one."""
        if not self._is_near(url, base):
            return "scope"
        if self._include and not any(pattern.search(url) for pattern in self._include):
            return "include"
        return "exclude" if any(pattern.search(url) for pattern in self._exclude) else ""

    def _is_near(self, url: str, base: str) -> bool:
        if self._kind == "any":
            return True
        if not self._is_same_site(address(url).origin, address(base).origin):
            return False
        return self._kind != "prefix" or urlsplit(url).path.startswith(_folder(base))

    def _compare(self, one: str, other: str) -> bool:
        """Tell whether two origins are of one site."""
        ours, theirs = without_www(host(one)), without_www(host(other))
        if self._kind == "domain":
            return _domain(ours) == _domain(theirs)
        return ours == theirs and urlsplit(one).port == urlsplit(other).port
