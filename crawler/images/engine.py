"""Many transfers at a time in one thread: libcurl's multi interface over epoll."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Mapping

import pycurl

from crawler.access import Credentials
from crawler.errors import UsageError
from crawler.guard import Guard
from crawler.images.transfer import OLDEST_LIBCURL, Handle, Transfer
from crawler.model import Task
from crawler.proxies import Proxies
from crawler.refresh import NO_CONDITIONS
from crawler.spec import Spec
from crawler.urls import address

#: Seconds after which a transfer is taken to be held up by its server.
LAG = 2.0
#: Lets a socket forget what is not sent yet when it is closed.
_RESET = struct.pack("ii", 1, 0)


class Engine:
    """Runs up to `connections` transfers; `wake` may be called from any thread.

    Those that are held up do not count, up to as many again: fifty servers that drip would else take fifty connections
    from all the others.

    Raises UsageError where pycurl was built with a libcurl that leaves the size of headers unbounded.
    """

    def __init__(self, connections: int, spec: Spec, guard: Guard) -> None:
        _, version, number, *_ = pycurl.version_info()
        if number < OLDEST_LIBCURL:
            raise UsageError(f"libcurl {version} is too old: pip install --upgrade --only-binary :all: pycurl")
        self._spec = spec
        self._guard = guard
        self._credentials = Credentials(spec.access)
        self._proxies = Proxies(spec.proxy, of_environment=spec.proxy_env)
        self._connections = connections
        self._free: list[Handle] = []
        self._made = 0
        self.running = 0
        self._begun: dict[Handle, float] = {}  # when those that run were, in their order
        self._timer: float | None = None
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}  #: what epoll looks for, by descriptor
        self._resting: set[int] = set()  #: descriptors of connections that are kept for the next request
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * connections)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wake_read, select.EPOLLIN)

    @property
    def free(self) -> int:
        """Return how many transfers may be started."""
        room, late = self._connections - self.running, 0
        if room > 0:
            return room
        before = time.monotonic() - LAG
        for begun in self._begun.values():
            if begun > before or late == self._connections:
                break
            late += 1
        return room + late

    def start(self, task: Task, referrer: str, conditions: Mapping[str, str] = NO_CONDITIONS) -> None:
        """Begin the request of `task`; with `conditions` (header fields), the answer may be 304 without a body."""
        handle = self._free.pop() if self._free else Handle(self._spec, self._guard, self._credentials, self._proxies)
        handle.prepare(task, referrer, conditions)
        self._multi.add_handle(handle.curl)
        self._begun[handle] = time.monotonic()
        self.running += 1

    def wait(self, timeout: float) -> list[Transfer]:
        """Let transfers go on for up to `timeout` seconds, and return those that ended."""
        if self._timer is not None:
            timeout = min(timeout, max(0.0, self._timer - time.monotonic()))
        events = self._epoll.poll(timeout)
        if self._timer is not None and time.monotonic() >= self._timer:
            self._timer = None
            self._act(pycurl.SOCKET_TIMEOUT, 0)
        for descriptor, event in events:
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)
            elif descriptor in self._resting:
                self._forget(descriptor)  # its server hangs up
            else:
                readable = event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR)
                writable = event & (select.EPOLLOUT | select.EPOLLERR)
                self._act(descriptor, (pycurl.CSELECT_IN if readable else 0) | (pycurl.CSELECT_OUT if writable else 0))
        return self._collect()

    def abandon(self) -> list[Task]:
        """End all that runs, and return its tasks; of a request that has not reached its host nothing is sent later."""
        for descriptor in self._watched.keys() - self._resting:
            with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        running = list(self._begun)
        tasks = [handle.task for handle in running if handle.task is not None]
        for handle in running:
            self._release(handle)
        return tasks

    def wake(self) -> None:
        """Let `wait` return at once."""
        try:
            os.write(self._wake_write, b".")
        except OSError:
            return  # enough wakes are waiting, or nobody waits any more

    def close(self) -> None:
        self._multi.close()
        self._epoll.close()
        os.close(self._wake_read)
        write, self._wake_write = self._wake_write, -1  # a store that ends later may still wake us
        os.close(write)

    def _act(self, descriptor: int, action: int) -> None:
        while self._multi.socket_action(descriptor, action)[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass

    def _collect(self) -> list[Transfer]:
        ended: list[Transfer] = []
        while True:
            left, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                ended.append(curl.handle.answer())
                self._release(curl.handle)
            for curl, code, message in failed:
                ended.append(curl.handle.failure(code, message))
                self._release(curl.handle)
            if not left:
                return ended

    def _release(self, handle: Handle) -> None:
        self._multi.remove_handle(handle.curl)
        self.running -= 1
        del self._begun[handle]
        handle.release()
        self._free.append(handle)

    def _on_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000 if milliseconds else 0.0

    def _on_socket(self, what: int, descriptor: int, multi: object, data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if descriptor in self._watched:
                self._resting.add(descriptor)  # most are asked for again at once, which costs one call, not two
            return
        events = (select.EPOLLIN if what & pycurl.POLL_IN else 0) | (select.EPOLLOUT if what & pycurl.POLL_OUT else 0)
        self._resting.discard(descriptor)
        if descriptor in self._watched:
            try:
                self._epoll.modify(descriptor, events)
            except FileNotFoundError:  # it was closed meanwhile, and this is another of the same number
                self._epoll.register(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor] = events

    def _forget(self, descriptor: int) -> None:
        """Look no more for what comes from a descriptor; it may be closed already."""
        self._resting.discard(descriptor)
        if self._watched.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)


def referrer_for(url: str, page: str) -> str:
    """Return what a request for `url` says of the page that named it (`strict-origin-when-cross-origin`)."""
    if not page or (page.startswith("https:") and url.startswith("http:")):
        return ""
    return page if address(page).origin == address(url).origin else address(page).origin + "/"
