"""Lists that can be read only once (standard input, pipes), kept on disk so that a run can go on after a crash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from crawler.errors import StateError, UsageError

_PREFIX = "input-"
_BLOCK = 2**20


def spool(stream: BinaryIO, directory: Path, *, table: bool, format: str = "") -> Path:
    """Copy `stream` into `directory` under a name that its content decides, and return the path.

    A stream without a byte is the list of before. Without a `format`, what begins with `{` is JSON
    lines, a `table` CSV, the rest text.
    Raises UsageError where nothing is there to read, StateError where it cannot be kept.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = directory / f".{_PREFIX}{os.getpid()}"
        digest, first = hashlib.sha256(), b""
        with draft.open("wb") as file:
            while block := stream.read(_BLOCK):
                first = first or block[:1]
                digest.update(block)
                file.write(block)
        if not first:
            draft.unlink()
            return _accepted(directory)
        ending = format or ("jsonl" if first == b"{" else "csv" if table else "txt")
        path = directory / f"{_PREFIX}{digest.hexdigest()[:16]}.{ending}"
        draft.replace(path)
        return path
    except OSError as error:
        raise StateError(f"the list that comes by a pipe cannot be kept in {directory}: {error.strerror}") from error


def forget_others(directory: Path, kept: set[Path]) -> None:
    """Remove lists of earlier runs, and those that were not accepted."""
    for path in directory.glob(f"{_PREFIX}*"):
        if path not in kept:
            path.unlink(missing_ok=True)


def _accepted(directory: Path) -> Path:
    """Return the list of before: the oldest, since a start that is refused leaves its own behind."""
    known = sorted(directory.glob(f"{_PREFIX}*"), key=lambda path: path.stat().st_mtime)
    if not known:
        raise UsageError("the list on standard input is empty")
    return known[0]
