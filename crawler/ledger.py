"""The ledger as files: `metadata.jsonl` for what is there, `failures.jsonl` for the rest."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
from pathlib import Path
from typing import Any, Protocol, TextIO

from crawler.errors import StoreError
from crawler.model import ImageResult, LedgerPage, LedgerRow, Outcome, Words, decode

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
        row = self._db.execute("SELECT file FROM seen WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            self._db.execute("INSERT INTO seen VALUES(?, ?)", (sha256, file))
            return ""
        return "" if row[0] == file else str(row[0])

    def close(self) -> None:
        self._db.close()


def write_ledger(broker: Results, root: Path) -> tuple[int, int]:
    """Write both files below `root`, each beside and renamed; return how many rows each has.

    Raises StoreError where they cannot be written.
    """
    drafts = {name: root / f".{name}.{os.getpid()}" for name in (METADATA, FAILURES)}
    try:
        with (
            drafts[METADATA].open("w", encoding="utf-8") as there,
            drafts[FAILURES].open("w", encoding="utf-8") as rest,
        ):
            counts = _write_rows(broker, there, rest)
        for name, draft in drafts.items():
            draft.replace(root / name)
    except OSError as error:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise StoreError(f"the ledger in {root} cannot be written: {error.strerror}") from error
    return counts


def _write_rows(broker: Results, there: TextIO, rest: TextIO) -> tuple[int, int]:
    same = _SameBytes()
    cursor, kept, failed = "", 0, 0
    try:
        while (page := broker.results(cursor, _BATCH, mentions=True)).rows:
            cursor = page.cursor
            for row in page.rows:
                if not row.current:
                    continue
                if row.outcome == Outcome.SUCCESS:
                    there.write(json.dumps(_kept(row, same), ensure_ascii=False) + "\n")
                    kept += 1
                else:
                    rest.write(json.dumps(_common(row), ensure_ascii=False) + "\n")
                    failed += row.outcome != Outcome.REPORTED
    finally:
        same.close()
    return kept, failed


def _common(row: LedgerRow) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(row.time, datetime.timezone.utc)
    return {
        "url": row.url,
        "outcome": row.outcome,
        "message": row.message,
        "run": row.run,
        "time": when.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "worker": row.worker,
        "mentions": [_mention(page, words) for page, words in row.mentions],
        "mentions_total": row.mentions_total,
    }


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
