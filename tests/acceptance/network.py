"""Peers on the network that do not have the key, and a name server whose answers change."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import socket
import ssl
import tempfile
import threading
import time
from abc import ABC, abstractmethod

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Names:
    """A name server whose answers change with each question: `answers` are taken in turn, each a set of addresses."""

    def __init__(self, address: str, answers: list[list[str]]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._turns = itertools.cycle(answers)
        self.given: list[list[str]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        """Answer a question of one name: with addresses of IPv4 that nobody may keep, and none of another kind."""
        end = question.index(0, 12) + 5
        asked = question[12:end]
        addresses = next(self._turns) if asked[-4:-2] == b"\0\x01" else []
        if addresses:
            self.given.append(addresses)
        records = [b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + socket.inet_aton(text) for text in addresses]
        head = question[:2] + b"\x85\x80\0\x01" + len(records).to_bytes(2, "big") + bytes(4)
        return head + asked + b"".join(records)


class Peer(ABC):
    """Listens at an address, talks to each who connects in a thread, and remembers what they sent."""

    def __init__(self, address: str) -> None:
        self.listener = socket.create_server((address, 0))
        self.port: int = self.listener.getsockname()[1]
        self.received = bytearray()
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    @abstractmethod
    def talk(self, client: socket.socket) -> None:
        """Say to a client what this peer says."""

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self.talk(client)

    def take(self, client: socket.socket) -> None:
        """Take in all that a client sends."""
        while data := client.recv(65536):
            self.received += data


class Relay(Peer):
    """Passes all on to a server in both directions, `delay` seconds late; while it is held, nothing passes."""

    def __init__(self, address: str, target: tuple[str, int], delay: float = 0.0) -> None:
        self._target = target
        self._delay = delay
        self._flows = threading.Event()
        self._flows.set()
        super().__init__(address)

    def hold(self) -> None:
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    def talk(self, client: socket.socket) -> None:
        with socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.see(data)
                time.sleep(self._delay)
                self._flows.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def see(self, data: bytes) -> None:
        """Take note of what passes."""


class Wiretap(Relay):
    """Remembers what passes to and from a server of its own machine."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(address, (address, port))

    def see(self, data: bytes) -> None:
        self.received += data


class Leaver(Peer):
    """Hangs up as soon as somebody says something."""

    def talk(self, client: socket.socket) -> None:
        client.recv(65536)


class Impostor(Peer):
    """Says what a manager without TLS says first."""

    def talk(self, client: socket.socket) -> None:
        challenge = b"#CHALLENGE#{sha256}" + bytes(40)
        client.sendall(len(challenge).to_bytes(4, "big") + challenge)
        self.take(client)


class Middleman(Peer):
    """Ends TLS with a certificate of its own; `received` is what was said to it inside."""

    def __init__(self, address: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(_certificate())
            file.flush()
            self.context.load_cert_chain(file.name)
        self.refusals: list[str] = []
        super().__init__(address)

    def talk(self, client: socket.socket) -> None:
        try:
            with self.context.wrap_socket(client, server_side=True) as inside:
                self.take(inside)
        except ssl.SSLError as error:
            self.refusals.append(error.reason or str(error))


def _certificate() -> bytes:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crawler")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key + certificate.public_bytes(serialization.Encoding.PEM)


def tls_records(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Return the type of each TLS record and its first byte; raises ValueError where it is no TLS."""
    records = []
    while data:
        if data[1:2] != b"\x03" or len(data) < 6:
            raise ValueError(f"no TLS record: {bytes(data[:40])!r}")
        records.append((data[0], data[5]))
        data = data[5 + int.from_bytes(data[3:5], "big") :]
    return records
