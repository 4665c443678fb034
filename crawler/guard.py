"""Which addresses may be connected: public ones, and private ranges that were opened; never our own broker's."""

from __future__ import annotations

import errno
import ipaddress
import socket
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


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def parse_address(text: str) -> Address | None:
    """Return the numeric address `text` without its scope id (`%eth0`), out of IPv6 where it is mapped into it."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_here(address: Address) -> bool:
    """Tell whether this machine has `address`; the unspecified ones mean all that it has."""
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL  # what the system cannot tell is taken for ours
    return True


class Guard:
    """Decides on the very address about to be connected.

    `own` are the addresses and ports at which our own services listen: no range opens them. Where that is on this
    machine, their ports are shut at all of its addresses, since a service may listen at each.
    """

    def __init__(self, allowed: Iterable[str] = (), own: Iterable[tuple[str, int]] = ()) -> None:
        self._allowed = parse_networks(allowed)
        self._own: dict[int, list[Address | None]] = {}
        for text, port in own:
            self._own.setdefault(port, []).append(parse_address(text))
        self._opens = lru_cache(maxsize=4096)(self._is_open)

    def allows(self, text: str, port: int) -> bool:
        """Tell whether the numeric address `text` may be connected at `port`."""
        return self._opens(text) and not self.is_own(text, port)

    def allows_proxy(self, text: str, port: int) -> bool:
        """Tell whether the proxy that was asked for may be connected there: anywhere but at our own services."""
        return parse_address(text) is not None and not self.is_own(text, port)

    def is_own(self, text: str, port: int) -> bool:
        """Tell whether one of our own services listens there."""
        if port not in self._own:
            return False
        address, ours = parse_address(text), self._own[port]
        return address is None or address in ours or (is_here(address) and any(one and is_here(one) for one in ours))

    def _is_open(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and (is_public(address) or is_in(address, self._allowed))
