"""The ledger as files: `metadata.jsonl` for what is there, `failures.jsonl` for the rest."""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import msgspec

from crawler.account import LedgerPage, LedgerRow
from crawler.errors import StoreError
from crawler.mentions import shown_mentions
from crawler.model import ImageResult, decode, decode_all
from crawler.outcomes import KEPT, Outcome
from crawler.stores.files import draft_of

METADATA = "metadata.jsonl"
FAILURES = "failures.jsonl"
#: Rows asked for at a time.
_BATCH = 500
#: Contents, of some 300 bytes with their file's name.
_MOST_IN_MEMORY = 32_768
_NIL = msgspec.Raw(b"\xc0")
_LINES = msgspec.json.Encoder()
# C1, marks of direction and of width, separators of lines; C0 is escaped by JSON itself.
_UNSEEN = re.compile("[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


class Results(Protocol):
    """What a broker gives to read."""

    def ledger(self, cursor: str, limit: int) -> LedgerPage: ...


class Failure(msgspec.Struct, gc=False):
    """A line of FAILURES."""

    url: str
    site: str
    outcome: str
    message: str
    run: int
    time: str
    worker: str
    mentions: list[msgspec.Raw]
    mentions_total: int


class Kept(msgspec.Struct, gc=False):
    """A line of METADATA."""

    file_name: str
    url: str
    site: str
    outcome: str
    message: str
    run: int
    time: str
    worker: str
    mentions: list[msgspec.Raw]
    mentions_total: int
    size: int
    sha256: str
    format: str
    width: int
    height: int
    active: bool
    final_url: str
    status: int
    etag: str
    last_modified: str
    previous: str | None
    same_as: str | None
    gone: bool
    stored_sha256: str = ""
    phash: str = ""


See: TypeAlias = Callable[[Iterable[tuple[LedgerRow, Kept | None]]], None]


def unseen(rows: Iterable[tuple[LedgerRow, Kept | None]]) -> None:
    """Look at nothing."""


class _SameBytes:
    """Which file first had a content; on disk beyond some ten megabytes, where many are looked up at a time."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._db = sqlite3.connect("")
        self._db.execute("CREATE TABLE seen(sha256 TEXT PRIMARY KEY, file TEXT) WITHOUT ROWID")
        self._is_empty = True

    def first(self, files: list[tuple[str, str]]) -> list[str | None]:
        """Return for each (sha256, file) the other file that had this content first, or None."""
        latest = self._latest
        if not self._is_empty:
            latest |= self._on_disk([sha256 for sha256, _ in files if sha256 not in latest])
        firsts = [latest.setdefault(sha256, file) for sha256, file in files]
        if len(latest) > _MOST_IN_MEMORY:
            self._put_away()
        return [first if first != file else None for first, (_, file) in zip(firsts, files, strict=True)]

    def _on_disk(self, contents: list[str]) -> dict[str, str]:
        (found,) = self._db.execute(
            "SELECT json_group_object(sha256, file) FROM seen WHERE sha256 IN (SELECT value FROM json_each(?))",
            (_LINES.encode(contents).decode(),),
        ).fetchone()
        return msgspec.json.decode(found, type=dict[str, str])

    def _put_away(self) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO seen SELECT key, value FROM json_each(?) ORDER BY key",
            (_LINES.encode(self._latest).decode(),),
        )
        self._latest.clear()
        self._is_empty = False

    def close(self) -> None:
        self._db.close()


def write_ledger(broker: Results, root: Path, see: See = unseen) -> tuple[int, int]:
    """Write both files below `root`, each beside and renamed; return how many rows each has.

    `see` is shown all rows on the way, those that have a file with their line.

    Raises StoreError where they cannot be written.
    """
    drafts = {name: root / draft_of(name) for name in (METADATA, FAILURES)}
    try:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)  # be it a link; `x` follows none
        with (
            drafts[METADATA].open("xb") as there,
            drafts[FAILURES].open("xb") as rest,
        ):
            counts = _write_rows(broker, there, rest, see)
        for name, draft in drafts.items():
            draft.replace(root / name)
    except OSError as error:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise StoreError(f"the ledger in {root} cannot be written: {error.strerror}") from error
    return counts


def _write_rows(broker: Results, there: BinaryIO, rest: BinaryIO, see: See) -> tuple[int, int]:
    kept, failed = 0, 0
    for rows in with_lines(broker):
        lines = [line for _, line in rows if line is not None]
        others = [row for row, line in rows if line is None] if len(lines) < len(rows) else []
        see(rows)
        there.write(json_lines(lines))
        rest.write(json_lines([failed_line(row) for row in others]))
        kept += len(lines)
        failed += sum(row.outcome not in (Outcome.REPORTED, Outcome.PRUNED) for row in others)
    return kept, failed


def with_lines(broker: Results) -> Generator[list[tuple[LedgerRow, Kept | None]], None, None]:
    """Yield the rows that count, many at a time and in their order, those that have a file with their line."""
    same = _SameBytes()
    try:
        for rows in stretches(broker):
            there = list(filter(has_file, rows))
            lines = iter(_kept(there, same))
            if len(there) == len(rows):
                yield list(zip(rows, lines, strict=True))
            else:
                yield [(row, next(lines) if has_file(row) else None) for row in rows]
    finally:
        same.close()


def has_file(row: LedgerRow) -> bool:
    """Tell whether a file is there, of this run or an earlier one."""
    return row.outcome in KEPT or row.kept != _NIL


def file_of(row: LedgerRow) -> str:
    """Return the name of the file that a row has, `""` where it has none."""
    if not has_file(row):
        return ""
    return decode(row.result if row.outcome in KEPT else row.kept, ImageResult).file


def json_lines(lines: Sequence[object]) -> bytes:
    """Return each of `lines` as a line of JSON, with what steers terminals, and JSON need not escape, escaped."""
    return _visible(_LINES.encode_lines(lines))


def _visible(lines: bytes) -> bytes:
    if lines.isascii() and b"\x7f" not in lines:
        return lines
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", lines.decode()).encode()


def stretches(broker: Results) -> Generator[list[LedgerRow], None, None]:
    """Yield the rows that count, many at a time."""
    page = broker.ledger("", _BATCH)
    while page.rows:
        yield [row for row in page.rows if row.current]
        page = broker.ledger(page.cursor, _BATCH)


def failed_line(row: LedgerRow) -> Failure:
    """Return the line of a row that has no file."""
    return Failure(
        row.url, row.site, row.outcome, row.message, row.run, _utc(int(row.time)), row.worker,
        shown_mentions(row.mentions), row.mentions_total,
    )  # fmt: skip


@lru_cache(maxsize=16)
def _utc(seconds: int) -> str:
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _kept(rows: list[LedgerRow], same: _SameBytes) -> list[Kept]:
    results = decode_all([row.result if row.outcome in KEPT else row.kept for row in rows], ImageResult)
    before = same.first([(result.sha256, result.file) for result in results])
    return list(map(kept_line, rows, results, before))


def kept_line(row: LedgerRow, result: ImageResult, same_as: str | None) -> Kept:
    """Return the line of a row that has a file, of which `result` tells."""
    return Kept(
        result.file, row.url, row.site, row.outcome, row.message, row.run, _utc(int(row.time)), row.worker,
        shown_mentions(row.mentions), row.mentions_total,
        row.size if row.outcome in KEPT else row.kept_size, result.sha256,
        result.format, result.width, result.height, result.active, result.final_url or row.url, result.status,
        result.etag, result.last_modified, result.previous or None, same_as, bool(row.gone),
        result.stored_sha256, result.phash,
    )  # fmt: skip
