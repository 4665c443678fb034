"""A log file that several processes append to, and that may be moved away or not be writable for a while."""

from __future__ import annotations

import contextlib
import logging
import sys
from logging.handlers import WatchedFileHandler


class LogFile(WatchedFileHandler):
    """Appends to a file, opened anew where it was moved away; what it does not take goes to stderr.

    A full disk, or a folder in which no new file may be made, must neither end a process nor hide what it says.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # of opening it; those of writing are handled there
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or sys.stderr is None:
            super().handleError(record)
            return
        with contextlib.suppress(OSError):
            print(f"{self.format(record)} (not in {self.baseFilename}: {error.strerror})", file=sys.stderr, flush=True)
