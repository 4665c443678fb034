"""What the tests of stores share."""

from __future__ import annotations

import threading

from crawler.stores.files import FileStore

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40


def put(store: FileStore, name: str, body: bytes = BODY) -> Exception | None:
    """Store a file, and return the error that it ended with."""
    ended = threading.Event()
    said: list[Exception | None] = []

    def done(error: Exception | None) -> None:
        said.append(error)
        ended.set()

    store.put(name, body, done)
    assert ended.wait(10)
    assert len(said) == 1
    return said[0]
