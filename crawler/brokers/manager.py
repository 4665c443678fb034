"""The broker on the network, as a multiprocessing manager: one thread, one loop, one commit for all that arrived.

Our own clients call `broker` with bytes and get bytes (msgspec); stock `BaseManager` clients see two queues.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from crawler.brokers import plain, wire
from crawler.brokers.connection import Connection, may_encrypt
from crawler.brokers.sqlite import SqliteBroker
from crawler.brokers.stock import StockClient, StockQueues
from crawler.errors import CrawlerError, UsageError, WireError
from crawler.model import WIRE_VERSION, Found, Report, Spec, decode, encode

log = logging.getLogger(__name__)

#: Seconds that a peer may take to prove the key.
GREETING_TIME = 10.0
#: Seconds between looks at what waits for a task, a line or a dead lease.
TICK = 0.05
_QUEUES = {
    "get_task_queue": ("tasks", ("empty", "full", "get", "get_nowait", "put", "put_nowait", "qsize")),
    "get_result_queue": ("results", ("empty", "full", "get", "get_nowait", "put", "put_nowait", "qsize")),
}
_LATER = object()


class Manager:
    """Serves one broker on listening sockets until it is told to stop."""

    def __init__(self, broker: SqliteBroker, key: bytes, *, encrypt: bool = True) -> None:
        self._broker = broker
        self._key = key
        self._queues = StockQueues(broker)
        self._selector = selectors.DefaultSelector()
        self._connections: dict[Connection, None] = {}
        self._context = wire.tls_context(key, server=True) if encrypt else None
        self._most_greeting = _greeting_limit()
        self._deaf_until = 0.0
        self._next_tick = 0.0
        self._named = 0

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
                self._guarded(connection, lambda c=connection: self._serve(c))  # type: ignore[misc]
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
                self._guarded(connection, lambda c=connection: self._unpark(c, now))  # type: ignore[misc]

    # Requests

    def _serve(self, connection: Connection) -> None:
        while connection.parked is None and (message := connection.next_message()) is not None:
            request = plain.loads(message)
            if isinstance(request, tuple) and len(request) == 4:
                self._answer(connection, request)
            else:
                raise WireError("a message is no request")

    def _answer(self, connection: Connection, request: tuple[Any, ...]) -> None:
        ident, method, args, kwargs = request
        if not (type(method) is str and type(args) in (tuple, list) and type(kwargs) is dict):
            raise WireError("a message is no request")
        try:
            if ident is None:
                reply = self._manager_call(connection, method, args)
            elif ident == "broker":
                reply = self._broker_call(connection, method, args)
            elif ident in ("tasks", "results"):
                reply = self._queue_call(connection, ident, method, list(args), kwargs)
            else:
                raise WireError(f"a request names the unknown object {str(ident)[:40]!r}")
        except queue.Empty:
            connection.send(plain.dumps(("#ERROR", queue.Empty())))
        except WireError:
            raise
        except (CrawlerError, msgspec.MsgspecError) as error:
            connection.send(plain.dumps(("#TRACEBACK", str(error))))
        except (ValueError, TypeError) as error:
            if ident == "broker":
                raise  # a defect of ours
            connection.send(plain.dumps(("#ERROR", ValueError(str(error)))))
        else:
            if reply is not _LATER:
                connection.send(plain.dumps(("#RETURN", reply)))

    def _manager_call(self, connection: Connection, method: str, args: Any) -> Any:
        """Answer what `BaseManager` and its proxies ask; `shutdown` and `debug_info` are not served."""
        if method in ("dummy", "incref", "decref", "accept_connection"):
            return None
        if method == "create" and args and args[0] in _QUEUES:
            return _QUEUES[args[0]]
        if method == "get_methods" and args and getattr(args[0], "__len__", None):
            return _QUEUES["get_task_queue"][1]
        raise ValueError(f"{method[:40]!r} is not served here")

    def _broker_call(self, connection: Connection, method: str, args: Any) -> Any:
        if method == "hello":
            return WIRE_VERSION
        if any(isinstance(arg, str) and not arg.isascii() for arg in args):
            raise UsageError("names and digests are ASCII")
        broker = self._broker
        body = [arg if isinstance(arg, (bytes, str, int)) else None for arg in args]
        match method, body:
            case "exchange", [str(worker), bytes(report)]:
                connection.worker = worker
                return encode(broker.exchange(worker, decode(report, Report)))
            case "spec", []:
                return encode(broker.spec())
            case "robots", [str(digest)]:
                return broker.robots(digest)
            case "counts", []:
                return encode(broker.counts())
        if connection.local:
            match method, body:
                case "begin", [bytes(spec)]:
                    return encode(broker.begin(decode(spec, Spec)))
                case "put", [bytes(found), int(parent)]:
                    return broker.put(decode(found, list[Found]), parent)
                case "results", [str(cursor), int(limit), int(mentions)]:
                    return encode(broker.results(cursor, limit, bool(mentions)))
                case "reopen", [bytes(seqs)]:
                    return broker.reopen(decode(seqs, list[int]))
                case "workers", []:
                    return broker.workers()
        raise UsageError(f"the collector does not serve {method[:40]!r} with these arguments to {connection.peer}")

    def _queue_call(
        self, connection: Connection, ident: str, method: str, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        if connection.stock is None:
            self._named += 1
            connection.stock = StockClient(self._broker, f"stock-{connection.peer}-{self._named}")
        if method in ("put", "put_nowait"):
            item = args[0] if args else kwargs.get("item", kwargs.get("obj"))
            if ident == "tasks":
                self._queues.put_task(item)
            else:
                self._settled(self._queues.put_result(item, f"stock-{connection.peer}"))
            return None
        if method == "full":
            return False
        if method == "qsize":
            return self._queues.waiting() if ident == "tasks" else self._queues.ready_lines()
        if method in ("get", "get_nowait"):
            blocks, timeout = _how_to_get(method, args, kwargs)
            connection.park((ident, "get"), time.monotonic() + timeout if blocks else 0.0)
        elif method == "empty":
            connection.park((ident, "empty"), float("inf"))
        else:
            raise ValueError(f"{method[:40]!r} is not served here")
        return self._try_parked(connection, time.monotonic())

    def _settled(self, url: str) -> None:
        for connection in self._connections:
            if connection.stock is not None:
                connection.stock.settled(url)

    def _unpark(self, connection: Connection, now: float) -> None:
        try:
            reply = self._try_parked(connection, now)
        except queue.Empty:
            connection.send(plain.dumps(("#ERROR", queue.Empty())))
        else:
            if reply is _LATER:
                return
            connection.send(plain.dumps(("#RETURN", reply)))
        self._serve(connection)

    def _try_parked(self, connection: Connection, now: float) -> Any:
        """Answer what waits if it can be answered now; raises queue.Empty when its time is over."""
        assert connection.parked is not None and connection.stock is not None
        (ident, method), until = connection.parked
        client = connection.stock
        reply: Any = _LATER
        if ident == "results":
            reply = self._queues.ready_lines() == 0 if method == "empty" else self._queues.get_line() or _LATER
        elif client.reserve():
            reply = False if method == "empty" else client.take()
        elif self._queues.finished():
            if method == "get":
                connection.parked = None
                raise queue.Empty
            reply = True
        if reply is _LATER and now >= until:
            connection.parked = None
            raise queue.Empty
        if reply is not _LATER:
            connection.parked = None
        return reply


def _how_to_get(method: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[bool, float]:
    if method == "get_nowait":
        return False, 0.0
    blocks = args[0] if args else kwargs.get("block", True)
    timeout = args[1] if len(args) > 1 else kwargs.get("timeout")
    if timeout is not None and not isinstance(timeout, (int, float)):
        raise ValueError("timeout is a number of seconds")
    return bool(blocks), float("inf") if timeout is None else max(0.0, float(min(timeout, 1e9)))


def _greeting_limit() -> int:
    """Return how many peers may be greeting at a time: 256, or half of the descriptors where those are fewer."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(256, soft // 2) if soft != resource.RLIM_INFINITY else 256


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `host` and `port`.

    Raises UsageError where that is not possible.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror}; choose another with --listen") from error
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Return a socket that listens at `path`; an old one there is replaced, its owner has ended (the lock is ours)."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(1024)
    return listener
