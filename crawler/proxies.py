"""Through which proxy a request goes: none, the one that was named, or what a machine's environment says."""

from __future__ import annotations

import re

from crawler.errors import UsageError
from crawler.guard import Network, is_in, parse_address, parse_networks
from crawler.urls import address, host

_PROXY = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<user>[!-.0-?A-~]*@)?(?P<host>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)
_PORTS = {"http": "80", "https": "443"}


def parse_proxy(text: str, where: str) -> str:
    """Return the URL of a proxy with its port, which the libraries would guess differently.

    Raises UsageError that names `where` it stands, and neither its user nor password.
    """
    match = _PROXY.fullmatch(text.strip())
    scheme = (match["scheme"] or "http").lower() if match else ""
    port = match["port"] or _PORTS[scheme] if match else "0"
    if match is None or not 0 < int(port) <= 65535:
        raise UsageError(f"{where}: a proxy is written as http://HOST:PORT or https://HOST:PORT")
    return f"{scheme}://{match['user'] or ''}{match['host']}:{port}"


class Proxies:
    """Chooses the proxy of each request.

    Raises UsageError where the environment names what is none.
    """

    def __init__(self, named: str = "", *, of_environment: bool = False) -> None:
        self._by_scheme = {"all": named} if named else {}
        self._direct: list[str] = []
        self._networks: tuple[Network, ...] = ()
        if of_environment:
            self._take(_environment())

    def of(self, url: str) -> str:
        """Return the URL of the proxy that a normalised `url` is asked through, or `""`."""
        if not self._by_scheme or (self._direct and self._is_direct(url)):
            return ""
        return self._by_scheme.get(url.partition(":")[0]) or self._by_scheme.get("all", "")

    def _take(self, found: dict[str, str]) -> None:
        self._direct = [text.strip().lower().lstrip(".") for text in found.get("no", "").split(",") if text.strip()]
        try:
            self._networks = parse_networks(text for text in self._direct if "/" in text)
        except ValueError as error:
            raise UsageError(f"--proxy-env: no_proxy: {error}") from error
        for scheme in ("http", "https", "all"):
            if text := found.get(scheme):
                self._by_scheme[scheme] = parse_proxy(text, f"--proxy-env: {scheme}_proxy")

    def _is_direct(self, url: str) -> bool:
        """Tell whether `no_proxy` names the host of `url`: by itself, its domain, its network, or as `*`."""
        name, authority = host(url), address(url).authority
        numeric = parse_address(name)
        return any(
            text in ("*", name, authority) or name.endswith(f".{text}") or authority.endswith(f".{text}")
            for text in self._direct
        ) or (numeric is not None and is_in(numeric, self._networks))


def _environment() -> dict[str, str]:
    from urllib.request import getproxies_environment  # slow to import, and few jobs ask for it

    return getproxies_environment()
