"""Which addresses may be connected: public ones, and private ranges that were opened by naming them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA special-purpose registries (RFC 6890 and successors); 168.63.129.16 is Azure's metadata service.
_CLOSED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        "168.63.129.16/32"
    ).split()
]
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = [ipaddress.IPv6Network(text) for text in "2001::/23 2001:db8::/32 2002::/16 3fff::/20".split()]


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that `--allow-net` names.

    Raises ValueError for what is no CIDR.
    """
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


class Guard:
    """Decides on the very address about to be connected."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = parse_networks(allowed)
        self.allows = lru_cache(maxsize=4096)(self._allows)

    def _allows(self, text: str) -> bool:
        """Tell whether the numeric address `text` may be connected; a scope id (`%eth0`) is never public."""
        try:
            address: Address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return is_public(address) or any(
            address.version == network.version and address in network for network in self._allowed
        )
