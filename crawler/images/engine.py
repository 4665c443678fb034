"""Many transfers at a time in one thread: libcurl's multi interface."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import pycurl

from crawler.access import Credentials
from crawler.errors import UsageError
from crawler.guard import Guard
from crawler.images.pool import Pool, Sockets
from crawler.images.reach import Reach
from crawler.images.transfer import OLDEST_LIBCURL, Handle, Transfer
from crawler.model import Task
from crawler.proxies import Proxies
from crawler.refresh import NO_CONDITIONS
from crawler.spec import Spec
from crawler.turns import LAG
from crawler.urls import address

#: Requests to one host that share a pool: at each request libcurl looks through all connections to its host. With 1,024
#: of them that was a fourth of a worker's instructions.
SHARING = 64


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
        self._sockets = Sockets(self._wake_read)
        self.reach = Reach()
        pools = -(-connections // SHARING)
        kept = max(2 * connections // pools, 2 * SHARING)
        self._pools = [Pool(self._sockets, kept) for _ in range(pools)]

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
        if len(self._pools) > 1:
            authority = address(task.at).authority
            if handle.authority != authority or handle.pool.running.get(authority, 0) >= SHARING:
                handle.authority, handle.pool = authority, self._pool_for(authority)
        handle.pool.add(handle.curl, handle.authority)
        self._begun[handle] = time.monotonic()
        self.running += 1

    def _new_handle(self) -> Handle:
        return Handle(self._spec, self._guard, self._credentials, self._proxies, self._pools[0])

    def _pool_for(self, authority: str) -> Pool:
        """Return the pool for another request to a host: always the same ones, so that connections are used again."""
        pools = self._pools
        first = hash(authority) % len(pools)
        for place in range(first, first + len(pools)):
            pool = pools[place % len(pools)]
            if pool.running.get(authority, 0) < SHARING:
                break
        return pool

    def wait(self, timeout: float) -> list[Transfer]:
        """Let transfers go on for up to `timeout` seconds, and return those that ended."""
        began = time.monotonic()
        ended, self._ended = self._ended, []
        if ended:
            timeout = 0.0
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
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)
            else:
                self._sockets.act(descriptor, event)
        for pool in self._pools:
            if pool.is_stirred:
                ended += self._collect(pool, now)
        return ended

    def send(self) -> None:
        """Send the requests that were begun; those that end by it are returned by the next `wait`, which is at once."""
        now = time.monotonic()
        for pool in self._pools:
            if pool.is_stirred:
                pool.act_in_time()
                self._ended += self._collect(pool, now)

    def abandon(self) -> list[Task]:
        """End all that runs, and return its tasks; of a request that has not reached its host nothing is sent later."""
        self._sockets.reset()
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
        for pool in self._pools:
            pool.multi.close()
        self._sockets.close()
        os.close(self._wake_read)
        write, self._wake_write = self._wake_write, -1  # a store that ends later may still wake us
        os.close(write)

    def _collect(self, pool: Pool, now: float) -> list[Transfer]:
        ended: list[Transfer] = []
        while True:
            left, succeeded, failed = pool.multi.info_read()
            for curl in succeeded:
                ended.append(curl.handle.answer())
                ended[-1].lasted = now - self._release(curl.handle)
                if curl.handle.connected is not None:
                    self.reach.answered(curl.handle.connected)
            for curl, code, message in failed:
                ended.append(curl.handle.failure(code, message))
                ended[-1].lasted = now - self._release(curl.handle)
            if not left:
                return ended

    def _release(self, handle: Handle) -> float:
        """Let others use a handle, and return when its transfer was begun."""
        handle.pool.remove(handle.curl, handle.authority)
        self.running -= 1
        handle.release()
        self._free.append(handle)
        return self._begun.pop(handle)


def referrer_for(url: str, page: str) -> str:
    """Return what a request for `url` says of the page that named it (`strict-origin-when-cross-origin`)."""
    if not page or (page.startswith("https:") and url.startswith("http:")):
        return ""
    return page if address(page).origin == address(url).origin else address(page).origin + "/"
