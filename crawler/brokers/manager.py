"""The broker on the network, as a multiprocessing manager: one thread, one loop, one commit for all that arrived.

Our own clients call `broker` with bytes and get bytes (msgspec); stock `BaseManager` clients see two queues.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from crawler.brokers import wire
from crawler.brokers.connection import Connection, may_encrypt
from crawler.brokers.service import Service
from crawler.brokers.sqlite import SqliteBroker
from crawler.errors import WireError

log = logging.getLogger(__name__)

#: Seconds that a peer may take to prove the key.
GREETING_TIME = 10.0
#: Seconds between looks at what waits for a task, a line or a dead lease.
TICK = 0.05


class Manager:
    """Serves one broker on listening sockets until it is told to stop."""

    def __init__(self, broker: SqliteBroker, key: bytes, *, encrypt: bool = True) -> None:
        self._broker = broker
        self._key = key
        self._selector = selectors.DefaultSelector()
        self._connections: dict[Connection, None] = {}
        self._context = wire.tls_context(key, server=True) if encrypt else None
        self._most_greeting = _greeting_limit()
        self._deaf_until = 0.0
        self._next_tick = 0.0
        self._service = Service(broker, self._connections)

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def watch(self, descriptor: int) -> None:
        """Leave `turn` at once when `descriptor` becomes readable: the parent ended, or a signal came."""
        self._selector.register(descriptor, selectors.EVENT_READ, "watched")

    def turn(self) -> None:
        """Serve all that arrived, commit once, answer."""
        now = time.monotonic()
        ready: list[Connection] = []
        for key, events in self._selector.select(TICK):
            if key.data is None:
                self._accept(key.fileobj)  # type: ignore[arg-type]
            elif isinstance(key.data, Connection):
                connection = key.data
                if events & selectors.EVENT_WRITE:
                    self._guarded(connection, connection.flush)
                if events & selectors.EVENT_READ and self._guarded(connection, connection.receive):
                    ready.append(connection)
        with self._broker.group():
            for connection in ready:
                self._guarded(connection, lambda c=connection: self._service.serve(c))  # type: ignore[misc]
            if now >= self._next_tick:
                self._next_tick = now + TICK
                self._tick(now)
        for connection in list(self._connections):
            if connection.outgoing:
                self._guarded(connection, connection.flush)
            self._select(connection)

    def close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        for key in list(self._selector.get_map().values()):
            if key.data is None:
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        if time.monotonic() < self._deaf_until:
            return
        for _ in range(64):
            try:
                peer, _ = listener.accept()
            except (BlockingIOError, ConnectionError, InterruptedError):
                return
            except OSError as error:  # no descriptors or memory left: those who wait must go first
                log.warning("no further connection can be taken for a second: %s", error.strerror)
                self._deaf_until = time.monotonic() + 1.0
                return
            self._make_room()
            context = self._context if may_encrypt(peer) else None
            try:
                connection = Connection(peer, self._key, context, time.monotonic() + GREETING_TIME)
            except OSError as error:
                log.warning("a connection broke at once: %s", error)
                peer.close()
                continue
            self._connections[connection] = None
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def _make_room(self) -> None:
        greeting = [connection for connection in self._connections if not connection.proved]
        if len(greeting) >= self._most_greeting:
            self._drop(greeting[0])

    def _select(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_to_write else 0)
        if wanted != connection.watched:
            connection.watched = wanted
            self._selector.modify(connection.socket, wanted, connection)

    def _guarded(self, connection: Connection, act: Callable[[], Any]) -> bool:
        """Do `act`; whatever a peer does wrong ends its own connection only."""
        if connection not in self._connections:
            return False
        try:
            act()
        except EOFError:
            self._drop(connection)
        except (WireError, ssl.SSLError, OSError) as error:
            log.warning("the connection from %s is closed: %s", connection.peer, error)
            self._drop(connection)
        else:
            return True
        return False

    def _drop(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.close()
        if connection.stock is not None:
            connection.stock.close()
        if connection.worker:
            self._broker.left(connection.worker)

    def _tick(self, now: float) -> None:
        self._broker.tick()
        for connection in list(self._connections):
            if not connection.proved:
                if now > connection.deadline:
                    log.warning("%s did not prove the key in %d s", connection.peer, GREETING_TIME)
                    self._drop(connection)
                continue
            if connection.stock is not None:
                connection.stock.renew()
            if connection.parked is not None:
                self._guarded(connection, lambda c=connection: self._service.unpark(c, now))  # type: ignore[misc]


def _greeting_limit() -> int:
    """Return how many peers may be greeting at a time: 256, or half of the descriptors where those are fewer."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(256, soft // 2) if soft != resource.RLIM_INFINITY else 256
