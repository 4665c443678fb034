"""One peer of the manager: its socket, its TLS, its proof of the key, its messages; never waits."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

from crawler.brokers import wire
from crawler.errors import WireError
from crawler.guard import parse_address

if TYPE_CHECKING:
    from crawler.brokers.stock import StockClient

_READ = 256 * 1024
_READ_GREETING = 1024
#: Bytes taken from one peer before others have their turn.
_MOST_AT_ONCE = 4 * 2**20
#: Bytes of answers that a peer may leave unread when it asks for more.
MAX_UNREAD = 16 * 2**20
#: Seconds of silence after which the system asks whether the other machine is still there, between, and how often.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


def is_near(peer: socket.socket) -> bool:
    """Tell whether `peer` is on this machine."""
    if peer.family == socket.AF_UNIX:
        return True
    try:
        return is_loopback(peer.getpeername()[0])
    except OSError:
        return False


def is_loopback(address: str) -> bool:
    parsed = parse_address(address)
    return parsed is not None and parsed.is_loopback


class Connection:
    """The state of one peer; `proved` once it has shown the key and we have answered its challenge.

    With a `context`, peers of other machines speak TLS from the first byte, and those on loopback once they ask for it.
    """

    def __init__(self, peer: socket.socket, key: bytes, context: ssl.SSLContext | None, deadline: float) -> None:
        self.local = peer.family == socket.AF_UNIX
        self.host, self.peer = wire.HERE, wire.HERE
        if not self.local:
            self.host, port = peer.getpeername()[:2]
            self.peer = f"{self.host}:{port}"
            _set_up(peer)
        peer.setblocking(False)
        self.since = time.monotonic()
        self.socket = peer
        self.watched = 1
        self.deadline = deadline
        self.heard = False  #: it has said something
        self.known = self.local  #: it has shown the key: by its certificate or its answer
        self.proved = False
        self.outgoing = bytearray()
        self.parked: tuple[tuple[str, str], float] | None = None
        self.stock: StockClient | None = None
        self.worker = ""  #: the name under which it exchanges
        self.wants_to_write = False
        self._key = key
        self._frames = wire.Frames()
        self._context = context
        self._encrypted = True
        self._answered = False
        if context is not None and not is_near(peer):
            self._begin_tls(context)
        self._challenge = wire.challenge()
        self.send(self._challenge)

    def __hash__(self) -> int:
        return id(self)

    def receive(self) -> None:
        """Take in what arrived, and go on with the greeting.

        Raises EOFError at the end, WireError or OSError where the peer does wrong.
        """
        self.heard = True
        taken = 0
        while taken < _MOST_AT_ONCE and (self._encrypted or self._handshake()):
            try:
                size = _READ if self.proved else _READ_GREETING
                data = self.socket.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not data:
                raise EOFError
            taken += len(data)
            self._frames.feed(data)
            while not self.proved and (message := self._frames.next()) is not None:
                self._greet(message)
            if len(data) < size and not isinstance(self.socket, ssl.SSLSocket):
                break
        if self.parked is not None and len(self._frames) > wire.MAX_GREETING:
            raise WireError("it sends on while its request waits")

    # TLS

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._encrypted = False

    def _secure(self) -> None:
        """Let a peer on loopback go on in TLS: from here on all is as with one of another machine."""
        if self._context is None:
            self.send(wire.FAILURE)
            self.flush()
            raise WireError("it asks for TLS, and --unencrypted was given here")
        if isinstance(self.socket, ssl.SSLSocket) or self._answered or len(self._frames):
            raise WireError("it asks for TLS out of turn")
        self.send(wire.SECURE)
        self.flush()
        if self.outgoing:
            raise WireError("it does not read its answers")
        self._begin_tls(self._context)
        self._challenge = wire.challenge()
        self.send(self._challenge)

    def _handshake(self) -> bool:
        assert isinstance(self.socket, ssl.SSLSocket)
        self.wants_to_write = False
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self.wants_to_write = True
            return False
        if not wire.is_ours(self._key, self.socket.getpeercert(True)):
            raise WireError("it showed another certificate than the key's")
        self._encrypted = self.known = True
        return True

    # The proof, and messages

    def _greet(self, message: bytes) -> None:
        if not self._answered:
            if message == wire.SECURE:
                self._secure()
                return
            if not wire.proves(self._key, self._challenge, message):
                self.send(wire.FAILURE)
                self.flush()
                raise WireError("it does not have the key")
            self._answered = self.known = True
            self.send(wire.WELCOME)
        elif message.startswith(wire.CHALLENGE):
            if message == self._challenge:
                raise WireError("it sent our own challenge back")
            self.send(wire.answer(self._key, message))
        elif message == wire.WELCOME:
            self.proved = True
            self._frames.limit = wire.MAX_MESSAGE if self.local else wire.MAX_FAR_MESSAGE
        else:
            raise WireError("it did not take our answer: its key is another")

    def next_message(self) -> bytes | None:
        return self._frames.next() if self.proved else None

    @property
    def holds(self) -> int:
        """The bytes that are kept for it: of unfinished messages and of unread answers."""
        return len(self._frames) + len(self.outgoing)

    def send(self, message: bytes) -> None:
        if len(self.outgoing) > MAX_UNREAD:
            raise WireError("it does not read its answers")
        self.outgoing += wire.frame(message)

    def flush(self) -> None:
        """Send what can be sent now."""
        if not self._encrypted and not self._handshake():
            return
        self.wants_to_write = False
        while self.outgoing:
            try:
                sent = self.socket.send(self.outgoing)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self.wants_to_write = True
                return
            del self.outgoing[:sent]

    def park(self, call: tuple[str, str], until: float) -> None:
        """Let a call wait for its answer."""
        self.parked = (call, until)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()


def _set_up(peer: socket.socket) -> None:
    """Send small messages at once, and notice machines that are gone without a word."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        peer.setsockopt(socket.IPPROTO_TCP, option, value)
