"""Many transfers at a time: pools that share connections, and epoll, which tells of those that go on."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import pycurl

from crawler.images.resetting import forget_unsent
from crawler.urls import address

if TYPE_CHECKING:
    from crawler.images.transfer import Handle

#: Requests to one host that share a pool: at each request libcurl looks through all connections to its host. With 1,024
#: of them that was a fourth of a worker's instructions.
SHARING = 64
_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITABLE = select.EPOLLOUT | select.EPOLLERR


class Many:
    """Transfers in pools; a request goes to the pool that has connections to its host."""

    def __init__(self, connections: int, wake: int) -> None:
        """`wake` is a descriptor that is readable when `wait` is to return."""
        self._wake = wake
        self._sockets = Sockets(wake)
        pools = -(-connections // SHARING)
        kept = max(2 * connections // pools, 2 * SHARING)
        self._pools = [Pool(self._sockets, kept) for _ in range(pools)]
        self._places: dict[Handle, tuple[str, Pool]] = {}  #: authority and pool of the last request of each

    def add(self, handle: Handle) -> None:
        assert handle.task is not None
        authority = address(handle.task.at).authority
        before, pool = self._places.get(handle, ("", self._pools[0]))
        if before != authority or pool.running.get(authority, 0) >= SHARING:
            pool = self._pool_for(authority)
            self._places[handle] = authority, pool
        pool.add(handle.curl, authority)

    def remove(self, handle: Handle) -> None:
        authority, pool = self._places[handle]
        pool.remove(handle.curl, authority)

    def _pool_for(self, authority: str) -> Pool:
        """Return the pool for another request to a host: always the same ones, so that connections are used again."""
        pools = self._pools
        first = hash(authority) % len(pools)
        for place in range(first, first + len(pools)):
            pool = pools[place % len(pools)]
            if pool.running.get(authority, 0) < SHARING:
                break
        return pool

    def wait(self, timeout: float) -> None:
        began = time.monotonic()
        for pool in self._pools:
            if pool.is_stirred:
                pool.ask(began)
        due = min([pool.due for pool in self._pools])
        events = self._sockets.poll(max(0.0, min(timeout, due - began)))
        if due <= (now := time.monotonic()):
            for pool in self._pools:
                if pool.due <= now:
                    pool.act_in_time()
        for descriptor, event in events:
            if descriptor == self._wake:
                os.read(self._wake, 4096)
            else:
                self._sockets.act(descriptor, event)

    def send(self) -> None:
        for pool in self._pools:
            if pool.is_stirred:
                pool.act_in_time()

    def multis(self) -> Iterator[Any]:
        for pool in self._pools:
            if pool.is_stirred:
                yield pool.multi

    def reset(self) -> None:
        self._sockets.reset()

    def close(self) -> None:
        for pool in self._pools:
            pool.multi.close()
        self._sockets.close()


class Pool:
    """A libcurl multi handle: transfers that share their connections."""

    def __init__(self, sockets: Sockets, connections: int) -> None:
        """At most so many connections are kept."""
        self.running: dict[str, int] = {}  #: transfers by authority
        self.is_stirred = True  #: since it was last asked when it is `due`
        self.due = inf  #: when transfers want to go on that wait for no socket, by the monotonic clock
        self.multi: Any = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, partial(sockets.heed, self))
        self.multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self.act = self.multi.socket_action

    def add(self, curl: Any, authority: str) -> None:
        self.is_stirred = True
        self.multi.add_handle(curl)
        self.running[authority] = self.running.get(authority, 0) + 1

    def remove(self, curl: Any, authority: str) -> None:
        self.is_stirred = True
        self.multi.remove_handle(curl)
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
        forget_unsent(descriptor for descriptor, pool in self._watched.items() if pool is not None)

    def close(self) -> None:
        self._epoll.close()

    def _forget(self, descriptor: int) -> None:
        """Look no more for what comes from a descriptor; it may be closed already."""
        if descriptor in self._watched:
            del self._watched[descriptor]
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)
