"""Few transfers at a time: libcurl looks at all of them in one call."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any

import pycurl

from crawler.images.resetting import forget_unsent

if TYPE_CHECKING:
    from crawler.images.transfer import Handle


class Few:
    """Transfers that share one pool of connections."""

    def __init__(self, kept: int, wake: int) -> None:
        """At most `kept` connections are kept; `wake` is a descriptor that is readable when `wait` is to return."""
        self._wake = wake
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, kept)

    def add(self, handle: Handle) -> None:
        self._multi.add_handle(handle.curl)

    def remove(self, handle: Handle) -> None:
        self._multi.remove_handle(handle.curl)

    def wait(self, timeout: float) -> None:
        readable, writable, _ = self._multi.fdset()
        milliseconds = self._multi.timeout()
        if milliseconds >= 0:
            timeout = min(timeout, milliseconds / 1000)
        found, _, _ = select.select([self._wake, *readable], writable, (), max(0.0, timeout))
        if self._wake in found:
            os.read(self._wake, 4096)
        self._multi.perform()

    def send(self) -> None:
        self._multi.perform()

    def multis(self) -> tuple[Any]:
        return (self._multi,)

    def reset(self) -> None:
        readable, writable, _ = self._multi.fdset()
        forget_unsent({*readable, *writable})

    def close(self) -> None:
        self._multi.close()
