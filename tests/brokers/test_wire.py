import hashlib
import hmac
import multiprocessing.connection
import os
import secrets
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from brokers.driver import KEY
from crawler.brokers import wire
from crawler.brokers.connection import Connection
from crawler.errors import UsageError, WireError
from crawler.model import Report, decode

ROOT = Path(__file__).parents[2]


# Frames


@given(st.lists(st.binary(max_size=wire.MAX_GREETING), max_size=8), st.integers(1, 50))
def test_frames_however_they_arrive(messages: list[bytes], piece: int) -> None:
    stream = b"".join(map(wire.frame, messages))
    frames = wire.Frames()
    out = []
    for start in range(0, len(stream), piece):
        frames.feed(stream[start : start + piece])
        while (message := frames.next()) is not None:
            out.append(message)
    assert out == messages
    assert frames.next() is None


def test_frames_are_those_of_multiprocessing() -> None:
    left, right = socket.socketpair()
    with left, multiprocessing.connection.Connection(right.detach()) as stock:
        left.sendall(wire.frame(b"hello"))
        assert stock.recv_bytes() == b"hello"
        stock.send_bytes(b"there")
        frames = wire.Frames()
        frames.feed(left.recv(100))
        assert frames.next() == b"there"


@pytest.mark.parametrize("size", [wire.MAX_GREETING + 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_long_message_is_refused_before_it_arrives(size: int) -> None:
    frames = wire.Frames()
    frames.feed(size.to_bytes(4, "big"))
    with pytest.raises(WireError):
        frames.next()


def test_the_limit_is_raised_once_the_key_is_proved() -> None:
    frames = wire.Frames()
    frames.limit = wire.MAX_MESSAGE
    frames.feed(wire.frame(b"x" * 100_000))
    assert frames.next() == b"x" * 100_000
    frames.feed((wire.MAX_MESSAGE + 1).to_bytes(4, "big"))
    with pytest.raises(WireError):
        frames.next()


def test_the_long_form_is_refused() -> None:
    frames = wire.Frames()
    frames.limit = wire.MAX_MESSAGE
    frames.feed(b"\xff\xff\xff\xff" + (5).to_bytes(8, "big") + b"hello")
    with pytest.raises(WireError):
        frames.next()


# Before the key is proved


def greeting() -> tuple[Connection, socket.socket, bytes]:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, KEY, None, 0.0)
    connection.flush()
    return connection, theirs, theirs.recv(1000)[4:]


def test_a_peer_with_the_key_is_let_in() -> None:
    connection, peer, challenge = greeting()
    with peer, connection.socket:
        peer.sendall(wire.frame(wire.answer(KEY, challenge)))
        connection.receive()
        assert not connection.proved
        ours = wire.challenge()
        peer.sendall(wire.frame(ours))
        connection.receive()
        connection.flush()
        reply = peer.recv(1000)
        assert reply.startswith(wire.frame(wire.WELCOME))
        assert wire.proves(KEY, ours, reply[len(wire.frame(wire.WELCOME)) + 4 :])
        peer.sendall(wire.frame(wire.WELCOME) + wire.frame(b"x" * 1000))
        connection.receive()
        assert connection.proved
        assert connection.next_message() == b"x" * 1000


@pytest.mark.parametrize(
    "said",
    [
        wire.frame(b""),
        wire.frame(b"x" * 32),
        wire.frame(wire.WELCOME),
        wire.frame(wire.CHALLENGE + b"{sha256}" + b"x" * 40),
        wire.frame(b"x" * (wire.MAX_GREETING + 1)),
        (2**31 - 1).to_bytes(4, "big"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["empty", "noise", "welcome", "challenge", "long", "announced", "http", "tls"],
)
def test_without_the_key_nobody_gets_further(said: bytes) -> None:
    connection, peer, _ = greeting()
    with peer, connection.socket:
        peer.sendall(said)
        with pytest.raises(WireError):
            connection.receive()
        assert not connection.proved
        assert connection.next_message() is None


def test_requests_before_the_proof_are_not_read() -> None:
    connection, peer, challenge = greeting()
    with peer, connection.socket:
        peer.sendall(wire.frame(wire.answer(KEY, challenge)) + wire.frame(b"request"))
        with pytest.raises(WireError):
            connection.receive()
        assert connection.next_message() is None


def test_our_own_challenge_is_not_answered() -> None:
    connection, peer, challenge = greeting()
    with peer, connection.socket:
        peer.sendall(wire.frame(challenge))
        with pytest.raises(WireError):
            connection.receive()
        connection.flush()
        assert peer.recv(1000) == wire.frame(wire.FAILURE)


class Flood:
    """A peer that never stops sending, faster than anybody reads."""

    family = socket.AF_UNIX
    taken = 0

    def setblocking(self, flag: bool) -> None: ...

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, size: int) -> bytes:
        if self.taken > 64 * 2**20:
            raise BlockingIOError
        self.taken += size
        return b"\x00\x00\x01\x00" + b"x" * (size - 4)


def test_little_is_held_before_the_key_is_proved() -> None:
    peer: Any = Flood()
    connection = Connection(peer, KEY, None, 0.0)
    with pytest.raises(WireError):
        connection.receive()
    assert peer.taken <= 2**20


# The proof


def test_challenges_are_fresh() -> None:
    assert len({wire.challenge() for _ in range(100)}) == 100


def test_answers_prove_the_key_and_no_other() -> None:
    challenge = wire.challenge()
    assert wire.proves(KEY, challenge, wire.answer(KEY, challenge))
    assert not wire.proves(KEY, challenge, wire.answer(KEY[::-1], challenge))
    assert not wire.proves(KEY, wire.challenge(), wire.answer(KEY, challenge))
    assert not wire.proves(KEY, challenge, b"")


def test_old_clients_answer_with_md5() -> None:
    challenge = wire.challenge()
    nonce = challenge[len(wire.CHALLENGE) :]
    assert wire.proves(KEY, challenge, hmac.new(KEY, nonce, hashlib.md5).digest())


@pytest.mark.parametrize(
    "nonce", [b"", b"x" * 19, b"x" * 21, b"{md5}" + b"x" * 40, b"{sha256}x", b"{sha1}" + b"x" * 20]
)
def test_other_challenges_are_not_answered(nonce: bytes) -> None:
    """A short or named challenge would let a relay use us to answer another manager's."""
    with pytest.raises(WireError):
        wire.answer(KEY, wire.CHALLENGE + nonce)


def test_what_is_no_challenge_is_not_answered() -> None:
    with pytest.raises(WireError):
        wire.answer(KEY, b"{sha256}" + b"x" * 40)


# The certificate


def test_the_certificate_is_the_same_to_the_byte() -> None:
    script = (
        "import hashlib; from crawler.brokers import wire;"
        f"print(hashlib.sha256(b''.join(wire.certificate({KEY!r}))).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    wire.certificate.cache_clear()
    assert elsewhere.stdout.strip() == hashlib.sha256(b"".join(wire.certificate(KEY))).hexdigest()


def test_another_key_has_another_certificate() -> None:
    assert wire.certificate(KEY) != wire.certificate(KEY[::-1])


def test_the_certificate_does_not_name_the_key() -> None:
    public, _ = wire.certificate(KEY)
    certificate = x509.load_pem_x509_certificate(public)
    assert certificate.serial_number == 1
    assert KEY not in ssl.PEM_cert_to_DER_cert(public.decode()).hex().encode()


def shaken(server_key: bytes, client_key: bytes) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends after their handshake, over memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = wire.tls_context(server_key, server=True).wrap_bio(to_server, to_client, server_side=True)
    client = wire.tls_context(client_key, server=False).wrap_bio(to_client, to_server)
    for _ in range(6):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server, client


def test_both_ends_show_the_keys_certificate() -> None:
    server, client = shaken(KEY, KEY)
    assert wire.is_ours(KEY, server.getpeercert(True))
    assert wire.is_ours(KEY, client.getpeercert(True))
    assert client.version() == "TLSv1.3"


def test_another_keys_certificate_is_not_trusted() -> None:
    with pytest.raises(ssl.SSLError):
        shaken(KEY, KEY[::-1])


def test_is_ours_is_exact() -> None:
    theirs = ssl.PEM_cert_to_DER_cert(wire.certificate(KEY[::-1])[0].decode())
    assert not wire.is_ours(KEY, theirs)
    assert not wire.is_ours(KEY, None)
    assert not wire.is_ours(KEY, b"")


# The key file


def test_a_key_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = wire.key_file(tmp_path / "state" / "key")
    finally:
        os.umask(old)
    path = tmp_path / "state" / "key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert len(bytes.fromhex(key.decode())) == 32
    assert [p.name for p in path.parent.iterdir()] == ["key"]


def test_a_key_file_is_kept(tmp_path: Path) -> None:
    key = wire.key_file(tmp_path / "key")
    assert wire.key_file(tmp_path / "key") == key == wire.read_key(tmp_path / "key")


def test_keys_differ(tmp_path: Path) -> None:
    assert wire.key_file(tmp_path / "one") != wire.key_file(tmp_path / "two")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_an_open_key_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    wire.key_file(path)
    path.chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        wire.key_file(path)


@pytest.mark.parametrize("text", ["", "secret", "x" * 31, " " * 64])
def test_a_short_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="32"):
        wire.key_file(path)


@pytest.mark.parametrize("make", [lambda: secrets.token_hex(16), wire.make_key, str(uuid.uuid4()).__str__])
def test_keys_that_chance_made_are_strong(make: Callable[[], str]) -> None:
    for _ in range(200):
        wire.refuse_guessable(make().encode())


@pytest.mark.parametrize(
    "key",
    [
        "a" * 64, "x" * 31 + "1", "0123456789abcdef" * 4, "1234567890" * 4, "password" * 4, "deadbeef" * 8,
        "password1234password1234password1234", "abcdefghijklmnopqrstuvwxyz012345", "correct horse battery staple okay",
        "My very long secret pass phrase of 2026!", "CorrectHorseBatteryStapleCorrectHorse",
    ],
)  # fmt: skip
def test_what_people_make_up_is_weak(key: str) -> None:
    with pytest.raises(UsageError, match="can be guessed"):
        wire.refuse_guessable(wire.check_key(key, "the test"))


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        wire.read_key(tmp_path / "none")


def test_a_key_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe" * 40)
    path.chmod(0o600)
    with pytest.raises(UsageError):
        wire.read_key(path)


def test_what_is_nested_without_end_is_no_message() -> None:
    with pytest.raises(msgspec.DecodeError, match="nested too deep"):
        decode(b"\x97\x93\x90\x90\x91" + b"\x91" * 5000, Report)  # where a result is, which is read as it is
