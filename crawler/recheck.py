"""Whether files survived a power loss: they are not synced one by one, so the last ones are looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from crawler.contracts import Broker
from crawler.model import ImageResult, decode
from crawler.outcomes import KEPT
from crawler.shards.shard import tar_of
from crawler.stores.folders import read_file

#: Files that are this many seconds older than the last commit are trusted.
WINDOW = 600.0
_BATCH = 1000


def lost_files(broker: Broker, root: Path, since: float) -> list[int]:
    """Return the results of images stored after `since` whose files are not whole below `root`."""
    cursor, lost = "", []
    while (page := broker.results(cursor, _BATCH)).rows:
        cursor = page.cursor
        for row in page.rows:
            recent = row.current and row.outcome in KEPT and row.time > since
            if recent and not _is_whole(root, row.result, row.size):
                lost.append(row.seq)
    return lost


def _is_whole(root: Path, result: msgspec.Raw, size: int) -> bool:
    stored = decode(result, ImageResult)
    if tar := tar_of(stored.file):  # it was synced
        return (root / tar).is_file()
    try:
        body = read_file(root / stored.file, size + 1)
    except (OSError, ValueError):
        return False
    return hashlib.sha256(body).hexdigest() == stored.sha256
