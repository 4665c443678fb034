"""Connections that are closed without sending what waits in them."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable

_RESET = struct.pack("ii", 1, 0)


def forget_unsent(descriptors: Iterable[int]) -> None:
    """Have these sockets forget what is not sent yet when they are closed."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
