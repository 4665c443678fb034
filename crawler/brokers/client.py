"""The broker as seen from another process: the same contract, over a connection to its manager."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from multiprocessing.util import register_after_fork
from typing import Any, NamedTuple

from crawler.account import Begun, Counts, LedgerPage, LedgerRow, ShardRow
from crawler.brokers import plain, wire
from crawler.brokers.connection import is_loopback
from crawler.errors import BrokerUnreachable, CrawlerError, UsageError, WireError, WrongKey, WrongVersion
from crawler.model import WIRE_VERSION, Found, Reply, Report, decode, encode
from crawler.spec import Spec

DEFAULT_PORT = 8001
#: The rows of the last page of the ledger.
_NO_ROWS = encode([])
#: Bytes that are read at a time.
_READ = 256 * 1024
#: Seconds to connect and greet, and for an answer.
CONNECT_TIMEOUT = 10.0
CALL_TIMEOUT = 60.0


class ServerAddress(NamedTuple):
    """Where a manager listens: `path` of a UNIX socket, or host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def parse_server(text: str, default_port: int = DEFAULT_PORT) -> ServerAddress:
    """Return the address that HOST, HOST:PORT, [V6]:PORT or a path names.

    Raises UsageError where it is none.
    """
    if text.startswith("/"):
        return ServerAddress(path=text)
    host, port = text, str(default_port)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{text!r} is no server; write HOST or HOST:PORT, such as machine-a:{DEFAULT_PORT}")
    return ServerAddress(host, int(port))


