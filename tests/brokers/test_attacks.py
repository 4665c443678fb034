"""Peers without the key, between us or in our place; what works against the standard library proves the test."""

from __future__ import annotations

import contextlib
import datetime
import logging
import pickle
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from acceptance.here import wait_for
from brokers.driver import KEY, served, spec
from brokers.test_hostile import Strike
from crawler.brokers import client, connection, manager, wire
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.listen import listen_tcp
from crawler.brokers.sqlite import SqliteBroker
from crawler.errors import BrokerUnreachable, CrawlerError, UsageError

Victim = Callable[[int], None]


def stock_client(port: int) -> None:
    BaseManager(("127.0.0.1", port), KEY).connect()


def our_client(port: int) -> None:
    broker = ManagerBroker(ServerAddress("127.0.0.1", port), KEY)
    try:
        broker.spec()
    finally:
        broker.close()


class Peer:
    """One end of a connection that speaks frames and does not have the key."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.heard: list[bytes] = []
        end.settimeout(5)

    def hear(self) -> bytes:
        """Return the next message; raises EOFError or OSError at the end."""
        size = int.from_bytes(self._take(4), "big")
        self.heard.append(self._take(size))
        return self.heard[-1]

    def say(self, message: bytes) -> None:
        self.socket.sendall(wire.frame(message))

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


@pytest.fixture
def fake() -> Iterator[socket.socket]:
    """Where a fake server listens, to which victims are sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a manager of ours."""
    broker = SqliteBroker(None)
    broker.begin(spec())
    listener = listen_tcp("127.0.0.1", 0)
    with served(broker, listener):
        yield listener.getsockname()[1]


@contextlib.contextmanager
def at(port: int) -> Iterator[Peer]:
    with socket.create_connection(("127.0.0.1", port), 5) as end:
        yield Peer(end)


def victim_of(fake: socket.socket, pool: ThreadPoolExecutor, victim: Victim) -> tuple[Peer, Future[None]]:
    port = fake.getsockname()[1]
    future = pool.submit(victim, port)
    return Peer(fake.accept()[0]), future


# A fake server without the key


def reflect(one: Peer, other: Peer) -> bool:
    """Have what `one` asks of its server answered by `other`; True where `one` then takes us for its server."""
    for peer in (one, other):
        peer.say(wire.challenge())
        peer.hear()
    one.say(wire.WELCOME)
    other.say(wire.WELCOME)
    theirs = one.hear()
    if not theirs.startswith(wire.CHALLENGE):
        return False
    other.say(theirs)
    one.say(other.hear())
    return one.hear() == wire.WELCOME


def reflect_first(one: Peer, other: Peer) -> bool:
    """Have what `one` asks asked of `other`, who has proved nothing yet."""
    one.say(wire.challenge())
    one.hear()
    one.say(wire.WELCOME)
    other.say(one.hear())
    one.say(other.hear())
    return one.hear() == wire.WELCOME


def test_reflection_fools_the_standard_library(fake: socket.socket, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    """One worker answers what the other asks of its server, which may then send it code."""
    one, _ = victim_of(fake, pool, stock_client)
    other, _ = victim_of(fake, pool, stock_client)
    assert reflect_first(one, other)
    one.hear()  # its first request
    one.socket.sendall(wire.frame(pickle.dumps(("#RETURN", Strike(tmp_path / "struck")))))
    with contextlib.suppress(EOFError, OSError):
        one.hear()  # until it has read what it was sent
    one.socket.close()
    other.socket.close()
    assert (tmp_path / "struck").is_dir()


@pytest.mark.parametrize("other_client", [our_client, stock_client])
@pytest.mark.parametrize("attack", [reflect, reflect_first])
def test_reflection_does_not_fool_us(
    fake: socket.socket, pool: ThreadPoolExecutor, other_client: Victim, attack: Callable[[Peer, Peer], bool]
) -> None:
    """Also a stock client, which would answer anything, is no help: ours ask for TLS and answer nothing without."""
    one, future = victim_of(fake, pool, our_client)
    other, theirs = victim_of(fake, pool, other_client)
    with contextlib.suppress(EOFError, OSError):
        assert not attack(one, other)
    one.socket.close()
    other.socket.close()
    with pytest.raises(CrawlerError):
        future.result(10)
    assert theirs.exception(10)
    assert set(one.heard) <= {wire.SECURE}


def relay(worker: Peer, server: Peer) -> bool:
    """Pass on the greeting of both until it is over; True where both believe it."""
    for sender, taker in ((server, worker), (worker, server), (server, worker), (worker, server), (server, worker)):
        taker.say(sender.hear())
    return worker.heard[-1].startswith(wire.CHALLENGE) and server.heard[1] == wire.WELCOME


def test_a_relay_gets_into_the_connections_of_the_standard_library(
    fake: socket.socket, pool: ThreadPoolExecutor, port: int
) -> None:
    worker, future = victim_of(fake, pool, stock_client)
    with at(port) as server:
        assert relay(worker, server)
        server.say(worker.hear())
        server.say(pickle.dumps(("tasks", "qsize", (), {})))
        assert pickle.loads(server.hear()) == ("#RETURN", 0), "it asks in the worker's name"
    worker.socket.close()
    assert future.exception(10)


def test_a_relay_does_not_get_into_ours(fake: socket.socket, pool: ThreadPoolExecutor, port: int) -> None:
    worker, future = victim_of(fake, pool, our_client)
    with at(port) as server:
        with pytest.raises((EOFError, OSError)):
            relay(worker, server)
        worker.socket.close()
        assert not any(message.startswith((b"{", wire.WELCOME)) for message in worker.heard + server.heard)
    assert future.exception(10)


def own_tls(peer: Peer) -> bytes:
    """End TLS with a certificate of another key, and return what comes inside."""
    with wire.tls_context(KEY[::-1], server=True).wrap_socket(peer.socket, server_side=True) as inside:
        return inside.recv(1000)


def no_tls(peer: Peer) -> bytes:
    peer.say(wire.challenge())
    return peer.hear()


def injected(peer: Peer) -> bytes:
    """Say more before TLS begins, to be taken for what came inside."""
    peer.socket.sendall(wire.frame(wire.SECURE) + wire.frame(wire.challenge()))
    return peer._take(1)


def refusal(peer: Peer) -> bytes:
    peer.say(wire.FAILURE)
    return peer._take(1)


def old_tls(peer: Peer) -> bytes:
    """Offer nothing newer than TLS 1.2, with the right certificate."""
    context = wire.tls_context(KEY, server=True)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(peer.socket, server_side=True) as inside:
        return inside.recv(1000)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("attack", [no_tls, injected, refusal, own_tls, old_tls])
def test_no_server_talks_us_out_of_tls(
    fake: socket.socket, pool: ThreadPoolExecutor, attack: Callable[[Peer], bytes]
) -> None:
    peer, future = victim_of(fake, pool, our_client)
    peer.say(wire.challenge())
    assert peer.hear() == wire.SECURE
    if attack in (own_tls, old_tls):
        peer.say(wire.SECURE)
    said = b""
    with contextlib.suppress(EOFError, OSError):
        said = attack(peer)
    peer.socket.close()
    assert said == b""
    with pytest.raises((UsageError, BrokerUnreachable)):
        future.result(10)


@pytest.mark.alone
def test_a_server_that_drips_is_given_up(
    fake: socket.socket, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out of each read would wait for 51 of them; the whole greeting has one end."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.5)
    peer, future = victim_of(fake, pool, our_client)
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in wire.frame(wire.challenge()):
            peer.socket.sendall(bytes([byte]))
            if future.done():
                break
            time.sleep(0.2)
    peer.socket.close()
    with pytest.raises(BrokerUnreachable):
        future.result(10)
    assert time.monotonic() - began < 5


# A client without the key


def test_the_managers_own_challenge_proves_nothing(port: int) -> None:
    """Sent back on the same connection or on another one, as an answer or as a challenge."""
    with at(port) as one, at(port) as two:
        first, second = one.hear(), two.hear()
        two.say(first)
        assert two.hear() == wire.FAILURE
        one.say(second)
        assert one.hear() == wire.FAILURE
        for peer in (one, two):
            with pytest.raises((EOFError, OSError)):
                peer.hear()


def test_recorded_bytes_prove_nothing(fake: socket.socket, pool: ThreadPoolExecutor, port: int) -> None:
    worker, future = victim_of(fake, pool, stock_client)
    with at(port) as server:
        assert relay(worker, server)
        said = [*worker.heard, worker.hear()]
    worker.socket.close()
    assert future.exception(10)
    with at(port) as again:
        again.hear()
        with contextlib.suppress(OSError):
            for message in said:
                again.say(message)
        assert again.hear() == wire.FAILURE
        with pytest.raises((EOFError, OSError)):
            again.hear()


@pytest.fixture
def far_port(monkeypatch: pytest.MonkeyPatch, port: int) -> int:
    """The port of a manager to which everybody is on another machine."""
    monkeypatch.setattr(connection, "is_near", lambda _: False)
    return port


def other_bytes(key: bytes) -> tuple[bytes, bytes]:
    """Return a certificate of the very key pair, but with another serial number."""
    public, private = (x509.load_pem_x509_certificate(wire.certificate(key)[0]), wire.certificate(key)[1])
    signer = serialization.load_pem_private_key(private, None)
    assert isinstance(signer, Ed25519PrivateKey)
    built = (
        x509.CertificateBuilder(public.issuer, public.subject, public.public_key(), 2)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2120, 1, 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(signer, None)
    )
    return built.public_bytes(serialization.Encoding.PEM), private


def tls(certificate: tuple[bytes, bytes] | None = None, **settings: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in settings.items():
        setattr(context, name, value)
    if certificate is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate[1] + certificate[0])
            file.flush()
            context.load_cert_chain(file.name)
    return context


TLS_1_2 = ssl.TLSVersion.TLSv1_2
STRANGERS = {
    "without a certificate": lambda: tls(),
    "with the certificate of another key": lambda: tls(wire.certificate(KEY[::-1])),
    "with another certificate of the key": lambda: tls(other_bytes(KEY)),
    "with TLS 1.2": lambda: tls(wire.certificate(KEY), maximum_version=TLS_1_2),
}


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
def test_the_manager_says_nothing_in_tls_to(make: Callable[[], ssl.SSLContext], far_port: int) -> None:
    said = b""
    with at(far_port) as peer, contextlib.suppress(OSError), make().wrap_socket(peer.socket) as inside:
        said = inside.recv(1000)
    assert said == b""


def test_with_the_keys_certificate_it_speaks_and_forgets(far_port: int) -> None:
    """The counterpart of the above; no session is kept that could stand for the certificate later."""
    context = tls(wire.certificate(KEY))
    with at(far_port) as peer, context.wrap_socket(peer.socket) as inside:
        assert wire.CHALLENGE in inside.recv(1000)
        assert inside.version() == "TLSv1.3" and inside.session is not None
        kept = inside.session
    with at(far_port) as peer, context.wrap_socket(peer.socket, session=kept) as inside:
        assert wire.CHALLENGE in inside.recv(1000) and not inside.session_reused
    assert not kept.has_ticket


@pytest.mark.parametrize("said", [wire.frame(wire.SECURE), b"GET / HTTP/1.1\r\n\r\n", bytes(100)])
def test_without_tls_nothing_is_said_to_another_machine(far_port: int, said: bytes) -> None:
    with at(far_port) as peer:
        peer.socket.sendall(said)
        with contextlib.suppress(ConnectionError):
            answer = peer.socket.recv(1000)
            assert answer[:1] in (b"", b"\x15"), "no more than an alert of TLS"


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls().wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def drip(peer: Peer, data: bytes) -> None:
    for byte in data:
        peer.socket.sendall(bytes([byte]))
        time.sleep(0.02)


SLOW: dict[str, Callable[[Peer], None]] = {
    "silent": lambda peer: None,
    "half a hello": lambda peer: peer.socket.sendall(client_hello()[:100]),
    "a hello": lambda peer: peer.socket.sendall(client_hello()),
    "a byte at a time": lambda peer: drip(peer, client_hello()),
}


@pytest.mark.parametrize("attack", SLOW.values(), ids=SLOW)
def test_half_open_and_slow_handshakes_end(
    far_port: int, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Peer], None], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(manager, "GREETING_TIME", 1.0)
    with at(far_port) as peer, caplog.at_level(logging.WARNING):
        with contextlib.suppress(OSError):
            attack(peer)
            while peer.socket.recv(1000):
                pass
        assert any("did not prove the key" in line for line in caplog.messages)


STOCK_SERVER = """
import sys
from multiprocessing.managers import BaseManager
server = BaseManager(("127.0.0.1", 0), bytes.fromhex(sys.argv[1])).get_server()
print(server.address[1], flush=True)
server.serve_forever()
"""


def test_stock_manager_spends_a_thread_on_each_silent_peer() -> None:
    """Why none of this is left to the standard library."""
    command = [sys.executable, "-c", STOCK_SERVER, KEY.hex()]
    # In a process of its own: a server whose listener is closed tries to accept for ever, as fast as it can.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        assert server.stdout is not None
        port, threads = int(server.stdout.readline()), Path(f"/proc/{server.pid}/task")
        wait_for(lambda: len(list(threads.iterdir())) == 2)
        for _ in range(5):
            stack.enter_context(at(port)).hear()
        assert len(list(threads.iterdir())) == 2 + 5
