"""What is known of an image by its structure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import NamedTuple

from crawler.errors import NotAnImage


class Picture(NamedTuple):
    """Format and dimensions in pixels; 0 where they are not known; `active` where a browser runs or loads things."""

    format: str
    width: int = 0
    height: int = 0
    active: bool = False


#: Segments, chunks or boxes of an image that are walked: real ones have thousands; so no walk takes a second or two.
MOST_PARTS = 250_000
#: Frames of an animation, pages of a TIFF, images of an icon.
MOST_FRAMES = 10_000


def steps(times: int = 1) -> Iterator[None]:
    """Count the parts of one image; raises NotAnImage beyond MOST_PARTS, or so many times as many."""
    most = times * MOST_PARTS
    return chain(repeat(None, most), _beyond(most))


def _beyond(most: int) -> Iterator[None]:
    raise NotAnImage(f"more than {most:,} parts")
    yield


def check_frames(number: int) -> None:
    """Raise NotAnImage where an image has more than MOST_FRAMES frames."""
    if number > MOST_FRAMES:
        raise NotAnImage(f"more than {MOST_FRAMES:,} frames")
