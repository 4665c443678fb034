"""What a URL is to us: normalised as browsers do (WHATWG URL Standard), and which host it asks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import ada_url

#: Longer URLs are refused: no server that we know answers them, and traps make them.
MAX_URL = 8_192

_SCHEMES = ("http://", "https://")
_SPACE = " \t\n\r\f\x00"


class Address(NamedTuple):
    """Where a URL's request goes: `origin` (`https://example.com`) and `authority` (`example.com`, `example.com:8080`).

    http and https at their default ports share one authority, since they are one machine to be polite to.
    """

    origin: str
    authority: str


def normalise(text: str, base: str | None = None) -> str | None:
    """Return the absolute http(s) URL that `text` names on a page at `base`, without fragment and credentials.

    None where it names nothing that can be fetched. Hosts come out in punycode, as libcurl needs them.
    """
    text = text.strip(_SPACE)
    if not text or len(text) > MAX_URL:
        return None
    try:
        url = ada_url.join_url(base, text) if base else ada_url.normalize_url(text)
    except (ValueError, UnicodeEncodeError):
        return None
    url = url.partition("#")[0]
    if not url.startswith(_SCHEMES) or len(url) > MAX_URL:
        return None
    return without_credentials(url) if "@" in url else url


def without_credentials(url: str) -> str:
    """Return `url` without `user:password@`; they are never sent, logged or part of an image's identity."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def from_command_line(text: str) -> str | None:
    """Return the URL that a person means by `text`; without a scheme it is https, on this machine http."""
    text = text.strip()
    if "://" not in text:
        local = text.startswith(("localhost", "127.", "[::1]"))
        text = ("http://" if local else "https://") + text
    return normalise(text)


@lru_cache(maxsize=65_536)
def _address(root: str) -> Address:
    _scheme, _, authority = root.partition("://")
    return Address(root, authority)


def address(url: str) -> Address:
    """Return where a normalised `url` is asked for."""
    end = url.find("/", 8)
    return _address(url[:end] if end > 0 else url)


def host(url: str) -> str:
    """Return the host name of a normalised `url`, IPv6 addresses without brackets."""
    return urlsplit(url).hostname or ""


def without_www(name: str) -> str:
    return name.removeprefix("www.")
