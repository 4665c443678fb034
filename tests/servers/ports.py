"""Ports for what is started a moment later."""

from __future__ import annotations

import contextlib
import random
import socket

#: Below those that the system gives to who names none: there others could take a port before it is used.
_LEAST, _MOST = 10_000, 32_767
_CHANCE = random.SystemRandom()


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port at which nobody listens."""
    while True:
        port = _CHANCE.randint(_LEAST, _MOST)
        with contextlib.suppress(OSError), socket.create_server((address, port)):
            return port
