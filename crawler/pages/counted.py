"""HTTP answers whose bytes are counted as they come: http.client bounds the lines of an answer, not how many come."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from typing import Any

from crawler.errors import FetchError
from crawler.outcomes import Outcome

#: Bytes of an answer before its body: answers of 1xx, status and headers; as many as libcurl takes.
MAX_HEAD = 300 * 1024


class _Counted(io.RawIOBase):
    """What comes in on a socket, until it is more than may come."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.left = MAX_HEAD
        self.has_head = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        number: int | None = self._raw.readinto(buffer)
        self.left -= number or 0
        if self.left < 0:
            if self.has_head:
                raise FetchError(Outcome.TOO_LARGE, "more bytes than its size is worth")
            raise FetchError(Outcome.PROTOCOL, f"more than {MAX_HEAD:,} bytes of headers")
        return number

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def counted_response(most: Callable[[], int]) -> type[http.client.HTTPResponse]:
    """Return a kind of HTTPResponse that takes a head of MAX_HEAD, and twice as much for a body as `most` says.

    Twice, since chunks need bytes of their own, and their trailer.
    """

    class Counted(http.client.HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self._counted = _Counted(self.fp.detach())
            self.fp = io.BufferedReader(self._counted)

        def begin(self) -> None:
            super().begin()
            while 100 < self.status < 200 and self.status != 101:  # http.client passes over 100 alone
                self.headers = self.msg = None  # type: ignore[assignment]
                super().begin()
            self._counted.has_head = True
            self._counted.left = MAX_HEAD + 2 * most()

    return Counted
