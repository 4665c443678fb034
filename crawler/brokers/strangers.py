"""Peers that have not shown the key yet: how many there may be, who must go first, and how much is said of them."""

from __future__ import annotations

import ipaddress
import logging
import resource
import time
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from crawler.brokers.connection import Connection

log = logging.getLogger(__name__)

#: Seconds in which an honest peer has shown the key, on all but the slowest of networks.
SOON = 2.0
#: Lines that the log gains in a minute at most because of strangers.
MOST_LINES = 60


def most_strangers() -> int:
    """Return how many there may be at a time: 256, or half of the descriptors where those are fewer."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(256, soft // 2) if soft != resource.RLIM_INFINITY else 256


def superfluous(connections: Iterable[Connection], most: int, now: float) -> list[Connection]:
    """Return the strangers that must go so that `most` stay.

    Of the network with the most of them: first who is late, then who says nothing, and the oldest first. So whoever
    fills the room crowds out himself before others, and who greets stays before who is silent.
    """
    strangers = [connection for connection in connections if not connection.known]
    strangers.sort(key=lambda stranger: (now - stranger.since < SOON, stranger.heard, stranger.since))
    crowds = Counter(_network(stranger.host) for stranger in strangers)
    gone: list[Connection] = []
    for _ in range(len(strangers) - most):
        crowded = max(crowds, key=crowds.__getitem__)
        first = next(stranger for stranger in strangers if _network(stranger.host) == crowded)
        strangers.remove(first)
        crowds[crowded] -= 1
        gone.append(first)
    return gone


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    """Return who stands behind an address: of IPv6, everybody has 2**64 of them."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


class SparingLog:
    """Warns of strangers, who could otherwise fill the disk with what is said of them."""

    def __init__(self) -> None:
        self._minute = 0
        self._lines = 0

    def warn(self, text: str, *arguments: object) -> None:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            if self._lines > MOST_LINES:
                log.warning("%d more such lines about strangers were left out", self._lines - MOST_LINES)
            self._minute, self._lines = minute, 0
        self._lines += 1
        if self._lines <= MOST_LINES:
            log.warning(text, *arguments)
