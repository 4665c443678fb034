from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.transforms.layout import layout_of
from crawler.transforms.transform import RESIZES, Transform

LENGTHS = st.integers(1, 5000)
SIZES = st.integers(1, 700)


@pytest.mark.parametrize(
    ("mode", "size", "becomes", "canvas", "at"),
    [  # what img2dataset 1.47 makes of them at 256
        ("keep_ratio", (300, 201), (382, 256), (382, 256), (0, 0)),
        ("keep_ratio", (1000, 333), (769, 256), (769, 256), (0, 0)),
        ("keep_ratio", (201, 301), (256, 383), (256, 383), (0, 0)),
        ("keep_ratio", (255, 257), (256, 258), (256, 258), (0, 0)),
        ("keep_ratio", (513, 512), (256, 256), (256, 256), (0, 0)),
        ("keep_ratio_largest", (300, 201), (256, 172), (256, 172), (0, 0)),
        ("keep_ratio_largest", (1000, 1), (256, 1), (256, 1), (0, 0)),
        ("keep_ratio_largest", (255, 257), (254, 256), (254, 256), (0, 0)),
        ("border", (300, 201), (256, 172), (256, 256), (0, 42)),
        ("border", (201, 301), (171, 256), (256, 256), (42, 0)),
        ("border", (1000, 333), (256, 85), (256, 256), (0, 85)),
        ("border", (1000, 1), (256, 1), (256, 256), (0, 127)),
    ],
)
def test_sizes_are_those_of_img2dataset(
    mode: str, size: tuple[int, int], becomes: tuple[int, int], canvas: tuple[int, int], at: tuple[int, int]
) -> None:
    layout = layout_of(*size, Transform(resize=mode))
    assert layout is not None
    assert ((layout.width, layout.height), layout.canvas, layout.at) == (becomes, canvas, at)


@given(LENGTHS, LENGTHS, SIZES, st.sampled_from(RESIZES), st.booleans())
def test_every_mode_keeps_its_word(width: int, height: int, size: int, mode: str, only_if_bigger: bool) -> None:
    layout = layout_of(width, height, Transform(resize=mode, image_size=size, resize_only_if_bigger=only_if_bigger))
    side = min(width, height) if mode in ("keep_ratio", "center_crop") else max(width, height)
    if mode == "no" or (only_if_bigger and side <= size):
        assert layout is None
        return
    assert layout is not None and layout.shrinks is (side > size)
    measure = min if mode in ("keep_ratio", "center_crop") else max
    assert measure(layout.width, layout.height) == size
    assert abs(layout.width * height - layout.height * width) <= max(width, height)  # the ratio, but for a pixel
    if mode in ("center_crop", "border"):
        assert layout.canvas == (size, size)
    else:
        assert layout.canvas == layout.kept == (layout.width, layout.height)


@given(LENGTHS, LENGTHS, SIZES, st.sampled_from(("center_crop", "border")))
def test_what_is_kept_is_in_the_middle(width: int, height: int, size: int, mode: str) -> None:
    layout = layout_of(width, height, Transform(resize=mode, image_size=size))
    assert layout is not None
    for whole, first, kept in zip((layout.width, layout.height), (layout.left, layout.top), layout.kept, strict=True):
        assert first >= 0 and first + kept <= whole
        assert whole - kept - 2 * first in (0, 1)
    for canvas, first, kept in zip(layout.canvas, layout.at, layout.kept, strict=True):
        assert first >= 0 and canvas - kept - 2 * first in (0, 1)
