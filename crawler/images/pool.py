"""Connections that transfers share, and what epoll looks for on their behalf."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from functools import partial
from math import inf
from typing import Any

import pycurl

#: Lets a socket forget what is not sent yet when it is closed.
_RESET = struct.pack("ii", 1, 0)
_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITABLE = select.EPOLLOUT | select.EPOLLERR


class Pool:
    """A libcurl multi handle: transfers that share their connections."""

    def __init__(self, sockets: Sockets, connections: int) -> None:
        """At most so many connections are kept."""
        self.running: dict[str, int] = {}  #: transfers by authority, where there are several pools
        self.is_stirred = True  #: since it was last asked when it is `due`
        self.due = inf  #: when transfers want to go on that wait for no socket, by the monotonic clock
        self.multi: Any = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, partial(sockets.heed, self))
        self.multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self.act = self.multi.socket_action

    def add(self, curl: Any, authority: str) -> None:
        self.is_stirred = True
        self.multi.add_handle(curl)
        if authority:
            self.running[authority] = self.running.get(authority, 0) + 1

    def remove(self, curl: Any, authority: str) -> None:
        self.is_stirred = True
        self.multi.remove_handle(curl)
        if authority:
            self.running[authority] -= 1
            if not self.running[authority]:
                del self.running[authority]

    def ask(self, now: float) -> None:
        """Ask when transfers want to go on that wait for no socket."""
        milliseconds = self.multi.timeout()  # told by libcurl itself, it came twice for each transfer
        self.due = inf if milliseconds < 0 else now + milliseconds / 1000
        self.is_stirred = False

    def act_in_time(self) -> None:
        """Let transfers go on that wait for no socket."""
        self.is_stirred = True
        self.act(pycurl.SOCKET_TIMEOUT, 0)


class Sockets:
    """The sockets of all pools; one that rests is of a connection that is kept for the next request."""

    def __init__(self, wake: int) -> None:
        """`wake` is a descriptor that is readable when `poll` is to return."""
        self._epoll = select.epoll()
        self._epoll.register(wake, select.EPOLLIN)
        self._watched: dict[int, Pool | None] = {}  #: by descriptor; of those that rest there is no pool

    def heed(self, pool: Pool, what: int, descriptor: int, multi: object, data: object) -> None:
        """Look for what libcurl waits for now (CURLMOPT_SOCKETFUNCTION)."""
        if what == pycurl.POLL_REMOVE:
            if descriptor in self._watched:
                self._watched[descriptor] = None  # most are asked for again at once, which costs one call, not two
            return
        events = _EVENTS[what]
        if descriptor in self._watched:
            try:
                self._epoll.modify(descriptor, events)
            except FileNotFoundError:  # it was closed meanwhile, and this is another of the same number
                self._epoll.register(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor] = pool

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Return what there is to do after up to `timeout` seconds: descriptors with their events."""
        return self._epoll.poll(timeout)

    def act(self, descriptor: int, event: int) -> None:
        """Let the transfer go on that waited for this."""
        pool = self._watched.get(descriptor)
        if pool is None:
            self._forget(descriptor)  # it rests, and its server hangs up
        else:
            pool.is_stirred = True
            readable = pycurl.CSELECT_IN if event & _READABLE else 0
            pool.act(descriptor, readable | (pycurl.CSELECT_OUT if event & _WRITABLE else 0))

    def reset(self) -> None:
        """Have nothing sent later of the requests under way that have not reached their hosts, when they are ended."""
        for descriptor in [descriptor for descriptor, pool in self._watched.items() if pool is not None]:
            with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        self._epoll.close()

    def _forget(self, descriptor: int) -> None:
        """Look no more for what comes from a descriptor; it may be closed already."""
        if descriptor in self._watched:
            del self._watched[descriptor]
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)
