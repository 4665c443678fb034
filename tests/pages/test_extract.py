"""Where images stand on pages: each way, with what it is called and what is kept of its words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pages.extract import Links, links_of, parse

URL = "https://example.com/dir/page.html"


def links(markup: str, url: str = URL) -> Links:
    return links_of(parse(markup.encode(), "text/html; charset=utf-8").root, url)


def named(markup: str) -> list[tuple[str, list[str], str]]:
    """Return where each image was found, its candidates relative to the folder, and why it is left out."""
    prefix = "https://example.com/dir/"
    return [
        (image.words.found_in, [url.removeprefix(prefix) for url in image.candidates], image.left_out)
        for image in links(markup).images
    ]


@pytest.mark.parametrize(
    ("markup", "found_in", "candidates"),
    [
        ('<img src="a.jpg">', "img@src", ["a.jpg"]),
        ('<img src="a.jpg" srcset="b.jpg 320w, c.jpg 1280w">', "img@srcset", ["c.jpg", "b.jpg", "a.jpg"]),
        ('<img src="x.gif" data-src="a.jpg">', "img@data-src", ["a.jpg", "x.gif"]),
        ('<img src="x.gif" data-srcset="a.jpg 2x, b.jpg">', "img@srcset", ["a.jpg", "b.jpg", "x.gif"]),
        ('<img data-full="a.jpg" data-src="b.jpg">', "img@data-src", ["a.jpg", "b.jpg"]),
        ('<img data-anything="//cdn.example.org/a.jpg?w=3">', "@data-anything", ["https://cdn.example.org/a.jpg?w=3"]),
        (
            '<picture><source srcset="a.avif 900w"><source srcset="b.webp 1200w"><img src="c.jpg"></picture>',
            "picture",
            ["b.webp", "a.avif", "c.jpg"],
        ),
        ('<picture><source srcset="a.webp"></picture>', "source@srcset", ["a.webp"]),
        ('<input type="IMAGE" src="go.png">', "input@src", ["go.png"]),
        ('<link rel="image_src" href="a.jpg">', "link@href", ["a.jpg"]),
        ('<link rel="preload" as="image" href="a.jpg" imagesrcset="b.jpg 2x">', "link@imagesrcset", ["b.jpg", "a.jpg"]),
        ('<video poster="a.jpg"></video>', "video@poster", ["a.jpg"]),
        ('<object data="a.svg" type="image/svg+xml"></object>', "object@data", ["a.svg"]),
        ('<object data="a.png"></object>', "object@data", ["a.png"]),
        ('<embed src="a.gif">', "embed@src", ["a.gif"]),
        ('<svg><image href="a.png"/></svg>', "svg image@href", ["a.png"]),
        ('<svg><image xlink:href="a.png"/></svg>', "svg image@href", ["a.png"]),
        ('<svg><filter><feImage href="a.png"/></filter></svg>', "svg feimage@href", ["a.png"]),
        ('<svg><use href="sprite.svg#x"/></svg>', "svg use@href", ["sprite.svg"]),
        ('<table background="a.gif"></table>', "table@background", ["a.gif"]),
        ('<table><tr><td background="a.gif"></table>', "td@background", ["a.gif"]),
        ('<a href="a.jpg?x=1">big</a>', "a@href", ["a.jpg?x=1"]),
        ('<amp-img src="a.jpg" srcset="b.jpg 2x"></amp-img>', "amp-img@src", ["b.jpg", "a.jpg"]),
        ('<amp-anim src="a.gif"></amp-anim>', "amp-anim@src", ["a.gif"]),
        ('<noscript><img src="a.jpg"></noscript>', "img@src", ["a.jpg"]),
        ('<noscript>&lt;img src="a.jpg"&gt;</noscript>', "img@src", ["a.jpg"]),
        ('<template><img src="a.jpg"></template>', "img@src", ["a.jpg"]),
        ('<script type="text/template"><img src="a.jpg"></script>', "img@src", ["a.jpg"]),
        ('<div data-bg="a.jpg"></div>', "@data-bg", ["a.jpg"]),
        ('<div data-background-image="url(a.jpg)"></div>', "@data-background-image", ["a.jpg"]),
        ('<div data-bgset="a.jpg 320w, b.jpg 640w"></div>', "@data-bgset", ["b.jpg", "a.jpg"]),
        ('<div data-images="a.jpg 320w, b.jpg 640w"></div>', "@data-images", ["b.jpg", "a.jpg"]),
        ('<div data-props=\'{"a": {"src": "/dir/a.jpg"}}\'></div>', "@data-props", ["a.jpg"]),
        ('<div data-html="&lt;img src=a.jpg&gt;"></div>', "img@src", ["a.jpg"]),
        ('<div style="background: url(a.jpg)"></div>', "style", ["a.jpg"]),
        ("<div style=\"background: image-set('a.jpg' 1x, 'b.jpg' 2x)\"></div>", "style", ["b.jpg", "a.jpg"]),
        ("<style>p { background: url(a.jpg) }</style>", "style", ["a.jpg"]),
        ('<meta property="og:image" content="a.jpg">', "meta@og:image", ["a.jpg"]),
        ('<meta name="twitter:image:src" content="a.jpg">', "meta@twitter:image:src", ["a.jpg"]),
        ('<meta itemprop="image" content="a.jpg">', "meta@image", ["a.jpg"]),
        ('<link itemprop="thumbnailUrl" href="a.jpg">', "link@itemprop", ["a.jpg"]),
        ('<span property="schema:image" resource="a.jpg"></span>', "span@property", ["a.jpg"]),
        ('<script type="application/json">{"p": ["/dir/a.jpg", "no"]}</script>', "script@json", ["a.jpg"]),
    ],
)
def test_an_image_is_found(markup: str, found_in: str, candidates: list[str]) -> None:
    assert named(markup) == [(found_in, candidates, "")]


@pytest.mark.parametrize(
    "markup",
    [
        '<img src="data:image/gif;base64,R0lGOD">', '<img src="">', "<img>", '<a href="page.html">x</a>',
        '<object data="film.mp4" type="video/mp4"></object>', '<svg><use href="#x"/></svg>', '<input src="a.png">',
        '<div data-id="123" data-json="{" data-text="one, two. three"></div>',
        '<link rel="preload" as="font" href="a">',
        '<script type="application/json">{"text": "see /a.jpg there", "page": "/b.html"}</script>',
        '<script>var x = "/a.jpg"</script>', "<style>@font-face { src: url(a.woff) }</style>",
    ],
)  # fmt: skip
def test_what_is_none_is_left(markup: str) -> None:
    assert named(markup) == []


@pytest.mark.parametrize(
    ("markup", "left_out"),
    [
        ('<link rel="shortcut icon" href="a.ico">', "icon"),
        ('<link rel="apple-touch-icon" href="a.png">', "icon"),
        ('<link rel="mask-icon" href="a.svg">', "icon"),
        ('<img src="count.gif" width="1" height="1">', "pixel"),
        ('<img src="a.gif" width="1" height="100">', ""),
        ('<img src="a.jpg"><link rel="icon" href="a.jpg">', ""),
    ],
)
def test_what_people_call_no_image_of_the_page(markup: str, left_out: str) -> None:
    assert [reason for *_, reason in named(markup)] == [left_out]


def json_ld(value: Any) -> list[dict[str, Any]]:
    found = links(f'<script type="application/ld+json">{json.dumps(value)}</script>').images
    fields = ("caption", "title", "author", "image_license", "credit")
    return [
        {"url": image.candidates[0].rpartition("/")[2]}
        | {name: text for name in fields if (text := getattr(image.words, name))}
        for image in found
    ]


def test_json_ld() -> None:
    assert json_ld({"@type": "Article", "image": ["a.jpg", {"url": "b.jpg"}]}) == [{"url": "a.jpg"}, {"url": "b.jpg"}]
    assert json_ld(
        {"@graph": [{"@type": "WebPage", "primaryImageOfPage": {"@type": "ImageObject", "url": "a.jpg"}}]}
    ) == [{"url": "a.jpg"}]
    assert json_ld(
        {
            "@type": ["ImageObject"], "contentUrl": "a.jpg", "caption": "A bear", "name": "Bear",
            "author": {"@type": "Person", "name": "Ann"}, "license": "https://cc.example/by", "creditText": "Ann/X",
        }
    ) == [
        {
            "url": "a.jpg", "caption": "A bear", "title": "Bear", "author": "Ann",
            "image_license": "https://cc.example/by", "credit": "Ann/X",
        }
    ]  # fmt: skip
    assert json_ld({"@type": "Thing", "url": "https://example.com/page"}) == []


@pytest.mark.parametrize("text", ["", "{", "[1,", "null", "3", '"x"', "[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_none_harms_nothing(text: str) -> None:
    for kind in ("application/ld+json", "application/json"):
        assert links(f'<script type="{kind}">{text}</script><img src="a.jpg">').images[-1].words.found_in == "img@src"


def test_the_words_around_an_image() -> None:
    (image,) = links(
        '<h2>Bears <b>of  the north</b></h2><figure><img src="a.jpg" alt="A  bear" title="T" aria-label="L">'
        "<figcaption>It\n sleeps</figcaption></figure>"
    ).images
    words = image.words
    assert (words.heading, words.alt, words.title, words.label, words.caption) == (
        "Bears of the north", "A bear", "T", "L", "It sleeps",
    )  # fmt: skip


def test_one_image_with_other_words_is_another_mention_and_with_the_same_has_more_candidates() -> None:
    found = links(
        '<img src="a.jpg" alt="one"><img src="a.jpg" alt="two"><img srcset="a.jpg 2x" src="small.jpg" alt="one">'
    ).images
    assert [(image.words.alt, len(image.candidates)) for image in found] == [("one", 2), ("two", 1)]


def test_the_page_about_itself() -> None:
    page = links(
        '<html lang="de-AT"><title> Ein  Titel </title><link rel="canonical" href="/x">'
        '<link rel="stylesheet" href="s.css">'
        '<a rel="license" href="https://cc.example/by">l</a><a href="no" rel="nofollow">n</a><a href="twice" '
        'rel="nofollow">n</a><a href="twice">n</a><meta http-equiv="refresh" content="3; URL=\'next\'">'
    )
    assert (page.language, page.title, page.canonical) == ("de-AT", "Ein Titel", "https://example.com/x")
    assert (page.license, page.sheets) == ("https://cc.example/by", ["https://example.com/dir/s.css"])
    assert page.nofollow == {"https://example.com/dir/no"}
    assert "https://example.com/dir/next" in page.pages


def test_requests_that_are_to_be_upgraded() -> None:
    policy = '<meta http-equiv="Content-Security-Policy" content="upgrade-insecure-requests">'
    (image,) = links(f'{policy}<img src="http://a.example/a.jpg">').images
    assert image.candidates == ["https://a.example/a.jpg"]


def test_an_image_has_so_many_candidates_only() -> None:
    sizes = ", ".join(f"{n}.jpg {n}w" for n in range(1, 200))
    (image,) = links(f'<img srcset="{sizes}">').images
    assert len(image.candidates) == 32 and image.candidates[0].endswith("/199.jpg")


@given(st.binary(max_size=300))
def test_any_bytes_are_read(body: bytes) -> None:
    links_of(parse(body).root, URL)


PIECES = st.sampled_from(
    ["<img ", "src=", "srcset='", "a.jpg", " 2x,", "<picture>", "<source ", ">", "'", '"', "<noscript>", "</", "style=",
     "url(", "data-x='{", "<script type=application/ld+json>", '{"image":', "<svg>", "<image ", "href=", "&lt;img"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40))
def test_any_markup_is_read(pieces: list[str]) -> None:
    for image in links("".join(pieces)).images:
        assert 1 <= len(image.candidates) <= 32
        assert all(url.startswith(("http://", "https://")) for url in image.candidates)


def test_pages_about_images_are_no_images() -> None:
    page = links(
        '<a href="/wiki/File:Bear.jpg">x</a><a href="/wiki/Datei:B%C3%A4r.jpg#f">x</a>'
        '<a href="/a:b/c.jpg">x</a><a href="https://b.example:8080/d.jpg">x</a>'
    )
    assert [image.candidates[0] for image in page.images] == [
        "https://example.com/a:b/c.jpg",
        "https://b.example:8080/d.jpg",
    ]
    assert len(page.pages) == 4


def test_images_in_frames_and_pages_of_a_document() -> None:
    page = links('<iframe src="graph.svg"></iframe><link rel="Contents" href="toc.html"><link rel=up href="..">')
    assert [image.candidates[0] for image in page.images] == ["https://example.com/dir/graph.svg"]
    assert page.pages == ["https://example.com/dir/toc.html", "https://example.com/"]
