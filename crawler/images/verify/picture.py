"""What is known of an image by its structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crawler.errors import NotAnImage


class Picture(NamedTuple):
    """Format and dimensions in pixels; 0 where they are not known."""

    format: str
    width: int = 0
    height: int = 0


#: Segments, chunks or blocks of an image that are walked: real ones have thousands.
MOST_PARTS = 1_000_000


def steps() -> Iterator[None]:
    """Count the parts of one image; raises NotAnImage beyond MOST_PARTS."""
    for _ in range(MOST_PARTS):
        yield
    raise NotAnImage(f"more than {MOST_PARTS:,} parts")
