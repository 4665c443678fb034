"""Many transfers at a time in one thread: libcurl's multi interface."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import pycurl

from crawler.access import Credentials
from crawler.errors import UsageError
from crawler.guard import Guard
from crawler.images.few import Few
from crawler.images.many import Many
from crawler.images.reach import Reach
from crawler.images.transfer import OLDEST_LIBCURL, Handle, Transfer
from crawler.model import Task
from crawler.proxies import Proxies
from crawler.refresh import NO_CONDITIONS
from crawler.spec import Spec
from crawler.turns import LAG
from crawler.urls import address

#: Connections up to which libcurl is let look at all at once: with 32 a worker took 131 µs of CPU an image so, and 143
#: where epoll told of each. select(2), which looks for them, ends at descriptor 1,023.
FEW = 64


class Driver(Protocol):
    """How libcurl is driven; handles are added with a request prepared."""

    def add(self, handle: Handle) -> None: ...

    def remove(self, handle: Handle) -> None: ...

    def wait(self, timeout: float) -> None:
        """Let transfers go on for up to `timeout` seconds."""

    def send(self) -> None:
        """Let those go on that wait for nothing."""

    def multis(self) -> Iterable[Any]:
        """Return libcurl's handles in which transfers may have ended."""

    def reset(self) -> None:
        """Have nothing sent later of the requests under way that have not reached their hosts, when they are ended."""

    def close(self) -> None: ...


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
        self.running = 0
        self._begun: dict[Handle, float] = {}  # when those that run were, in their order
        self._ended: list[Transfer] = []  # while they were sent
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        wake = self._wake_read
        self._driver: Driver = Few(2 * FEW, wake) if connections <= FEW else Many(connections, wake)
        self.reach = Reach()

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
        handle = self._free.pop() if self._free else self._new_handle()
        handle.prepare(task, referrer, conditions)
        self._driver.add(handle)
        self._begun[handle] = time.monotonic()
        self.running += 1

    def _new_handle(self) -> Handle:
        return Handle(self._spec, self._guard, self._credentials, self._proxies)

    def wait(self, timeout: float) -> list[Transfer]:
        """Let transfers go on for up to `timeout` seconds, and return those that ended."""
        ended, self._ended = self._ended, []
        self._driver.wait(0.0 if ended else timeout)
        return self._collect(ended)

    def send(self) -> None:
        """Send the requests that were begun; those that end by it are returned by the next `wait`, which is at once."""
        self._driver.send()
        self._ended = self._collect(self._ended)

    def abandon(self) -> list[Task]:
        """End all that runs, and return its tasks; of a request that has not reached its host nothing is sent later."""
        self._driver.reset()
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
        self._driver.close()
        os.close(self._wake_read)
        write, self._wake_write = self._wake_write, -1  # a store that ends later may still wake us
        os.close(write)

    def _collect(self, ended: list[Transfer]) -> list[Transfer]:
        """Add the transfers that have ended since to those that `ended` before, and return all."""
        now = time.monotonic()
        for multi in self._driver.multis():
            left = 1
            while left:
                left, succeeded, failed = multi.info_read()
                for curl in succeeded:
                    ended.append(self._end(curl.handle, curl.handle.answer(), now))
                    if curl.handle.connected is not None:
                        self.reach.answered(curl.handle.connected)
                for curl, code, message in failed:
                    ended.append(self._end(curl.handle, curl.handle.failure(code, message), now))
        return ended

    def _end(self, handle: Handle, transfer: Transfer, now: float) -> Transfer:
        transfer.lasted = now - self._release(handle)
        return transfer

    def _release(self, handle: Handle) -> float:
        """Let others use a handle, and return when its transfer was begun."""
        self._driver.remove(handle)
        self.running -= 1
        handle.release()
        self._free.append(handle)
        return self._begun.pop(handle)


def referrer_for(url: str, page: str) -> str:
    """Return what a request for `url` says of the page that named it (`strict-origin-when-cross-origin`)."""
    if not page or (page.startswith("https:") and url.startswith("http:")):
        return ""
    return page if address(page).origin == address(url).origin else address(page).origin + "/"
