"""What a command is told of each end of a run (`--notify`): the summary as JSON on its standard input."""

from __future__ import annotations

import logging
import subprocess

import msgspec

from crawler.account import Counts
from crawler.report import Record

log = logging.getLogger(__name__)

#: Seconds that the command may take.
PATIENCE = 60.0
_JSON = msgspec.json.Encoder()


class Notice(msgspec.Struct, kw_only=True):
    """How a start of a job ended; numbers are those of its run so far, and `record` is there where that is finished."""

    job: str
    ending: str  #: `finished`, `stopped at …`, `stopped by a signal`, or `failed`
    exit_code: int
    summary: str = ""  #: as it is printed; of what failed, the message
    attention: list[str] = []
    run: int = 0
    images: dict[str, int] = {}  #: by outcome
    pages: dict[str, int] = {}
    bytes: int = 0
    record: Record | None = None

    def count(self, counts: Counts) -> None:
        self.run, self.images, self.pages, self.bytes = counts.run, counts.images, counts.pages, counts.bytes


def notify(command: str, notice: Notice) -> None:
    """Run a shell command with the notice; what it prints is not ours, and that it fails is only logged."""
    try:
        done = subprocess.run(
            command, shell=True, input=_JSON.encode(notice) + b"\n", timeout=PATIENCE, check=False,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        log.error("--notify: %s took more than %.0f seconds and was ended", command, PATIENCE)
    except OSError as error:
        log.error("--notify: %s cannot be run: %s", command, error.strerror)
    else:
        if done.returncode:
            log.error("--notify: %s ended with %d", command, done.returncode)
