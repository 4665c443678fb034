"""Whether what a tool stored is what the server has, by content: the files of a data set are all distinct.

Bytes are compared, by their sha256. Of a tool that encodes images again, only the numbers in their comments can be.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.datasets import DataSet, number_of


class Outcome(NamedTuple):
    """Files that are a source's bytes, files that are not or are there again, and sources without a file."""

    right: int
    wrong: int
    missing: int


def compare(output: Path, images: str, sources: DataSet, *, encoded: bool) -> Outcome:
    """Compare the files below `output` that `images` matches with their sources."""
    identify = number_of if encoded else _digest
    expected = (
        [number_of((sources.root / path).read_bytes()) for path in sources.digests]
        if encoded
        else [*sources.digests.values()]
    )
    paths = (path for path in output.glob(images) if path.is_file())
    stored = Counter(identify(path.read_bytes()) for path in paths)
    right = sum(known in stored for known in expected)
    return Outcome(right, stored.total() - right, len(expected) - right)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
