"""What is known of an image by its structure."""

from __future__ import annotations

from typing import NamedTuple


class Picture(NamedTuple):
    """Format and dimensions in pixels; 0 where they are not known."""

    format: str
    width: int = 0
    height: int = 0
