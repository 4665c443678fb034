"""Whether our own network works: told by hosts that answered before."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import select
import socket
import time

#: Hosts that are remembered of each kind, and seconds for which their connections are waited for.
MOST, PATIENCE = 8, 5.0

Where = tuple[int, tuple[str, int]]  # IPv6 has two more numbers in its address


class Reach:
    """The addresses that answered last, by which hosts that are silent are told from a network that is down.

    Those of the public network alone count where there are any: that a neighbour answers says little of it.
    """

    def __init__(self) -> None:
        self._public: dict[Where, None] = {}
        self._private: dict[Where, None] = {}

    def answered(self, where: Where) -> None:
        """Remember the address of a host that has answered: its family, and as sockets take it."""
        kind = self._public if ipaddress.ip_address(where[1][0].partition("%")[0]).is_global else self._private
        kind.pop(where, None)
        kind[where] = None
        if len(kind) > MOST:
            del kind[next(iter(kind))]

    def works(self) -> bool:
        """Tell whether most of those that answered can be connected still; it takes seconds where they cannot.

        Nothing is sent over the connections.
        """
        asked = list(self._public or self._private)
        with contextlib.ExitStack() as stack:
            return 2 * _connected(asked, stack) > len(asked)


def _connected(asked: list[Where], stack: contextlib.ExitStack) -> int:
    """Return how many addresses can be connected, or refuse that: then somebody is there, too."""
    poll, pending, there = select.poll(), dict[int, socket.socket](), 0
    for family, address in asked:
        with contextlib.suppress(OSError):  # no way there, or no descriptor left: not reached
            ours = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            ours.setblocking(False)
            error = ours.connect_ex(address)
            if error == errno.EINPROGRESS:
                pending[ours.fileno()] = ours
                poll.register(ours, select.POLLOUT)
            there += error in (0, errno.ECONNREFUSED)
    until = time.monotonic() + PATIENCE
    while pending and (left := until - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(1000 * left):
            poll.unregister(descriptor)
            error = pending.pop(descriptor).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            there += error in (0, errno.ECONNREFUSED)
    return there
