"""The ledger as files: `metadata.jsonl` for what is there, `failures.jsonl` for the rest."""

from __future__ import annotations

import datetime
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from crawler.errors import StoreError
from crawler.model import ImageResult, LedgerPage, LedgerRow, Words, decode
from crawler.outcomes import Outcome

METADATA = "metadata.jsonl"
FAILURES = "failures.jsonl"
_BATCH = 1000


class Results(Protocol):
    """What a broker gives to read."""

    def results(self, cursor: str, limit: int, mentions: bool = False) -> LedgerPage: ...


class _SameBytes:
    """Which file first had a content; on disk beyond a few megabytes."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.execute("CREATE TABLE seen(sha256 TEXT PRIMARY KEY, file TEXT) WITHOUT ROWID")

    def first(self, sha256: str, file: str) -> str:
        """Return the other file that has this content, or `""`."""
        if self._db.execute("INSERT INTO seen VALUES(?, ?) ON CONFLICT DO NOTHING", (sha256, file)).rowcount:
            return ""
        first = str(self._db.execute("SELECT file FROM seen WHERE sha256 = ?", (sha256,)).fetchone()[0])
        return "" if first == file else first

    def close(self) -> None:
        self._db.close()


def write_ledger(broker: Results, root: Path) -> tuple[int, int]:
    """Write both files below `root`, each beside and renamed; return how many rows each has.

    Raises StoreError where they cannot be written.
    """
    drafts = {name: root / f".{name}.{os.getpid()}" for name in (METADATA, FAILURES)}
    try:
        with (
            drafts[METADATA].open("wb") as there,
            drafts[FAILURES].open("wb") as rest,
        ):
            counts = _write_rows(broker, there, rest)
        for name, draft in drafts.items():
            draft.replace(root / name)
    except OSError as error:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise StoreError(f"the ledger in {root} cannot be written: {error.strerror}") from error
    return counts


def _write_rows(broker: Results, there: BinaryIO, rest: BinaryIO) -> tuple[int, int]:
    same = _SameBytes()
    kept, failed = 0, 0
    try:
        for row in _rows(broker):
            if row.current:
                if row.outcome == Outcome.SUCCESS:
                    there.write(msgspec.json.encode(_kept(row, same)) + b"\n")
                    kept += 1
                else:
                    rest.write(msgspec.json.encode(_common(row)) + b"\n")
                    failed += row.outcome != Outcome.REPORTED
    finally:
        same.close()
    return kept, failed


def _rows(broker: Results) -> Iterator[LedgerRow]:
    """Yield all rows; the broker looks for the next while these are written."""
    with ThreadPoolExecutor(1, "ledger") as ahead:
        page = broker.results("", _BATCH, mentions=True)
        while page.rows:
            following = ahead.submit(broker.results, page.cursor, _BATCH, mentions=True)
            yield from page.rows
            page = following.result()


def _common(row: LedgerRow) -> dict[str, Any]:
    return {
        "url": row.url,
        "outcome": row.outcome,
        "message": row.message,
        "run": row.run,
        "time": _utc(int(row.time)),
        "worker": row.worker,
        "mentions": [_mention(page, words) for page, words in row.mentions],
        "mentions_total": row.mentions_total,
    }


@lru_cache(maxsize=16)
def _utc(seconds: int) -> str:
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _mention(page: str, words: Words) -> dict[str, Any]:
    return {
        "page": page,
        "found_in": words.found_in,
        "alt": words.alt,
        "title": words.title,
        "caption": words.caption,
        "label": words.label,
        "link_text": words.link_text,
        "heading": words.heading,
        "author": words.author,
        "image_license": words.image_license,
        "credit": words.credit,
        "columns": words.columns or None,
    }


def _kept(row: LedgerRow, same: _SameBytes) -> dict[str, Any]:
    result = decode(row.result, ImageResult)
    return {
        "file_name": result.file,
        **_common(row),
        "size": row.size,
        "sha256": result.sha256,
        "format": result.format,
        "width": result.width,
        "height": result.height,
        "final_url": result.final_url or row.url,
        "status": result.status,
        "etag": result.etag,
        "last_modified": result.last_modified,
        "same_as": same.first(result.sha256, result.file) or None,
    }
