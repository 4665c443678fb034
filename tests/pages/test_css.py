from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pages.extract import css
from crawler.pages.extract.css import read, urls_in


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
        ("background: url(a.jpg", ["a.jpg"]),
        ("/* url(a.jpg) */ background: url(b.jpg)", ["b.jpg"]),
        ("content: 'url(a.jpg)'", []),
        ("background: u\nrl(a.jpg)", []),
        ("background: linear-gradient(red, blue), url(a.jpg)", ["a.jpg"]),
    ],
)
def test_urls(style: str, expected: list[str]) -> None:
    assert urls_in(style) == [[url] for url in expected]


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("image-set(url(a.jpg) 1x, url(b.jpg) 2x)", [["b.jpg", "a.jpg"]]),
        ("-webkit-image-set('a.jpg' 1x, 'b.jpg' 192dpi, 'c.jpg' 3dppx)", [["c.jpg", "b.jpg", "a.jpg"]]),
        ("image-set('a.avif' type('image/avif'), 'b.jpg' type('image/jpeg'))", [["a.avif", "b.jpg"]]),
        ("url(x.jpg), image-set(url(a.jpg) 1x), url(y.jpg)", [["x.jpg"], ["a.jpg"], ["y.jpg"]]),
        ("image-set(url(a.jpg) 1x", [["a.jpg"]]),
    ],
)
def test_what_is_one_image_in_several_sizes(style: str, expected: list[list[str]]) -> None:
    assert [sorted(urls) for urls in urls_in(f"background: {style}")] == [sorted(urls) for urls in expected]
    if "type(" not in style:
        assert urls_in(f"background: {style}") == expected


SHEET = """
@charset "utf-8";
@import url("one.css") screen;
@import 'two.css';
@import url(three.css) supports(background: url(no.png));
@namespace svg url(http://www.w3.org/2000/svg);
@font-face { font-family: x; src: url(font.woff2) format("woff2"), url('font.svg#x') format("svg"); }
a::before { content: url( icon.png ); background: URL("a b.jpg") }
@media print { li { list-style-image: url(dot.gif) } }
.c { cursor: url(hand.cur), auto }
"""


def test_a_sheet_names_images_and_sheets_and_no_fonts() -> None:
    sheet = read(SHEET)
    assert sheet.images == [["icon.png"], ["a b.jpg"], ["dot.gif"], ["hand.cur"]]
    assert sheet.imports == ["one.css", "two.css", "three.css"]


@pytest.mark.parametrize("piece", ["url(", "url('", "url(\\", "\\61 ", "url('a\\"])
def test_what_has_no_end_takes_no_time(piece: str) -> None:
    assert len(urls_in(piece * 3000)) <= 1


@given(st.text(alphabet="url('\")\\ a1\n", max_size=60))
def test_anything_is_read(style: str) -> None:
    assert all(all(urls) for urls in urls_in("url(" + style))


@given(st.text(alphabet="url()'\" a1.;:,{@-", max_size=30).map("background:{}".format), st.text(max_size=20))
def test_the_short_way_is_the_long_way(style: str, url: str) -> None:
    for text in (style, f"background: url({url}) no-repeat", f"a: url('{url}');b:c"):
        sheet = css.Sheet([], [])
        css._Reader(text, sheet).run()
        assert read(text) == sheet
