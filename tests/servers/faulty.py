"""A web site that misbehaves on request and remembers what it was asked, and a canary that only counts."""

from __future__ import annotations

import contextlib
import mimetypes
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from servers.records import Entry, Records, Request, hung_up

_PIECE = 64 * 1024


@dataclass(frozen=True)
class Reply:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_at: int | None = None
    head_drip: float = 0.0
    body_drip: float = 0.0
    hangs: bool = False


class FaultySite:
    """Serves what was registered, by exact path with its query; anything else is 404.

    With a certificate and its key it speaks TLS. `url` has no slash at its end. What is registered last for a path
    replaces what was there.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0, certificate: tuple[Path, Path] | None = None) -> None:
        self._lock = threading.Lock()
        self._scripts: dict[str, list[Reply]] = {}
        self._records = Records()
        self._server = _Server(self, address, port, certificate)
        self.address = address
        self.port: int = self._server.server_address[1]
        self.url = f"http{'s' if certificate else ''}://{address}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> FaultySite:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._server.stop()

    # What the site answers.

    def add(
        self,
        path: str,
        body: bytes | str = b"",
        content_type: str = "",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._script(path, _reply(path, body, content_type, status, headers))

    def fail_then(self, path: str, statuses: Sequence[int], body: bytes | str, content_type: str = "") -> None:
        failures = [_reply(path, f"{status}", "text/plain", status) for status in statuses]
        self._script(path, *failures, _reply(path, body, content_type))

    def retry_after(
        self, path: str, body: bytes | str, status: int = 429, value: str = "1", content_type: str = ""
    ) -> None:
        """Once `status` with Retry-After: seconds or an HTTP date; then the body."""
        refusal = _reply(path, f"{status}", "text/plain", status, {"Retry-After": value})
        self._script(path, refusal, _reply(path, body, content_type))

    def cut(self, path: str, body: bytes | str, at: int, content_type: str = "") -> None:
        """Content-Length tells of the whole body; the connection closes after `at` bytes of it."""
        self._script(path, replace(_reply(path, body, content_type), cut_at=at))

    def cut_then(self, path: str, body: bytes | str, at: int, content_type: str = "") -> None:
        whole = _reply(path, body, content_type)
        self._script(path, replace(whole, cut_at=at), whole)

    def drip(self, path: str, body: bytes | str, seconds_per_byte: float, content_type: str = "") -> None:
        self._script(path, replace(_reply(path, body, content_type), body_drip=seconds_per_byte))

    def drip_headers(self, path: str, body: bytes | str, seconds_per_byte: float, content_type: str = "") -> None:
        self._script(path, replace(_reply(path, body, content_type), head_drip=seconds_per_byte))

    def slow(
        self,
        path: str,
        body: bytes | str,
        delay: float,
        content_type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._script(path, replace(_reply(path, body, content_type, headers=headers), delay=delay))

    def hang(self, path: str) -> None:
        """Takes the request and never answers, until either side closes."""
        self._script(path, Reply(status=0, hangs=True))

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self._script(path, Reply(status=status, headers={"Location": location}))

    # What the site was asked.

    @property
    def requests(self) -> list[Request]:
        return self._records.requests()

    @property
    def connections(self) -> int:
        """How many were made to it."""
        return self._server.accepted

    @property
    def most_at_once(self) -> int:
        return self._records.most_at_once()

    def gaps(self, path: str | None = None) -> list[float]:
        """Seconds from the end of each answer to the next request, of all paths or of one; below 0 if they overlap."""
        return self._records.gaps(path)

    def headers(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path, by lower-case name."""
        return self._records.headers(path)

    def _script(self, path: str, *replies: Reply) -> None:
        with self._lock:
            self._scripts[path] = list(replies)

    def _begin(self, handler: _Handler) -> tuple[Reply, Entry]:
        with self._lock:
            script = self._scripts.get(handler.path) or [_reply(handler.path, "404", "text/plain", 404)]
            reply = script.pop(0) if len(script) > 1 else script[0]
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(time.monotonic(), handler.command, handler.path, reply.status)
        return reply, self._records.begin(request, headers, handler.connection)


def _reply(
    path: str, body: bytes | str, content_type: str = "", status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    data = body.encode() if isinstance(body, str) else body
    kind = content_type or _content_type(path.partition("?")[0])
    return Reply(body=data, status=status, headers={"Content-Type": kind, **(headers or {})})


def _content_type(path: str) -> str:
    if path.endswith("/"):
        return "text/html; charset=utf-8"
    if path.endswith(".webp"):  # unknown to Python before 3.13
        return "image/webp"
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, site: FaultySite, address: str, port: int, certificate: tuple[Path, Path] | None) -> None:
        self.site = site
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[Any] = set()
        self.accepted = 0
        super().__init__((address, port), _Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
            self.accepted += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away between two requests is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        reply, entry = self.server.site._begin(self)
        try:
            self._answer(reply, entry)
        except OSError:
            self.close_connection = True
        finally:
            self.server.site._records.end(entry)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, reply: Reply, entry: Entry) -> None:
        if reply.hangs:
            hung_up(self.connection, None)
            raise ConnectionAbortedError
        self._pause(reply.delay)
        body = b"" if self.command == "HEAD" else reply.body[: reply.cut_at]
        pieces = [*_pieces(_head(reply), reply.head_drip), *_pieces(body, reply.body_drip)]
        for index, (piece, pause) in enumerate(pieces, start=1):
            self._pause(pause)
            if index == len(pieces):  # before the client can know, or its next request would look like a second one
                self.server.site._records.end(entry)
            self.wfile.write(piece)
        if reply.cut_at is not None or reply.headers.get("Connection") == "close":
            self.close_connection = True

    def _pause(self, seconds: float) -> None:
        if seconds == 0:
            return
        if hung_up(self.connection, seconds) or self.server.stopping.is_set():
            raise ConnectionAbortedError


def _head(reply: Reply) -> bytes:
    phrase = BaseHTTPRequestHandler.responses.get(reply.status, ("Unknown", ""))[0]
    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _pieces(data: bytes, drip: float) -> Iterator[tuple[bytes, float]]:
    step = 1 if drip else _PIECE
    return ((data[start : start + step], drip) for start in range(0, len(data), step))


class CountingServer:
    """A canary: anyone may connect, nobody is answered.

    The kernel accepts and buffers; reading a count takes in all that came until then, so nothing is missed.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._lock = threading.Lock()
        everywhere, family = address == "::", socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=1024, dualstack_ipv6=everywhere)
        self._listener.setblocking(False)
        self._open: list[socket.socket] = []
        self._connections = 0
        self._received = 0
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{address}:{self.port}"

    def __enter__(self) -> CountingServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def connections(self) -> int:
        self._take_in()
        return self._connections

    @property
    def received(self) -> int:
        self._take_in()
        return self._received

    def close(self) -> None:
        self._take_in()
        with self._lock:
            for connection in [self._listener, *self._open]:
                connection.close()
            self._open.clear()

    def _take_in(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._accept()
        with self._lock:
            self._open = [connection for connection in self._open if self._drain(connection)]

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._open.append(connection)
            self._connections += 1

    def _drain(self, connection: socket.socket) -> bool:
        try:
            while data := connection.recv(_PIECE):
                self._received += len(data)
        except BlockingIOError:
            return True
        except OSError:
            pass
        connection.close()
        return False
