"""What a broker tells of a run: the rows of its ledger, and its numbers."""

from __future__ import annotations

import msgspec

from crawler.model import ImageResult, Message, State, decode
from crawler.outcomes import SUCCESSES
from crawler.shown import shown


class LedgerRow(Message, kw_only=True):
    """One result with its image and mentions; `current` tells that no later result replaces it.

    Where it failed and the file of an earlier run is there, `kept` and `kept_size` are of that.
    """

    seq: int
    run: int
    url: str
    outcome: str
    message: str
    size: int
    time: float
    worker: str
    result: msgspec.Raw
    current: bool
    #: Page URL and packed Words; the first distinct ones (`Broker.ledger`).
    mentions: list[tuple[str, msgspec.Raw]] = msgspec.field(default_factory=list)
    mentions_total: int = 0
    kept: msgspec.Raw = msgspec.Raw(b"\xc0")
    kept_size: int = 0
    before: str = ""  #: its outcome in the run before that named it, `""` where there is none
    gone: int = 0  #: the run that found it gone, 0 while it is not
    site: str = ""  #: the name of the source that first named it


class ShardRow(Message):
    """A number that was handed out for a shard; `settled` is when all in it was, in seconds since 1970, or 0."""

    number: int
    run: int
    worker: str
    settled: float = 0.0
    samples: int = 0
    failures: int = 0
    bytes: int = 0  #: of images


class LedgerPage(Message):
    """A stretch of the ledger and the cursor of what follows."""

    rows: list[LedgerRow]
    cursor: str


class SiteCounts(Message, kw_only=True):
    """What became of one source, and of its first page."""

    url: str
    outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    first_outcome: str = ""
    first_message: str = ""
    name: str = ""  #: by which people know it
    stopped: str = ""  #: the limit of its own that it came to


class Counts(Message, kw_only=True):
    """A run in numbers; outcomes are of this run."""

    run: int
    state: State
    began: float
    ended: float
    images: dict[str, int] = msgspec.field(default_factory=dict)
    pages: dict[str, int] = msgspec.field(default_factory=dict)
    bytes: int = 0
    waiting_images: int = 0
    waiting_pages: int = 0
    held: int = 0
    already_there: int = 0
    left_out: dict[str, int] = msgspec.field(default_factory=dict)
    workers: int = 0  #: download workers that reported within the lease
    sites: list[SiteCounts] = msgspec.field(default_factory=list)
    hosts: list[tuple[str, str, int]] = msgspec.field(default_factory=list)  #: origin, outcome, number
    notice: str = ""


class Begun(Message, kw_only=True):
    """Which run was opened or resumed, and whether the machine restarted since the last commit."""

    run: int
    resumed: bool
    job_id: str
    rebooted_since: float = 0.0  #: time of the last commit before the reboot, or 0


def result_line(url: str, outcome: str, message: str) -> str:
    """Return the line that reports a result: `url--->success`, `url--->http_404`, `url--->timeout: why`."""
    line = f"{url}--->{outcome}"
    return f"{line}: {message}" if message and outcome not in SUCCESSES and not outcome.startswith("http_") else line


def line_of(row: LedgerRow) -> str:
    """Return the line that tells a result; a stock client's as it came, but for what is no text of a line."""
    line = decode(row.result, ImageResult).line if bytes(row.result) != b"\xc0" else ""
    return shown(line or result_line(row.url, row.outcome, row.message))