class ManagerBroker:
    """Keeps the Broker contract over one connection, made at the first call and after each failure.

    Raises BrokerUnreachable where nobody answers, WrongKey, WrongVersion. Not thread-safe.
    """

    def __init__(self, server: ServerAddress, key: bytes, *, encrypt: bool = True) -> None:
        self._server = server
        self._key = key
        self._encrypt = encrypt
        self._socket: socket.socket | None = None
        self._frames = wire.Frames()
        self._incoming = memoryview(bytearray(_READ))  # new for each read, all its pages would be, too
        self._asked: tuple[str, int] | None = None  #: the page of the ledger whose answer nobody has taken yet
        self._following = ""  #: the cursor of the page that follows the last one
        self.addresses: tuple[tuple[str, int], ...] = ()  #: where the manager was found: numeric, with its port
        register_after_fork(self, ManagerBroker.close)  # what is forked has no part in our talk

    def connect(self) -> None:
        """Connect and prove the key, unless that is done."""
        if self._socket is not None:
            return
        self._frames = wire.Frames()
        try:
            self._socket = self._open()
            self._greet()
            version = self._request("hello")
        except (WireError, OSError, EOFError) as error:
            self.close()
            raise self._explain(error) from error
        except CrawlerError:
            self.close()
            raise
        if version != WIRE_VERSION:
            self.close()
            raise WrongVersion(
                f"{self._server} speaks version {version} of the protocol, this program version {WIRE_VERSION}; "
                "install the same release on both machines"
            )

    def close(self) -> None:
        self._asked = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def spec(self) -> Spec:
        return decode(self._call("spec"), Spec)

    def begin(self, spec: Spec) -> Begun:
        return decode(self._call("begin", encode(spec)), Begun)

    def take_up(self, spec: Spec) -> Begun:
        return decode(self._call("take_up", encode(spec)), Begun)

    def put(self, found: list[Found], parent: int = 0) -> int:
        return int(self._call("put", encode(found), parent))

    def exchange(self, worker: str, report: Report) -> Reply:
        return decode(self._call("exchange", worker, encode(report)), Reply)

    def robots(self, digest: str) -> str:
        return str(self._call("robots", digest))

    def results(self, cursor: str, limit: int) -> LedgerPage:
        return decode(self._call("results", cursor, limit), LedgerPage)

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        """Return a page of the ledger; who reads page after page has the next one looked for meanwhile."""
        goes_on = cursor != "" and cursor == self._following
        following, rows = self._call("ledger", cursor, limit)
        self._following = str(following)
        if goes_on and rows != _NO_ROWS:
            self._ask_ahead(self._following, limit)
        return LedgerPage(decode(rows, list[LedgerRow]), self._following)

    def counts(self) -> Counts:
        return decode(self._call("counts"), Counts)

    def reopen(self, seqs: list[int]) -> int:
        return int(self._call("reopen", encode(seqs)))

    def review(self, cursor: str) -> str:
        return str(self._call("review", cursor))

    def prune(self, seqs: list[int]) -> int:
        return int(self._call("prune", encode(seqs)))

    def conclude(self) -> None:
        self._call("conclude")

    def shards(self) -> list[ShardRow]:
        return decode(self._call("shards"), list[ShardRow])

    def workers(self) -> list[str]:
        return [str(name) for name in self._call("workers")]

    # The connection

    def _call(self, method: str, *args: object) -> Any:
        self.connect()
        try:
            if self._asked is not None:
                wanted = method == "ledger" and self._asked == args
                self._asked = None
                answer = self._receive()
                if wanted:
                    return _value_of(answer)
            return self._request(method, *args)
        except (WireError, OSError, EOFError) as error:
            self.close()
            raise self._explain(error) from error

    def _ask_ahead(self, cursor: str, limit: int) -> None:
        """Ask for a page of the ledger, and take the answer with the next call."""
        try:
            self._send("ledger", cursor, limit)
        except OSError:  # the next call will tell
            self.close()
        else:
            self._asked = (cursor, limit)

    def _request(self, method: str, *args: object) -> Any:
        self._send(method, *args)
        return _value_of(self._receive())

    def _send(self, method: str, *args: object) -> None:
        assert self._socket is not None
        self._socket.sendall(wire.frame(plain.dumps(("broker", method, args, {}))))

    def _receive(self, until: float = 0.0) -> bytes:
        """Return the next message; raises TimeoutError where it is not there in time, also one that drips."""
        assert self._socket is not None
        while (message := self._frames.next()) is None:
            if until:
                self._socket.settimeout(max(until - time.monotonic(), 0.001))
            size = self._socket.recv_into(self._incoming)
            if not size:
                raise EOFError("the connection ended")
            self._frames.feed(self._incoming[:size])
        return message

    def _open(self) -> socket.socket:
        if self._server.path:
            plain_socket = socket.socket(socket.AF_UNIX)
            plain_socket.settimeout(CALL_TIMEOUT)
            try:
                plain_socket.connect(self._server.path)
            except OSError:
                plain_socket.close()
                raise
            return plain_socket
        found = socket.getaddrinfo(self._server.host, self._server.port, type=socket.SOCK_STREAM)
        self.addresses = tuple((str(where[0]), self._server.port) for *_, where in found)
        connection = socket.create_connection((self._server.host, self._server.port), CONNECT_TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if is_loopback(connection.getpeername()[0]):
                return connection
            wire.refuse_guessable(self._key)
        except (OSError, UsageError):
            connection.close()
            raise
        return self._secured(connection) if self._encrypt else connection

    def _secured(self, connection: socket.socket) -> ssl.SSLSocket:
        """Go on in TLS, with nobody but who has the key."""
        try:
            connection.settimeout(CONNECT_TIMEOUT)
            secured = wire.tls_context(self._key, server=False).wrap_socket(connection)
        except OSError:  # of which TLS errors are a kind; explained where the call began
            connection.close()
            raise
        if not wire.is_ours(self._key, secured.getpeercert(True)):
            secured.close()
            raise WrongKey(self._wrong_key())
        return secured

    def _greet(self) -> None:
        assert self._socket is not None
        until = time.monotonic() + CONNECT_TIMEOUT
        try:
            challenge = self._receive(until)
        except TimeoutError as error:
            raise BrokerUnreachable(
                f"{self._server} takes connections and says nothing; was --unencrypted given at one end only?"
            ) from error
        if self._encrypt and not self._server.path and not isinstance(self._socket, ssl.SSLSocket):
            challenge = self._ask_for_tls(self._socket, until)
        self._socket.sendall(wire.frame(wire.answer(self._key, challenge)))
        if self._receive(until) != wire.WELCOME:
            raise WrongKey(self._wrong_key())
        ours = wire.challenge()
        self._socket.sendall(wire.frame(ours))
        if not wire.proves(self._key, ours, self._receive(until)):
            raise WrongKey(self._wrong_key())
        self._socket.sendall(wire.frame(wire.WELCOME))
        self._frames.limit = wire.MAX_MESSAGE
        self._socket.settimeout(CALL_TIMEOUT)

    def _ask_for_tls(self, connection: socket.socket, until: float) -> bytes:
        """Go on in TLS at a port that speaks without at first, and return the challenge that comes then."""
        connection.sendall(wire.frame(wire.SECURE))
        if self._receive(until) != wire.SECURE or len(self._frames):
            raise UsageError(self._no_tls())
        self._socket = self._secured(connection)
        return self._receive(until)

    def _no_tls(self) -> str:
        return f"{self._server} does not speak TLS: give --unencrypted at both ends, or at none"

    def _wrong_key(self) -> str:
        return (
            f"{self._server} has another key; copy the collector's key file to this machine and name it with "
            "--key-file, or set CRAWLER_KEY"
        )

    def _explain(self, error: Exception) -> CrawlerError:
        """Return the error of ours that says what went wrong with the connection and what can be done."""
        where = self._server
        explain: dict[type[Exception], Callable[[], CrawlerError]] = {
            socket.gaierror: lambda: BrokerUnreachable(f"the name {where.host} is not known; check --server"),
            ConnectionRefusedError: lambda: BrokerUnreachable(
                f"nothing listens at {where}; is the collector running, and with --listen for this network?"
            ),
            FileNotFoundError: lambda: BrokerUnreachable(f"nothing listens at {where}"),
            TimeoutError: lambda: BrokerUnreachable(
                f"{where} does not answer; a firewall may drop the packets: open TCP port {where.port} there"
            ),
            ssl.SSLEOFError: lambda: BrokerUnreachable(f"{where} hangs up before it greets"),
            ssl.SSLError: lambda: self._explain_tls(error),
            WireError: lambda: UsageError(f"{where} is no manager of this program: {error}"),
        }
        for kind, make in explain.items():
            if isinstance(error, kind):
                return make()
        return BrokerUnreachable(f"the connection to {where} broke: {error}")

    def _explain_tls(self, error: Exception) -> CrawlerError:
        if getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":
            return UsageError(self._no_tls())
        return WrongKey(self._wrong_key())


def _value_of(answer: bytes) -> Any:
    """Return what a manager's answer says; raises UsageError where it refuses."""
    reply = plain.loads(answer, exceptions=True)
    if not (isinstance(reply, tuple) and len(reply) == 2):
        raise WireError("the answer is none of a manager")
    kind, value = reply
    if kind == "#RETURN":
        return value
    raise UsageError(str(value)) if kind == "#TRACEBACK" else WireError(f"the manager refused: {value}")
