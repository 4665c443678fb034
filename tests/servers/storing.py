"""What the tests of stores share."""

from __future__ import annotations

import threading
from collections.abc import Callable

from crawler.contracts import Store

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40


def put(store: Store, name: str, body: bytes = BODY) -> Exception | None:
    """Store a file, and return the error that it ended with."""
    return told(lambda done: store.put(name, body, done))


def is_open(store: Store) -> bool:
    """Tell whether the store takes images, as it says itself."""
    return told(store.probe) is None


def told(ask: Callable[[Callable[[Exception | None], None]], None]) -> Exception | None:
    """Return what a store tells, once, when it is asked something."""
    ended = threading.Event()
    said: list[Exception | None] = []

    def done(error: Exception | None) -> None:
        said.append(error)
        ended.set()

    ask(done)
    assert ended.wait(30)
    assert len(said) == 1
    return said[0]
