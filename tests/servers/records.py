"""What a site was asked: when, what, and how much of it at once."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Request(NamedTuple):
    time: float  # of time.monotonic(), at arrival
    method: str
    path: str
    status: int  # what it was answered; 0 for never


@dataclass(eq=False)
class Entry:
    request: Request
    headers: dict[str, str]
    connection: socket.socket
    end: float | None = None


class Records:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._open: set[Entry] = set()
        self._most = 0

    def begin(self, request: Request, headers: dict[str, str], connection: socket.socket) -> Entry:
        entry = Entry(request, headers, connection)
        with self._lock:
            self._drop_abandoned(request.time)
            self._entries.append(entry)
            self._open.add(entry)
            self._most = max(self._most, len(self._open))
        return entry

    def end(self, entry: Entry) -> None:
        with self._lock:
            self._close(entry, time.monotonic())

    def requests(self) -> list[Request]:
        with self._lock:
            return sorted(entry.request for entry in self._entries)

    def most_at_once(self) -> int:
        with self._lock:
            return self._most

    def headers(self, path: str) -> list[dict[str, str]]:
        with self._lock:
            return [entry.headers for entry in self._entries if entry.request.path == path]

    def gaps(self, path: str | None) -> list[float]:
        now = time.monotonic()
        with self._lock:
            self._drop_abandoned(now)
            spans = sorted(
                (entry.request.time, now if entry.end is None else entry.end)
                for entry in self._entries
                if path is None or entry.request.path == path
            )
        return list(between(spans))

    def _drop_abandoned(self, now: float) -> None:
        """A client that gave up may be back before the thread of its old request has noticed."""
        for entry in [entry for entry in self._open if hung_up(entry.connection, 0)]:
            self._close(entry, now)

    def _close(self, entry: Entry, now: float) -> None:
        if entry.end is None:
            entry.end = now
            self._open.discard(entry)


def between(spans: Iterable[tuple[float, float]]) -> Iterator[float]:
    """Yield the time from the end of all before it to the start of each of `spans`, which are in order."""
    latest: float | None = None
    for start, end in spans:
        if latest is not None:
            yield start - latest
        latest = end if latest is None else max(latest, end)


def hung_up(connection: socket.socket, within: float | None) -> bool:
    """Whether the connection ends in that time (None: however long that takes)."""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            return bool(selector.select(within)) and connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True
