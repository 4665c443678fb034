"""The result lines on standard output, each at least once also over restarts: how far they came is on disk."""

from __future__ import annotations

import io
import logging
import os
import select
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from crawler.account import LedgerPage, line_of
from crawler.contracts import Broker
from crawler.errors import BrokerUnreachable, StateError, StoreError, UsageError

log = logging.getLogger(__name__)

_MOST = 1000
#: Bytes that a pipe takes at once where it takes any (POSIX), and characters that are no more in any charset.
_PIECE, _SURE = select.PIPE_BUF, select.PIPE_BUF // 4


class Lines:
    """Passes results on as they arrive; where they are not `wanted`, they stay for a door that wants them.

    A reader that takes its time is not waited for: what it has not taken is passed on later.
    """

    def __init__(self, directory: Path, *, wanted: bool) -> None:
        self._directory = directory
        self._wanted = wanted
        self._said = ""
        self._left: deque[str] = deque()  #: of what was printed up to the cursor
        try:
            self._cursor = (directory / "printed").read_text(errors="replace").strip()
        except FileNotFoundError:
            self._cursor = ""

    def pass_on(self, broker: Broker) -> int:
        """Print the results that are new, remember how far, and return how many there were."""
        if sys.stdout is None:
            self._wanted = False
        if not self._wanted or (self._left and not self._print()):
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
            self._left.extend(_pieces(line_of(row) + "\n" for row in page.rows))
            if not self._print():
                return 0
        return len(page.rows)

    @property
    def are_held_up(self) -> bool:
        """Tell whether the reader has not taken all that was passed on."""
        return bool(self._left)

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

    def _print(self) -> bool:
        """Print what is left, as far as it is taken, and tell whether that was all of it."""
        try:
            while self._left and _takes_more():
                sys.stdout.write(self._left[0])
                sys.stdout.flush()
                self._left.popleft()
        except BrokenPipeError:
            log.warning("nobody reads the result lines any more; the run goes on without them")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
            self._wanted = False
            self._left.clear()
            return False
        except OSError as error:
            raise StoreError(
                f"the result lines cannot be written: {error.strerror}; the next start prints them"
            ) from error
        if not self._left:
            self._remember()
        return not self._left


def _takes_more() -> bool:
    """Tell whether standard output takes a piece without waiting for who reads it."""
    try:
        poll = select.poll()
        poll.register(sys.stdout, select.POLLOUT)
    except io.UnsupportedOperation:  # it is no file
        return True
    return bool(poll.poll(0))


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Put lines together to pieces, as long as what is taken at once or shorter."""
    charset = sys.stdout.encoding or "utf-8"
    piece, size = "", 0
    for line in lines:
        text = line.encode(charset, "backslashreplace").decode(charset)
        for at in range(0, len(text), _SURE):
            part = text[at : at + _SURE]
            length = len(part.encode(charset))
            if size + length > _PIECE:
                yield piece
                piece, size = "", 0
            piece, size = piece + part, size + length
    if piece:
        yield piece
