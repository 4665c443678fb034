"""One peer of the manager: its socket, its TLS, its proof of the key, its messages; never waits."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

from crawler.brokers import wire
from crawler.errors import WireError

if TYPE_CHECKING:
    from crawler.brokers.stock import StockClient

_READ = 256 * 1024
_READ_GREETING = 1024
#: Bytes of answers that a peer may leave unread.
MAX_UNREAD = 256 * 2**20


def may_encrypt(peer: socket.socket) -> bool:
    """Tell whether `peer` is on another machine; those on this one speak without TLS."""
    if peer.family == socket.AF_UNIX:
        return False
    try:
        return not is_loopback(peer.getpeername()[0])
    except OSError:
        return True


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


class Connection:
    """The state of one peer; `proved` once it has shown the key and we have answered its challenge."""

    def __init__(self, peer: socket.socket, key: bytes, context: ssl.SSLContext | None, deadline: float) -> None:
        self.local = peer.family == socket.AF_UNIX
        self.peer = "local" if self.local else ":".join(map(str, peer.getpeername()[:2]))
        peer.setblocking(False)
        if not self.local:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False) if context else peer
        self.watched = 1
        self.deadline = deadline
        self.proved = False
        self.outgoing = bytearray()
        self.parked: tuple[tuple[str, str], float] | None = None
        self.stock: StockClient | None = None
        self.worker = ""  #: the name under which it exchanges
        self.wants_to_write = False
        self._key = key
        self._frames = wire.Frames()
        self._encrypted = not context
        self._answered = False
        self._challenge = wire.challenge()
        self.send(self._challenge)

    def __hash__(self) -> int:
        return id(self)

    def receive(self) -> None:
        """Take in all that arrived, and go on with the greeting.

        Raises EOFError at the end, WireError or OSError where the peer does wrong.
        """
        if not self._encrypted and not self._handshake():
            return
        while True:
            try:
                size = _READ if self.proved else _READ_GREETING
                data = self.socket.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not data:
                raise EOFError
            self._frames.feed(data)
            while not self.proved and (message := self._frames.next()) is not None:
                self._greet(message)
            if len(data) < size and not isinstance(self.socket, ssl.SSLSocket):
                break

    def _handshake(self) -> bool:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self.wants_to_write = True
            return False
        if not wire.is_ours(self._key, self.socket.getpeercert(True)):
            raise WireError("it showed another certificate than the key's")
        self._encrypted = True
        return True

    def _greet(self, message: bytes) -> None:
        if not self._answered:
            if not wire.proves(self._key, self._challenge, message):
                self.send(wire.FAILURE)
                self.flush()
                raise WireError("it does not have the key")
            self._answered = True
            self.send(wire.WELCOME)
        elif message.startswith(wire.CHALLENGE):
            if message == self._challenge:
                raise WireError("it sent our own challenge back")
            self.send(wire.answer(self._key, message))
        elif message == wire.WELCOME:
            self.proved = True
            self._frames.limit = wire.MAX_MESSAGE
        else:
            raise WireError("it did not take our answer: its key is another")

    def next_message(self) -> bytes | None:
        return self._frames.next() if self.proved else None

    def send(self, message: bytes) -> None:
        self.outgoing += wire.frame(message)
        if len(self.outgoing) > MAX_UNREAD:
            raise WireError("it does not read its answers")

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
