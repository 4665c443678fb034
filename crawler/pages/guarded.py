"""What requests lacks below a session: a deadline for the whole, and a guard on each address that is connected."""

from __future__ import annotations

import heapq
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from crawler.errors import PrivateAddress
from crawler.guard import Guard
from crawler.pages.counted import counted_response


class Watchdog(threading.Thread):
    """Shuts the sockets of requests down that are over their deadline, wherever they hang."""

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._wakes = float("inf")
        self.start()

    def watch(self, deadline: Deadline) -> None:
        with self._changed:
            while self._heap and self._heap[0][2].over:
                heapq.heappop(self._heap)
            heapq.heappush(self._heap, (deadline.at, id(deadline), deadline))
            if deadline.at < self._wakes:
                self._changed.notify()

    def run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                while self._heap and (self._heap[0][0] <= now or self._heap[0][2].over):
                    heapq.heappop(self._heap)[2].strike()
                self._wakes = self._heap[0][0] if self._heap else float("inf")
                self._changed.wait(self._wakes - now if self._heap else None)


class Deadline:
    """One request's deadline, the socket that it uses now, and how many bytes its body may have."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.seconds, self.at = seconds, time.monotonic() + seconds
        self.max_bytes = max_bytes
        self.over = False
        self.struck = False
        self.socket: Any = None

    def strike(self) -> None:
        if self.over:
            return
        self.struck = True
        if (used := self.socket) is not None:
            try:
                socket.socket.shutdown(
                    used, socket.SHUT_RDWR
                )  # that of TLS would let what is still sent go in the clear
            except OSError:
                return  # it is closed already


#: What the request of this thread has to keep to, as `deadline`.
CURRENT = threading.local()


def _guarded_connection(base: type[HTTPConnection], guard: Guard, proxied: bool) -> type[HTTPConnection]:
    class Guarded(base):  # type: ignore[misc, valid-type]
        response_class = counted_response(lambda: CURRENT.deadline.max_bytes)

        def __str__(self) -> str:  # stands in urllib3's messages
            return f"{self.host}:{self.port}"

        def _new_conn(self) -> socket.socket:
            allows = guard.allows_proxy if proxied else guard.allows
            connection = _connect(self._dns_host, self.port, self.timeout, guard, allows, self)
            _attend(connection)
            return connection

        def request(self, *args: Any, **kwargs: Any) -> None:
            _attend(self.sock)
            super().request(*args, **kwargs)
            _attend(self.sock)

    return Guarded


def _attend(sock: Any) -> None:
    deadline = getattr(CURRENT, "deadline", None)
    if deadline is not None and sock is not None:
        deadline.socket = getattr(sock, "socket", sock)  # of TLS inside the TLS of a proxy the outer one
        if deadline.struck:
            raise TimeoutError("the deadline is over")


def _connect(
    name: str, port: int, timeout: Any, guard: Guard, allows: Callable[[str, int], bool], connection: Any
) -> socket.socket:
    """Connect to the first address of `name` that takes us; each is checked when it is about to be connected.

    One that stays silent ends it, since the next would cost as much time again.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise urllib3.exceptions.NameResolutionError(name, connection, error) from error  # type: ignore[arg-type]
    failure: OSError | None = None
    for family, kind, protocol, _, where in found:
        address = str(where[0])
        if not allows(address, port):
            raise PrivateAddress(name, address, own=guard.is_own(address, port))
        opened = socket.socket(family, kind, protocol)
        try:
            _attend(opened)
            opened.settimeout(timeout if isinstance(timeout, (int, float)) else 5.0)
            opened.connect(where)
        except TimeoutError as error:
            opened.close()
            raise urllib3.exceptions.ConnectTimeoutError(connection, f"connecting to {name} timed out") from error
        except OSError as error:
            opened.close()
            failure = error
        else:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
    raise urllib3.exceptions.NewConnectionError(connection, str(failure)) from failure


class GuardedAdapter(HTTPAdapter):
    def __init__(self, guard: Guard, connections: int) -> None:
        self._direct, self._proxied = _pools(guard, proxied=False), _pools(guard, proxied=True)
        super().__init__(pool_connections=64, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._proxied
        return manager


def _pools(guard: Guard, *, proxied: bool) -> dict[str, type[HTTPConnectionPool]]:
    bases = {"http": (HTTPConnectionPool, HTTPConnection), "https": (HTTPSConnectionPool, HTTPSConnection)}
    return {
        scheme: type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": _guarded_connection(base, guard, proxied)})
        for scheme, (pool, base) in bases.items()
    }
