from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pages.extract.styles import urls_in


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("", []),
        ("color: red", []),
        ("background: url(a.jpg)", ["a.jpg"]),
        ("background: url( a.jpg )", ["a.jpg"]),
        ("background: url('a b.jpg')", ["a b.jpg"]),
        ('background: url("a.jpg")', ["a.jpg"]),
        ("background: URL(a.jpg)", ["a.jpg"]),
        ("background: url(a.jpg), url(b.jpg)", ["a.jpg", "b.jpg"]),
        ("background: url('a(1).jpg')", ["a(1).jpg"]),
        (r"background: url(a\(1\).jpg)", ["a(1).jpg"]),
        (r"background: url(a\20 b.jpg)", ["a b.jpg"]),
        (r"background: url('it\'s.jpg')", ["it's.jpg"]),
        (r"background: url(\61.jpg)", ["a.jpg"]),
        (r"background: url(\000061.jpg)", ["a.jpg"]),
        (r"background: url(\0.jpg)", ["\ufffd.jpg"]),
        (r"background: url(\d800.jpg)", ["\ufffd.jpg"]),
        (r"background: url(\110000.jpg)", ["\ufffd.jpg"]),
        ("background: url()", []),
        ("background: url('')", []),
        ("background: url(a b.jpg)", []),
        ("background: url(data:image/png;base64,AA==)", ["data:image/png;base64,AA=="]),
        ("background: image-set(url(a.jpg) 1x, url(b.jpg) 2x)", ["a.jpg", "b.jpg"]),
        ("background: linear-gradient(red, blue), url(a.jpg)", ["a.jpg"]),
    ],
)
def test_urls(style: str, expected: list[str]) -> None:
    assert urls_in(style) == expected


@pytest.mark.parametrize("piece", ["url(", "url('", "url(\\", "\\61 ", "url('a\\"])
def test_what_has_no_end_takes_no_time(piece: str) -> None:
    assert urls_in(piece * 3000) == []


@given(st.text(alphabet="url('\")\\ a1\n", max_size=60))
def test_anything_is_read(style: str) -> None:
    assert all(urls_in("url(" + style))
