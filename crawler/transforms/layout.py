"""Where the pixels of a resized image go: the arithmetic of img2dataset's modes."""

from __future__ import annotations

from typing import NamedTuple

from crawler.transforms.transform import Transform


class Layout(NamedTuple):
    """An image scaled as a whole to `width` x `height`, of which a part is kept, upon a canvas.

    The part begins at `left`, `top` and has the size of `kept`; it comes to `at` on `canvas`.
    """

    width: int
    height: int
    left: int
    top: int
    kept: tuple[int, int]
    canvas: tuple[int, int]
    shrinks: bool

    @property
    def at(self) -> tuple[int, int]:
        """Return where it begins on the canvas: of an odd rest, the larger half is right and below."""
        return (self.canvas[0] - self.kept[0]) // 2, (self.canvas[1] - self.kept[1]) // 2


def layout_of(width: int, height: int, transform: Transform) -> Layout | None:
    """Return how an image of these dimensions is laid out; None where it keeps its size."""
    if transform.resize == "no":
        return None
    by_shorter = transform.resize in ("keep_ratio", "center_crop")
    side = min(width, height) if by_shorter else max(width, height)
    size = transform.image_size
    if transform.resize_only_if_bigger and side <= size:
        return None
    scaled = _scaled(width, size / side), _scaled(height, size / side)
    if transform.resize == "center_crop":
        return Layout(
            *scaled, (scaled[0] - size) // 2, (scaled[1] - size) // 2, (size, size), (size, size), side > size
        )
    return Layout(*scaled, 0, 0, scaled, (size, size) if transform.resize == "border" else scaled, side > size)


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))
