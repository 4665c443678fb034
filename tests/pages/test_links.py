from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.model import Words, encode
from crawler.pages.extract import ImageLink, Links, links_of, parse
from crawler.pages.extract.links import MAX_CANDIDATES, MAX_WORDS

URL = "https://example.com/gallery/page.html"
HERE = "https://example.com/gallery/"


def links(html: str | bytes, url: str = URL) -> Links:
    return links_of(parse(html.encode() if isinstance(html, str) else html, "text/html; charset=utf-8").root, url)


def images(html: str) -> list[list[str]]:
    return [[url.removeprefix(HERE) for url in link.candidates] for link in links(html).images]


def one(html: str) -> ImageLink:
    (link,) = links(html).images
    return link


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<img src="a.jpg">', [["a.jpg"]]),
        ('<IMG SRC="a.jpg">', [["a.jpg"]]),
        ("<img src=' a.jpg '>", [["a.jpg"]]),
        ("<img>", []),
        ('<img src="">', []),
        ('<img src="data:image/gif;base64,R0lGOD">', []),
        ('<img src="a.jpg" srcset="s.jpg 1x, l.jpg 2x">', [["l.jpg", "s.jpg", "a.jpg"]]),
        ('<img src="a.jpg" srcset="a.jpg 1x">', [["a.jpg"]]),
        ('<img src="data:," data-src="a.jpg">', [["a.jpg"]]),
        ('<img src="blank.gif" data-src="a.jpg">', [["a.jpg", "blank.gif"]]),
        ('<img data-srcset="s.jpg 100w, l.jpg 200w" src="a.jpg">', [["l.jpg", "s.jpg", "a.jpg"]]),
        (
            '<picture><source srcset="l.webp 2x, s.webp"><source srcset="x.png"><img src="a.jpg"></picture>',
            [["l.webp", "s.webp", "x.png", "a.jpg"]],
        ),
        ('<picture><source srcset="l.webp"></picture>', [["l.webp"]]),
        ('<video><source src="film.mp4"></video>', []),
        ('<a href="a.JPG">x</a>', [["a.JPG"]]),
        ('<a href="a.jpg?x=1">x</a>', [["a.jpg?x=1"]]),
        ('<a href="a.html">x</a>', []),
        ('<div style="background:url(a.jpg)"></div>', [["a.jpg"]]),
        ('<div data-bg="a.jpg"></div><div data-background-image="url(\'b.jpg\')"></div>', [["a.jpg"], ["b.jpg"]]),
        ('<div data-src="a.jpg"></div><div data-src="film.mp4"></div>', [["a.jpg"]]),
        ('<meta property="og:image" content="a.jpg">', [["a.jpg"]]),
        ('<meta name="twitter:image" content="a.jpg">', [["a.jpg"]]),
        ('<meta name="description" content="a.jpg">', []),
        ('<noscript><img src="a.jpg"></noscript>', [["a.jpg"]]),
        ('<!-- <img src="a.jpg"> -->', []),
        ("<script>var x = '<img src=\"a.jpg\">'</script>", []),
        ('<img src="a.jpg"><img src="a.jpg">', [["a.jpg"]]),
    ],
)
def test_images(html: str, expected: list[list[str]]) -> None:
    assert images(html) == expected


class TestWords:
    def test_of_an_img_in_a_figure(self) -> None:
        link = one(
            '<figure><a><img src="a" alt=" A\nbear " title="T"></a><figcaption>In the <b>wood</b></figcaption></figure>'
        )
        assert link.words == Words(found_in="img@src", alt="A bear", title="T", caption="In the wood")

    def test_the_same_image_with_other_words_is_mentioned_again(self) -> None:
        found = links('<img src="a.jpg" alt="one"><img src="a.jpg" alt="two"><img src="a.jpg" alt="one">').images
        assert [link.words.alt for link in found] == ["one", "two"]

    def test_of_an_anchor(self) -> None:
        link = one('<a href="a.jpg" title="T">A <i>bear</i></a>')
        assert link.words == Words(found_in="a@href", title="T", link_text="A bear")

    def test_are_bounded(self) -> None:
        words = one(f'<img src="a.jpg" alt="{"x " * 5000}" title="{"y" * 5000}">').words
        assert len(words.alt) <= MAX_WORDS and len(words.title) == MAX_WORDS

    @pytest.mark.parametrize(
        ("html", "found_in"),
        [
            ('<img src="a">', "img@src"),
            ('<img srcset="a">', "img@srcset"),
            ('<img data-src="a">', "img@data-src"),
            ('<picture><source srcset="a"><img></picture>', "picture"),
            ('<p style="background:url(a)">', "style"),
        ],
    )
    def test_where_it_was_found(self, html: str, found_in: str) -> None:
        assert one(html).words.found_in == found_in


