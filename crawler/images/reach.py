"""Whether our own network works: told by a host that answered before."""

from __future__ import annotations

import errno
import socket
import threading
import time
from math import inf

#: Seconds for which an answer holds, and for which a connection is waited for.
HOLDS, PATIENCE = 5.0, 5.0

Where = tuple[int, tuple[str, int]]  # IPv6 has two more numbers in its address


class Reach:
    """The address that answered last, by which hosts that are silent are told from a network that is down.

    `works` may be called from any thread.
    """

    def __init__(self) -> None:
        self.answered: Where | None = None  #: family of the address, and the address as sockets take it
        self._lock = threading.Lock()
        self._asked = -inf
        self._works = False

    def works(self) -> bool:
        """Tell whether what answered before can be connected still; nothing is sent over the connection."""
        with self._lock:
            if time.monotonic() - self._asked > HOLDS:
                self._works = self.answered is not None and _connects(*self.answered)
                self._asked = time.monotonic()
            return self._works


def _connects(family: int, address: tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as ours:
        ours.settimeout(PATIENCE)
        try:
            ours.connect(address)
        except OSError as error:
            return error.errno == errno.ECONNREFUSED  # somebody is there
    return True
