"""Results taken out of a Redis, whose memory they would fill, while a run goes on."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from crawler.errors import CrawlerError

log = logging.getLogger(__name__)

#: Seconds between looks at what there is, and those that are left to a part under way when a run ends.
EVERY, GRACE = 1.0, 15.0


class WritesOut(Protocol):
    """What a broker over Redis does beside the contract."""

    def write_out(self) -> int: ...

    def close(self) -> None: ...


class Spill:
    """Writes results out while its block lasts, in a thread of its own, since an object store may take long.

    What a part under way when we are killed has, Redis has too, or still.
    """

    def __init__(self, connect: Callable[[], WritesOut]) -> None:
        self._connect = connect
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="spill", daemon=True)
        self._said = False

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(GRACE)

    def _go_on(self) -> None:
        with contextlib.closing(self._connect()) as broker:
            while not self._over.wait(EVERY):
                self._write_out(broker)

    def _write_out(self, broker: WritesOut) -> None:
        try:
            written = broker.write_out()
        except CrawlerError as error:
            if not self._said:
                log.warning("%s; results stay in Redis meanwhile", error)
            self._said = True
        else:
            if self._said and written:
                log.info("results are written out of Redis again")
                self._said = False
