"""Sockets to listen on."""

from __future__ import annotations

import socket
from pathlib import Path

from crawler.errors import StateError, UsageError


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
    """Return a socket that listens at `path`; an old one there is replaced, its owner has ended (the lock is ours).

    Raises StateError where that is not possible.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        why = error.strerror or error
        raise StateError(f"cannot listen at {path}: {why}; remove what is there, or choose another --state") from error
    return listener
