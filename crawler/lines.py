"""The result lines on standard output, each at least once also over restarts: how far they came is on disk."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from crawler.account import LedgerPage, line_of
from crawler.contracts import Broker
from crawler.errors import BrokerUnreachable, StateError, StoreError, UsageError

log = logging.getLogger(__name__)

_MOST = 1000


class Lines:
    """Passes results on as they arrive; where they are not `wanted`, they stay for a door that wants them."""

    def __init__(self, directory: Path, *, wanted: bool) -> None:
        self._directory = directory
        self._wanted = wanted
        self._said = ""
        try:
            self._cursor = (directory / "printed").read_text(errors="replace").strip()
        except FileNotFoundError:
            self._cursor = ""

    def pass_on(self, broker: Broker) -> int:
        """Print the results that are new, remember how far, and return how many there were."""
        if not self._wanted:
            return 0
        try:
            page = self._page(broker)
        except BrokerUnreachable:
            return 0  # whoever watches the broker has it started again
        except StoreError as error:
            self._say(f"{error}; result lines wait for it, if need be for the next start")
            return 0
        self._said = ""
        if page.cursor != self._cursor:
            self._cursor = page.cursor
            if not self._print("".join(line_of(row) + "\n" for row in page.rows)):
                return 0
            self._remember()
        return len(page.rows)

    def _remember(self) -> None:
        draft = self._directory / ".printed"
        try:
            draft.write_text(self._cursor)
            draft.replace(self._directory / "printed")
        except OSError as error:
            raise StateError(
                f"{draft} cannot be written: {error.strerror}; the next start prints the last result lines again"
            ) from error

    def _say(self, trouble: str) -> None:
        if trouble != self._said:
            log.warning("%s", trouble)
        self._said = trouble

    def _page(self, broker: Broker) -> LedgerPage:
        try:
            return broker.results(self._cursor, _MOST)
        except UsageError:  # what was kept is no cursor of this broker: rather once more than never
            self._cursor = ""
            return broker.results("", _MOST)

    def _print(self, lines: str) -> bool:
        if sys.stdout is None:
            self._wanted = False
            return False
        try:
            charset = sys.stdout.encoding or "utf-8"
            sys.stdout.write(lines.encode(charset, "backslashreplace").decode(charset))
            sys.stdout.flush()
            return True
        except BrokenPipeError:
            log.warning("nobody reads the result lines any more; the run goes on without them")
            self._wanted = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
            return False
        except OSError as error:
            raise StoreError(
                f"the result lines cannot be written: {error.strerror}; the next start prints them"
            ) from error
