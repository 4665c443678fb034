"""What a worker of another machine may say: of images and robots.txt alone, and nothing that its readers trip over."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from crawler.brokers.words import BROKER
from crawler.errors import WireError
from crawler.model import (
    Few,
    Found,
    ImageResult,
    Kind,
    Natural,
    Report,
    RobotsFile,
    Settlement,
    ShardReport,
    Verb,
    decode,
)
from crawler.outcomes import OUTCOMES
from crawler.robots import MAX_BYTES
from crawler.urls import MAX_URL

#: Begins the names of those whose exchanges the manager makes for stock clients.
STOCK = "stock-"
_NAME = re.compile(r"[!-~]{1,200}")
_OUTCOME = re.compile(r"http_\d{1,4}")
_NOTHING = msgspec.Meta(max_length=0)
_NIL = msgspec.Raw(b"\xc0")


class _Settlement(Settlement, kw_only=True, omit_defaults=True):
    """One that names no tasks; these do not even come into memory."""

    message: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    found: Annotated[list[Found], _NOTHING] = msgspec.field(default_factory=list)
    left_out: Annotated[dict[str, Natural], _NOTHING] = msgspec.field(default_factory=dict)


class _ShardReport(ShardReport):
    failed: Annotated[list[_Settlement], Few] = msgspec.field(default_factory=list)  # type: ignore[assignment]


class _Report(Report, kw_only=True):
    shards: Annotated[list[_ShardReport], Few] = msgspec.field(default_factory=list)  # type: ignore[assignment]
    settlements: Annotated[list[_Settlement], Few] = msgspec.field(  # type: ignore[assignment]
        default_factory=list
    )


def read_report(data: bytes) -> Report:
    """Return the report that a worker of another machine sends.

    Raises WireError where it says what is not its to say.
    """
    try:
        report: Report = decode(data, _Report)
        if not report.room.keys() <= {Kind.IMAGE, Kind.ROBOTS}:
            raise WireError("it asks for sources or pages")
        for result in (*report.stored.results, *report.unchanged.results):
            _check_image(result)
        for said in report.settlements:
            _check(said)
        for shard in report.shards:
            for result in shard.stored.results:
                _check_image(result)
            for said in shard.failed:
                _check(said)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # beside its own: text that is no UTF-8
        raise WireError(f"a report is none: {str(error)[:200]}") from error
    return report


def check_name(worker: str) -> None:
    """Raise WireError where this is no name that a worker may give itself."""
    if not _NAME.fullmatch(worker) or worker == BROKER or worker.startswith(STOCK):
        raise WireError(f"{worker[:40]!r} is no name for a worker")


def _check(said: Settlement) -> None:
    if said.verb is Verb.FOUND or said.cursor is not None:
        raise WireError("it says how far a source was read")
    ends = said.verb in (Verb.DONE, Verb.RETRY)
    if ends and said.outcome not in OUTCOMES and not _OUTCOME.fullmatch(said.outcome):
        raise WireError(f"it tells of the unknown outcome {said.outcome[:40]!r}")
    if said.move is not None and len(said.move.at) > MAX_URL:
        raise WireError("it moves a task to a URL that is too long")
    if said.number >= 0:
        _check_image(said.result)
    elif said.verb is Verb.DONE and len(decode(said.result, RobotsFile).text) > MAX_BYTES:
        raise WireError("it tells of a robots.txt that is too long")


def _check_image(body: msgspec.Raw) -> None:
    """Raise where a result is none, or names a file outside of the job's directory."""
    if body == _NIL:
        return
    file = decode(body, ImageResult).file
    if file.startswith("/") or ".." in file.split("/") or "\0" in file:
        raise WireError("it names a file outside of the job's directory")
