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
from crawler.brokers.connection import Connection
from crawler.brokers.service import Service
from crawler.brokers.sqlite import SqliteBroker
from crawler.brokers.strangers import SparingLog, most_strangers, superfluous
from crawler.errors import WireError

log = logging.getLogger(__name__)

#: Seconds that a peer may take to prove the key.
GREETING_TIME = 9.0
#: Seconds between looks at what waits for a task, a line or a dead lease.
TICK = 0.05
#: Peers that are taken at a time, and seconds for which a listener rests then: strangers can cost no more than that.
ACCEPTS_AT_ONCE = 64
ACCEPT_REST = 0.02
#: Seconds for which a listener rests when descriptors are exhausted.
EXHAUSTED_TIME = 1.0
#: Bytes kept for all peers together, of unfinished messages and of unread answers.
MOST_HELD = 256 * 2**20


class Manager:
    """Serves one broker on listening sockets until it is told to stop."""

    def __init__(self, broker: SqliteBroker, key: bytes, *, encrypt: bool = True) -> None:
        self._broker = broker
        self._key = key
        self._selector = selectors.DefaultSelector()
        self._connections: dict[Connection, None] = {}
        self._encrypt = encrypt
        self._context: ssl.SSLContext | None = None  #: for peers that do not come through a UNIX socket
        self._listeners: list[socket.socket] = []
        self._resting: dict[socket.socket, float] = {}  #: listeners that accept nobody until then
        self._most_strangers = most_strangers()
        self._log = SparingLog()
        self._next_tick = 0.0
        self._service = Service(broker, self._connections)

    def listen(self, listener: socket.socket) -> None:
        if self._encrypt and self._context is None and listener.family != socket.AF_UNIX:
            self._context = wire.tls_context(self._key, server=True)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def watch(self, descriptor: int) -> None:
        """Leave `turn` at once when `descriptor` becomes readable: the parent ended, or a signal came."""
        self._selector.register(descriptor, selectors.EVENT_READ, "watched")

    def turn(self) -> None:
        """Serve all that arrived, commit once, answer."""
        now = time.monotonic()
        ready: list[Connection] = []
        knocking: list[socket.socket] = []
        self._wake_listeners(now)
        for key, events in self._selector.select(ACCEPT_REST if self._resting else TICK):
            if key.data is None:
                knocking.append(key.fileobj)  # type: ignore[arg-type]
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
        for listener in knocking:
            self._accept(listener)
        self._bound()

    def close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        for listener in self._listeners:
            listener.close()
        self._selector.close()

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        """Take those who have come, a few at a time; a listener that rests does not wake us."""
        rest = ACCEPT_REST if listener.family != socket.AF_UNIX else 0.0
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                peer, _ = listener.accept()
            except (BlockingIOError, ConnectionError, InterruptedError):
                rest = 0.0
                break
            except OSError as error:  # no descriptors or memory left: those who wait must go first
                log.warning("no further connection can be taken for a second: %s", error.strerror)
                rest = EXHAUSTED_TIME
                break
            self._greet(peer)
        if rest:
            self._selector.unregister(listener)
            self._resting[listener] = time.monotonic() + rest
        for connection in superfluous(self._connections, self._most_strangers, time.monotonic()):
            self._log.warn("%s had not shown the key, and makes room for others", connection.peer)
            self._drop(connection)

    def _greet(self, peer: socket.socket) -> None:
        try:
            connection = Connection(peer, self._key, self._context, time.monotonic() + GREETING_TIME)
        except OSError as error:
            self._log.warn("a connection broke at once: %s", error)
            peer.close()
            return
        self._connections[connection] = None
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._guarded(connection, connection.flush)
        self._select(connection)

    def _wake_listeners(self, now: float) -> None:
        for listener in [listener for listener, until in self._resting.items() if now >= until]:
            del self._resting[listener]
            self._selector.register(listener, selectors.EVENT_READ, None)

    def _bound(self) -> None:
        """Part with those for whom the most is kept, when it is too much in all."""
        while sum([connection.holds for connection in self._connections]) > MOST_HELD:
            greedy = max(self._connections, key=lambda connection: connection.holds)
            log.warning("the connection from %s is closed: %d bytes are kept for it", greedy.peer, greedy.holds)
            self._drop(greedy)

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
            warn = log.warning if connection.known else self._log.warn
            warn("the connection from %s is closed: %s", connection.peer, error)
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
                    self._log.warn("%s did not prove the key in %d s", connection.peer, GREETING_TIME)
                    self._drop(connection)
                continue
            if connection.stock is not None:
                connection.stock.renew()
            if connection.parked is not None:
                self._guarded(connection, lambda c=connection: self._service.unpark(c, now))  # type: ignore[misc]
