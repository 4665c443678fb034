"""What the manager answers: our own clients call the broker with bytes, stock clients see two queues."""

from __future__ import annotations

import queue
import time
from collections.abc import Collection
from functools import partial
from typing import Any

import msgspec

from crawler.brokers import far, plain
from crawler.brokers.connection import Connection
from crawler.brokers.sqlite import SqliteBroker
from crawler.brokers.stock import StockClient, StockQueues
from crawler.errors import CrawlerError, UsageError, WireError
from crawler.model import WIRE_VERSION, Found, Reply, Report, decode, encode
from crawler.spec import Spec

_QUEUES = {
    "get_task_queue": ("tasks", ("empty", "full", "get", "get_nowait", "put", "put_nowait", "qsize")),
    "get_result_queue": ("results", ("empty", "full", "get", "get_nowait", "put", "put_nowait", "qsize")),
}
_LATER = object()


class Service:
    """Answers the requests of all connections; raises WireError where a peer speaks nonsense."""

    def __init__(self, broker: SqliteBroker, connections: Collection[Connection]) -> None:
        self._broker = broker
        self._connections = connections
        self._queues = StockQueues(broker)
        self._named = 0

    def serve(self, connection: Connection) -> None:
        """Answer the request that has arrived; a peer has its answer before it asks again."""
        while connection.parked is None and (message := connection.next_message()) is not None:
            if connection.outgoing:
                raise WireError("it asks again before it has its answer")
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
                return encode(self._exchange(connection, worker, report))
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
                case "take_up", [bytes(spec)]:
                    return encode(broker.take_up(decode(spec, Spec)))
                case "put", [bytes(found), int(parent)]:
                    return broker.put(decode(found, list[Found]), parent)
                case "results", [str(cursor), int(limit)]:
                    return encode(broker.results(cursor, limit))
                case "ledger", [str(cursor), int(limit)]:
                    page = broker.ledger(cursor, limit)
                    return page.cursor, encode(page.rows)
                case "reopen", [bytes(seqs)]:
                    return broker.reopen(decode(seqs, list[int]))
                case "review", [str(cursor)]:
                    return broker.review(cursor)
                case "prune", [bytes(seqs)]:
                    return broker.prune(decode(seqs, list[int]))
                case "conclude", []:
                    return broker.conclude()
                case "shards", []:
                    return encode(broker.shards())
                case "workers", []:
                    return broker.workers()
        raise UsageError(f"the collector does not serve {method[:40]!r} with these arguments to {connection.peer}")

    def _exchange(self, connection: Connection, worker: str, report: bytes) -> Reply:
        """Exchange for a worker; a connection of another machine speaks for one of there only."""
        if connection.local:
            said = decode(report, Report)
        elif connection.worker in ("", worker):
            far.check_name(worker)
            said = far.read_report(report)
        else:
            raise WireError(f"it speaks for {worker[:40]!r} after {connection.worker!r}")
        reply = self._broker.exchange(worker, said, connection.host)
        connection.worker = worker
        return reply

    def _queue_call(
        self, connection: Connection, ident: str, method: str, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        if connection.stock is None:
            self._named += 1
            connection.stock = StockClient(self._broker, f"{far.STOCK}{connection.peer}-{self._named}")
        if method in ("put", "put_nowait"):
            item = args[0] if args else kwargs.get("item", kwargs.get("obj"))
            if ident == "tasks":
                self._queues.put_task(item)
            else:
                self._settled(self._queues.put_result(item, partial(self._speaker, connection)))
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

    def _speaker(self, connection: Connection, url: str) -> str:
        """Return as whom a stock client tells what became of `url`: itself, or who took it on the same machine.

        Threads of one program have a connection each, and may well take with one and tell with another.
        """
        assert connection.stock is not None
        for other in self._connections:
            if other.stock is not None and other.host == connection.host and other.stock.holds(url):
                return other.stock.name
        return connection.stock.name

    def _settled(self, url: str) -> None:
        for connection in self._connections:
            if connection.stock is not None:
                connection.stock.settled(url)

    def unpark(self, connection: Connection, now: float) -> None:
        """Answer the request that waits, when that is possible or its time is over."""
        try:
            reply = self._try_parked(connection, now)
        except queue.Empty:
            connection.send(plain.dumps(("#ERROR", queue.Empty())))
        else:
            if reply is _LATER:
                return
            connection.send(plain.dumps(("#RETURN", reply)))
        self.serve(connection)

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