class TestPages:
    @pytest.mark.parametrize(
        ("html", "expected"),
        [
            ('<a href="b.html">', ["b.html"]),
            ('<a href="b.html#x"><a href="b.html#y">', ["b.html"]),
            ('<a href="#x">', []),
            ('<a href="mailto:a@b.example"><a href="javascript:x()"><a href="ftp://b.example/">', []),
            ('<a href="b.pdf"><a href="b.mp4?x"><a href="b.css">', []),
            ('<a href="b"><a href="b.php?x=1">', ["b", "b.php?x=1"]),
            ('<area href="b.html">', ["b.html"]),
            ('<iframe src="b.html"></iframe>', ["b.html"]),
            ('<frameset><frame src="b.html"></frameset>', ["b.html"]),
            ('<link rel="next" href="b.html">', ["b.html"]),
            ('<link rel="stylesheet" href="b.html"><link rel="icon" href="c">', []),
            ('<link rel="alternate" type="application/rss+xml" href="b">', []),
        ],
    )
    def test_links(self, html: str, expected: list[str]) -> None:
        assert [url.removeprefix(HERE) for url in links(html).pages] == expected

    def test_an_image_that_an_anchor_names_may_be_a_page_too(self) -> None:
        found = links('<a href="/show/a.jpg">')
        assert found.pages == ["https://example.com/show/a.jpg"]
        assert found.images[0].candidates == ["https://example.com/show/a.jpg"]


class TestBase:
    def test_it_is_what_all_is_relative_to(self) -> None:
        found = links('<a href="b"><base href="/other/"><img src="a.jpg"><base href="/third/">')
        assert found.images[0].candidates == ["https://example.com/other/a.jpg"]
        assert found.pages == ["https://example.com/other/b"]

    @pytest.mark.parametrize("base", ["", "data:,x", "http://[", "javascript:x"])
    def test_a_wrong_one_is_none(self, base: str) -> None:
        assert images(f'<base href="{base}"><img src="a.jpg">') == [["a.jpg"]]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<script>x()</script>", True),
        ('<script src="a.js"></script>', True),
        ('<script type="module" src="a.js"></script>', True),
        ('<script type="text/javascript">x()</script>', True),
        ('<script type="application/ld+json">{}</script>', False),
        ("<p>x</p>", False),
    ],
)
def test_scripts(html: str, expected: bool) -> None:
    assert links(html).scripts is expected


def test_candidates_are_bounded() -> None:
    html = f'<img srcset="{", ".join(f"{n}.jpg {n}w" for n in range(1, 500))}">'
    assert len(one(html).candidates) == MAX_CANDIDATES


def test_an_empty_page_names_nothing() -> None:
    assert links_of(None, URL) == Links()


def test_a_long_page_takes_linear_time() -> None:
    html = "<div>" * 200 + '<a href="x"><img src="a.jpg" alt="x"></a>' * 20_000
    assert len(links(html).images) == 1


tags = st.sampled_from("img a base source picture meta link figure figcaption area iframe div script svg image".split())
attributes = st.sampled_from("src srcset href data-src style alt content property rel data-bg type".split())
values = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["a.jpg 1x, b 2x", "url(a.jpg)", "http://[", "//", "og:image", "next", "&#xd800;", "http://a b/"]),
)
elements = st.builds(lambda t, a, v: f'<{t} {a}="{v}">'.encode("utf-8", "surrogatepass"), tags, attributes, values)


@given(st.lists(st.one_of(elements, st.binary(max_size=30)), max_size=8), st.text(max_size=10))
@example([b"\x00"], "")
@example([b'<base href="http://\xff/">', b'<img src="//">'], "")
def test_arbitrary_bytes_never_raise_and_what_is_found_can_be_sent(pieces: list[bytes], charset: str) -> None:
    found = links_of(parse(b"".join(pieces), f"text/html; charset={charset}").root, URL)
    for url in [*found.pages, *(url for link in found.images for url in link.candidates)]:
        assert url.startswith(("http://", "https://"))
    for link in found.images:
        assert link.candidates
        encode(link.words)
