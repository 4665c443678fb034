"""What the program logs: UTC, to stderr or to a file that logrotate may move away."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from crawler.errors import UsageError
from crawler.paths import absolute
from crawler.shown import shown


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        """Escape what URLs, servers and peers may have put into the message."""
        record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Keep the lines of a traceback, none of which can be taken for a line of the log."""
        return "\n  ".join(map(shown, super().formatException(ei).split("\n")))


def set_up(log_file: Path | None, quiet: bool) -> None:
    """Send the log of this process to stderr or `log_file`, from warnings on when `quiet`.

    Raises UsageError where the file cannot be written.
    """
    handler = _to_file(log_file) if log_file else logging.StreamHandler()
    formatter = _Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger("crawler")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.ERROR if quiet else logging.INFO)


def _to_file(path: Path) -> logging.Handler:
    from crawler.logfile import LogFile  # with modules that a start without it need not load

    try:
        return LogFile(absolute(path, "--log-file"))
    except OSError as error:
        raise UsageError(f"the log file {path} cannot be written: {error.strerror}") from error
