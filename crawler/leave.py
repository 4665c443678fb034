"""The leave to make requests that a lease gives, which ends while some of them are under way in other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crawler.errors import FetchError, LeaseLapsed


class Leave:
    """Has requests end, and none begin, once others may have the tasks that they are made for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endings: set[Callable[[], None]] = set()
        self._is_over = False

    def end(self) -> None:
        """End what is under way, from any thread."""
        with self._lock:
            self._is_over = True
            for end in self._endings:
                end()

    @contextmanager
    def request(self, end: Callable[[], None]) -> Iterator[None]:
        """Let `end` be called, while the block lasts, should the leave end.

        Raises LeaseLapsed where it is over, or a request fails when it is.
        """
        with self._lock:
            if self._is_over:
                raise LeaseLapsed
            self._endings.add(end)
        try:
            yield
        except FetchError as error:
            if self._is_over:
                raise LeaseLapsed from error
            raise
        finally:
            with self._lock:
                self._endings.discard(end)


#: For requests that are made for no lease.
ALWAYS = Leave()
