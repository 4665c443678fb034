"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from crawler.errors import UsageError


def absolute(path: Path, flag: str) -> Path:
    """Return `path` from the root, `~` expanded; raises UsageError, which names `flag`, where it can be none."""
    try:
        whole = path.expanduser().absolute()
        os.fsencode(whole).decode()
        whole.exists()
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"{flag}: {str(path)[:200]!r} cannot be a path: {error}") from error
    return whole
