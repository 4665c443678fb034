"""What travels on a connection of the manager: frames, and the proof that both ends have the key.

Frames and challenge are those of `multiprocessing.connection` (CPython), so that its stock clients can talk to us;
peers that are not on this machine speak TLS below them, with a certificate that both ends derive from the key.
"""

from __future__ import annotations

import datetime
import hmac
import os
import ssl
import tempfile
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from crawler.errors import UsageError, WireError

CHALLENGE = b"#CHALLENGE#"
WELCOME = b"#WELCOME#"
FAILURE = b"#FAILURE#"
#: The host of those who speak through a UNIX socket: processes of this machine and its user.
HERE = "local"
#: Asks for TLS instead of an answer to the challenge, and grants it: on loopback, where stock clients speak without.
SECURE = b"#SECURE#"
#: Longest message in bytes before the peer has proved the key, after, and of a worker of another machine.
MAX_GREETING = 256
MAX_MESSAGE = 64 * 2**20
MAX_FAR_MESSAGE = 16 * 2**20
#: Bits of a key that strangers may try themselves at.
LEAST_BITS = 128
_LENGTH = 4
_LONG_FORM = b"\xff\xff\xff\xff"


def frame(payload: bytes) -> bytes:
    """Return `payload` with its length before it, as `multiprocessing.connection` frames it."""
    if len(payload) > 0x7FFFFFFF:
        raise WireError("a message is longer than 2 GiB")
    return len(payload).to_bytes(_LENGTH, "big") + payload


class Frames:
    """Cuts what arrives into messages; `limit` bounds the next one."""

    def __init__(self) -> None:
        self.limit = MAX_GREETING
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole message, or None.

        Raises WireError where it is announced to be longer than `limit`.
        """
        buffer = self._buffer
        if len(buffer) < _LENGTH:
            return None
        size = int.from_bytes(buffer[:_LENGTH], "big")
        if buffer[:_LENGTH] == _LONG_FORM or size > self.limit:
            raise WireError(f"a message of more than {self.limit} bytes is announced")
        if len(buffer) < _LENGTH + size:
            return None
        message = bytes(memoryview(buffer)[_LENGTH : _LENGTH + size])
        del buffer[: _LENGTH + size]
        return message


def challenge() -> bytes:
    """Return a fresh challenge; clients before Python 3.12 answer it with MD5, later ones with SHA-256."""
    return CHALLENGE + b"{sha256}" + os.urandom(40)


def answer(key: bytes, message: bytes) -> bytes:
    """Return the answer to the peer's `message`.

    Raises WireError where it is no challenge. A challenge that names SHA-256 gets SHA-256; one of 20 bytes without a
    name is that of a Python before 3.12, which understands nothing but HMAC-MD5.
    """
    if not message.startswith(CHALLENGE):
        raise WireError("the peer sends no challenge: it is no manager")
    nonce = message[len(CHALLENGE) :]
    if nonce.startswith(b"{sha256}") and len(nonce) >= 28:
        return b"{sha256}" + hmac.digest(key, nonce, "sha256")
    if len(nonce) == 20:
        return hmac.digest(key, nonce, "md5")
    raise WireError("the peer's challenge asks for a digest that is not known")


def proves(key: bytes, message: bytes, reply: bytes) -> bool:
    """Tell whether `reply` answers our challenge `message` with `key`.

    MD5 is what clients before Python 3.12 know. Its collisions are no help here: HMAC-MD5 stays as hard to forge as the
    key is to guess.
    """
    nonce = message[len(CHALLENGE) :]
    if len(reply) == 16:
        return hmac.compare_digest(reply, hmac.digest(key, nonce, "md5"))
    return hmac.compare_digest(reply, b"{sha256}" + hmac.digest(key, nonce, "sha256"))


# The key


def make_key() -> str:
    return os.urandom(32).hex()


def read_key(path: Path) -> bytes:
    """Return the key of a key file.

    Raises UsageError where it is missing, open to others, or shorter than 128 bits.
    """
    try:
        text = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the key file {path} cannot be read: {why}") from error
    if mode & 0o077:
        raise UsageError(f"the key file {path} can be read by others; run: chmod 600 {path}")
    return check_key(text, str(path))


def check_key(text: str, where: str) -> bytes:
    if not text.isascii():
        raise UsageError(f"the key in {where} is no key: it has characters beyond ASCII")
    if len(text) < 32:
        raise UsageError(f"the key in {where} is shorter than 32 characters; copy the collector's key file whole")
    return text.encode()


def refuse_guessable(key: bytes) -> None:
    """Raise UsageError where a key may have less than 128 bits of chance: who sees one handshake can try them all."""
    if strength(key.decode()) < LEAST_BITS:
        raise UsageError(
            "the key can be guessed, which is for this machine alone; for other machines make one by chance: "
            "remove the key file and start again, or run: openssl rand -hex 32"
        )


def strength(key: str) -> float:
    """Return about how many bits of chance a key has, so that what people make up does not pass for random.

    What has blanks or no digit is taken for words. Only steps from one character to the next that are new count, twice
    over, since chance repeats a few: repetitions and sequences have hardly any.
    """
    words = any(map(str.isspace, key)) or not any(map(str.isdigit, key))
    per_character = 2.0 if words else 4.0 if all(c in "0123456789abcdefABCDEF" for c in key) else 5.0
    pairs, new, last_step = set[str](), 1, 0
    for one, two in pairwise(key):
        step = ord(two) - ord(one)
        new += one + two not in pairs and step != last_step
        pairs.add(one + two)
        last_step = step
    return min(len(key), 2 * new) * per_character


def key_file(path: Path) -> bytes:
    """Return the key at `path`, made now when there is none (256 bits, readable by its owner only)."""
    try:
        if not path.exists():
            _make_key_file(path)
    except OSError as error:
        raise UsageError(
            f"the key file {path} cannot be made: {error.strerror}; name another place with --key-file or --state"
        ) from error
    return read_key(path)


def _make_key_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(make_key() + "\n")
    try:
        path.hardlink_to(draft)  # never over a key that another process made meanwhile
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()


# TLS


@lru_cache(maxsize=4)
def certificate(key: bytes) -> tuple[bytes, bytes]:
    """Return certificate and private key (PEM) that `key` alone determines, to the byte.

    Ed25519 from HKDF-SHA256 (RFC 5869, RFC 8410); its signatures are deterministic, dates and serial are fixed.
    """
    # Here, since most processes never meet another machine, and need not load it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.x509.oid import NameOID

    seed = HKDF(hashes.SHA256(), 32, None, b"crawler manager certificate 1").derive(key)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crawler")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2120, 1, 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, None)
    )
    return built.public_bytes(serialization.Encoding.PEM), private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def tls_context(key: bytes, *, server: bool) -> ssl.SSLContext:
    """Return a context, TLS 1.3 only, in which both ends show and trust nothing but the key's certificate."""
    public, private = certificate(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_RENEGOTIATION
    if server:
        context.num_tickets = 0  # every connection shows the certificate anew
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=public.decode())
    with tempfile.NamedTemporaryFile() as file:  # the ssl module takes a chain from a file only; mode 0600
        file.write(private + public)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def is_ours(key: bytes, shown: bytes | None) -> bool:
    """Tell whether the certificate that a peer showed (DER) is the key's, byte for byte."""
    return shown == ssl.PEM_cert_to_DER_cert(certificate(key)[0].decode())
