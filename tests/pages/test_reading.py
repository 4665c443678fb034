"""Documents other than pages: sheets, feeds, sitemaps, manifests, and what headers name."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pages.extract import Links, read, sitemap

URL = "https://a.example/dir/page.html"
SORTS = ("page", "sheet", "feed", "manifest", "sitemap")


def images(links: Links) -> list[list[str]]:
    return [image.candidates for image in links.images]


def urls(links: Links) -> list[str]:
    return [image.candidates[0] for image in links.images]


class TestHeaders:
    def test_links_of_a_header_are_links_of_the_page(self) -> None:
        head = {
            "link": '</next>; rel="next", <s.css>; rel=stylesheet, </big.jpg>; rel=preload; as=image, '
            "<https://cc.example/by>; rel=license, </f.xml>; rel=alternate; type=application/rss+xml",
            "refresh": "0; url=other.html",
        }
        found = read(b"<p>hello", head, URL)
        assert found.pages == ["https://a.example/dir/other.html", "https://a.example/next"]
        assert found.sheets == ["https://a.example/dir/s.css"]
        assert urls(found) == ["https://a.example/big.jpg"]
        assert found.license == "https://cc.example/by"
        assert found.feeds == ["https://a.example/f.xml"]

    def test_a_policy_has_images_asked_for_over_https(self) -> None:
        head = {"content-security-policy": "default-src *; upgrade-insecure-requests"}
        assert urls(read(b'<img src="http://b.example/a.png">', head, URL)) == ["https://b.example/a.png"]

    @pytest.mark.parametrize("field", ["", ";", "<", "<>; rel", '<a>; rel="next', "<http://[>; rel=next", "a" * 99_999])
    def test_a_field_that_makes_no_sense_names_nothing(self, field: str) -> None:
        assert read(b"", {"link": field, "refresh": field}, URL).pages in ([], ["https://a.example/dir/a"])


class TestSheets:
    def test_images_and_imports(self) -> None:
        body = b'@import "more.css"; a { background: url(a.png), image-set("b.png" 1x, "c.png" 2x) }'
        found = read(body, {"content-type": "text/css"}, "https://a.example/css/s.css", "sheet")
        assert images(found) == [
            ["https://a.example/css/a.png"],
            ["https://a.example/css/c.png", "https://a.example/css/b.png"],
        ]
        assert found.sheets == ["https://a.example/css/more.css"]

    def test_it_is_decoded_as_it_says(self) -> None:
        body = '@charset "iso-8859-1"; a { background: url(\xe4.png) }'.encode("latin-1")
        assert urls(read(body, {}, URL, "sheet")) == ["https://a.example/dir/%C3%A4.png"]

    def test_a_page_is_none(self) -> None:
        with pytest.raises(ValueError, match="text/html, no style sheet"):
            read(b"<p>", {"content-type": "text/html"}, URL, "sheet")


RSS = b"""<?xml version="1.0"?><rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"
 xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd">
<channel><title>News</title><link>https://a.example/</link><image><url>logo.png</url><title>Logo</title></image>
<item><title>Bears</title><link>bears.html</link><enclosure url="bear.jpg" type="image/jpeg" length="3"/>
<enclosure url="bear.mp3" type="audio/mpeg"/><media:group><media:content url="m.jpg" medium="image"/>
<media:credit>Ann</media:credit></media:group><media:thumbnail url="t.jpg"/><itunes:image href="i.png"/>
<description>&lt;p&gt;&lt;img src="d.jpg" alt="a den"&gt;&lt;a href="den.html"&gt;</description>
<content:encoded><![CDATA[<img srcset="e1.jpg 1x, e2.jpg 2x">]]></content:encoded></item></channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>Atom</title><logo>logo.svg</logo><icon>icon.ico</icon>
<entry><title>One</title><link rel="alternate" type="text/html" href="one.html"/>
<link rel="enclosure" type="image/png" href="one.png"/><link rel="self" href="self.xml"/>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><img src="in.png"/></div></content></entry></feed>"""


class TestFeeds:
    @pytest.mark.parametrize("sort", ["feed", "page", "sitemap"])
    def test_rss_and_media_rss(self, sort: str) -> None:
        found = read(RSS, {}, URL, sort)
        assert [url.rpartition("/")[2] for url in urls(found)] == [
            "logo.png", "bear.jpg", "m.jpg", "t.jpg", "i.png", "d.jpg", "e2.jpg",
        ]  # fmt: skip
        words = {image.candidates[0].rpartition("/")[2]: image.words for image in found.images}
        assert words["bear.jpg"].title == "Bears"
        assert words["m.jpg"].credit == "Ann"
        assert words["d.jpg"].alt == "a den"
        assert [url.rpartition("/")[2] for url in found.pages] == ["", "bears.html", "den.html"]
        assert found.title == "News"

    def test_atom(self) -> None:
        found = read(ATOM, {"content-type": "application/atom+xml"}, URL, "feed")
        assert [url.rpartition("/")[2] for url in urls(found)] == ["logo.svg", "icon.ico", "one.png", "in.png"]
        assert [image.left_out for image in found.images] == ["", "icon", "", ""]
        assert found.pages == ["https://a.example/dir/one.html"]

    def test_a_broken_one_is_read_as_far_as_it_goes(self) -> None:
        assert len(read(RSS[:600], {}, URL, "feed").images) == 4


def xml_sitemap(entries: str) -> bytes:
    return (
        '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
        'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1" xmlns:xhtml="http://www.w3.org/1999/xhtml" '
        f'xmlns:video="http://www.google.com/schemas/sitemap-video/1.1">{entries}</urlset>'
    ).encode()


IMAGES = """<url><loc> https://a.example/1 </loc><lastmod>2026-01-02</lastmod>
<image:image><image:loc>https://cdn.example/1.jpg</image:loc><image:caption>A bear</image:caption>
<image:title>Bear</image:title><image:license>https://cc.example/by</image:license></image:image>
<xhtml:link rel="alternate" hreflang="de" href="https://a.example/de/1"/>
<video:video><video:thumbnail_loc>https://cdn.example/v.jpg</video:thumbnail_loc></video:video></url>"""


class TestSitemaps:
    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_pages_and_images(self, pack: Any) -> None:
        found = read(pack(xml_sitemap(IMAGES)), {}, "https://a.example/sitemap.xml", "sitemap")
        assert found.pages == ["https://a.example/1", "https://a.example/de/1"]
        assert found.lastmod == {"https://a.example/1": "2026-01-02"}
        picture, video = found.images
        assert (picture.candidates, picture.referrer) == (["https://cdn.example/1.jpg"], "https://a.example/1")
        words = picture.words
        assert (words.caption, words.title, words.image_license) == ("A bear", "Bear", "https://cc.example/by")
        assert video.candidates == ["https://cdn.example/v.jpg"]

    def test_an_index(self) -> None:
        body = b"""<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>/s1.xml.gz</loc>
        </sitemap><sitemap><loc>https://a.example/s2.xml</loc></sitemap></sitemapindex>"""
        found = read(body, {}, "https://a.example/sitemap.xml", "sitemap")
        assert found.sitemaps == ["https://a.example/s1.xml.gz", "https://a.example/s2.xml"]

    def test_without_a_namespace_and_as_text(self) -> None:
        body = b"<urlset><url><loc>https://a.example/x?a=1&amp;b=2</loc></url></urlset>"
        assert read(body, {}, URL, "sitemap").pages == ["https://a.example/x?a=1&b=2"]
        text = "\ufeffhttps://a.example/1\r\nhttps://a.example/2\n".encode()
        assert read(text, {}, URL, "sitemap").pages == ["https://a.example/1", "https://a.example/2"]

    def test_what_is_beyond_the_protocols_limit_is_counted(self) -> None:
        body = xml_sitemap("".join(f"<url><loc>https://a.example/{n}</loc></url>" for n in range(50_007)))
        found = read(body, {}, URL, "sitemap")
        assert len(found.pages) == sitemap.MAX_ENTRIES
        assert found.left_out == {"sitemap_limit": 7}

    def test_a_bomb_is_refused(self) -> None:
        with pytest.raises(ValueError, match="bytes unpacked"):
            read(gzip.compress(b" " * (sitemap.MAX_BYTES + 1)), {}, URL, "sitemap")

    def test_entities_are_not_followed(self) -> None:
        body = b"""<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>
        <urlset><url><loc>https://a.example/&x;&b;</loc></url><url><loc>https://a.example/2</loc></url></urlset>"""
        found = read(body, {}, URL, "sitemap")
        assert "root:" not in str(found.pages)
        assert "https://a.example/2" in found.pages

    @pytest.mark.parametrize("body", [b"<html><p>not here", b"", b"hello", b"\x1f\x8bnothing"])
    def test_what_is_none_is_said_to_be_none(self, body: bytes) -> None:
        with pytest.raises(ValueError, match="it is no "):
            read(body, {}, URL, "sitemap")


V2 = {
    "@context": "http://iiif.io/api/presentation/2/context.json", "@type": "sc:Manifest", "label": "Book",
    "license": "https://cc.example/by", "attribution": "Library",
    "sequences": [{"canvases": [{"@type": "sc:Canvas", "label": "f. 1r", "thumbnail": {"@id": "https://i.example/t.jpg"},
        "images": [{"resource": {"@id": "https://i.example/1.jpg", "@type": "dctypes:Image", "service": {
            "@context": "http://iiif.io/api/image/2/context.json", "@id": "https://i.example/iiif/1"}}}]}]}],
}  # fmt: skip
V3 = {
    "@context": "http://iiif.io/api/presentation/3/context.json", "type": "Manifest", "label": {"en": ["Map"]},
    "rights": "https://cc.example/zero", "requiredStatement": {"value": {"en": ["Museum"]}},
    "items": [{"type": "Canvas", "label": {"none": ["1"]}, "items": [{"type": "AnnotationPage", "items": [
        {"type": "Annotation", "body": {"type": "Image", "id": "https://i.example/m.jpg",
            "service": [{"id": "https://i.example/iiif/m", "type": "ImageService3"}]}}]}]}],
}  # fmt: skip


class TestManifests:
    @pytest.mark.parametrize(
        ("document", "candidates", "words"),
        [
            (V2, ["https://i.example/iiif/1/full/full/0/default.jpg", "https://i.example/1.jpg"],
             ("f. 1r", "https://cc.example/by", "Library")),
            (V3, ["https://i.example/iiif/m/full/max/0/default.jpg", "https://i.example/m.jpg"],
             ("1", "https://cc.example/zero", "Museum")),
        ],
    )  # fmt: skip
    def test_every_canvas_at_its_full_size(
        self, document: dict[str, Any], candidates: list[str], words: tuple[str, ...]
    ) -> None:
        (image,) = read(json.dumps(document).encode(), {}, URL, "manifest").images
        assert image.candidates == candidates
        assert (image.words.title, image.words.image_license, image.words.credit) == words

    def test_a_collection_names_manifests(self) -> None:
        document = {
            "@context": "http://iiif.io/api/presentation/3/context.json", "type": "Collection",
            "items": [
                {"type": "Manifest", "id": "https://i.example/1/manifest"},
                {"type": "Collection", "id": "c.json"},
            ],
        }  # fmt: skip
        found = read(json.dumps(document).encode(), {}, URL, "manifest")
        assert found.manifests == ["https://i.example/1/manifest", "https://a.example/dir/c.json"]

    @pytest.mark.parametrize("body", [b"{}", b"[]", b"nothing", b"[" * 100_000, b'{"@context": 1}'])
    def test_what_is_none_is_said_to_be_none(self, body: bytes) -> None:
        with pytest.raises(ValueError):
            read(body, {}, URL, "manifest")

    def test_pages_name_them_in_their_ways(self) -> None:
        page = b"""<a href="https://v.example/?manifest=https%3A%2F%2Fi.example%2Fa%2Fmanifest">view</a>
        <a href="/iiif/b/manifest.json">raw</a> <div data-iiif-manifest="/c.json"></div>
        <link rel=alternate type='application/ld+json;profile="http://iiif.io/api/presentation/3/context.json"' href=/d>
        <link rel=manifest href=/app/manifest.json><a href="/app/manifest.json">app</a>"""
        assert read(page, {}, URL).manifests == [
            "https://i.example/a/manifest", "https://a.example/iiif/b/manifest.json", "https://a.example/c.json",
            "https://a.example/d",
        ]  # fmt: skip


class TestMarks:
    def test_wikimedia_says_licence_and_credit(self) -> None:
        page = b"""<div class="licensetpl"><span class="licensetpl_link">https://cc.example/by-sa</span>
        <span class="licensetpl_short">CC BY-SA</span><span class="licensetpl_attr">Ann, CC BY-SA</span></div>
        <img src="/a.jpg">"""
        found = read(page, {}, "https://commons.wikimedia.org/wiki/File:A.jpg")
        assert found.license == "https://cc.example/by-sa"
        assert found.images[0].words.credit == "Ann, CC BY-SA"

    def test_flickr_says_licence_and_credit(self) -> None:
        page = b"""<a class="photo-license-url" href="https://cc.example/by">x</a>
        <a class="owner-name t">Ann</a><img src=a.jpg>"""
        found = read(page, {}, "https://www.flickr.com/photos/1/2/")
        assert (found.license, found.images[0].words.credit) == ("https://cc.example/by", "Ann")

    def test_elsewhere_such_marks_mean_nothing(self) -> None:
        assert not read(b'<span class="licensetpl_link">https://cc.example</span>', {}, URL).license


@given(
    body=st.binary(max_size=200),
    head=st.dictionaries(st.sampled_from(["content-type", "link", "refresh", "x-robots-tag"]), st.text(max_size=40)),
    sort=st.sampled_from(SORTS),
    start=st.sampled_from(
        [b"", b"<rss>", b"<urlset>", b"<feed>", b"\x1f\x8b\x08", b'{"@context": "iiif.io/api/presentation"']
    ),
)
def test_nothing_but_a_value_error_comes_of_any_document(
    body: bytes, head: dict[str, str], sort: str, start: bytes
) -> None:
    try:
        read(start + body, head, URL, sort)
    except ValueError:
        assert sort != "page" or start in (b"<urlset>",)


class TestHostile:
    """What took exponential or quadratic time, or ended the process, stays cheap and harmless."""

    @pytest.mark.parametrize(
        "body",
        [
            b"<!---->" * 5_000 + b"text",
            b"<!-- a -->" * 20 + b"<!--" + b"x" * 12_000 + b"--><html>",
            b"<!DOCTYPE a [" * 2_000,
            b"<?" * 5_000,
            b"<h1><img src=a.jpg>" * 4_000,
            b"<noscript>&lt;" * 2_000,
            b'<a href="a.jpg"><i>' * 4_000,
            b"<rss><item>" + b'<content url="/a.jpg"/>' * 8_000,
            b"<rss>" + b"<content>" * 2_000 + b"<p>" * 2_000,
            b"<rss><image>" + b"<url>a.jpg</url>" * 8_000,
        ],
    )
    def test_documents(self, body: bytes) -> None:
        began = time.process_time()
        read(body, {"content-type": "text/html"}, URL)
        assert time.process_time() - began < 10

    def test_halves_of_characters_can_be_sent(self) -> None:
        page = rb'<script type="application/ld+json">{"image": {"url": "a.jpg", "name": "cut \ud83d"}}</script>'
        (image,) = read(page, {}, URL).images
        assert image.words.title == "cut ?"
        manifest = json.dumps({**V3, "label": {"en": ["\ud83d"]}}).encode()
        assert read(manifest, {}, URL, "manifest").title == "?"

    def test_a_sitemap_of_nothing_takes_no_memory(self) -> None:
        assert read(b"<urlset>" + b"<a/>" * 300_000 + b"</urlset>", {}, URL, "sitemap").pages == []

    def test_long_indexes_are_read_whole(self) -> None:
        entries = "".join(f"<sitemap><loc>https://a.example/{n}.xml</loc></sitemap>" for n in range(3_000))
        found = read(f"<sitemapindex>{entries}</sitemapindex>".encode(), {}, URL, "sitemap")
        assert (len(found.sitemaps), found.left_out) == (3_000, {})

    def test_gzip_files_of_many_parts_and_without_an_end(self) -> None:
        half, rest = b"<urlset><url><loc>https://a.example/1</loc></url>", b"<url><loc>/2</loc></url></urlset>"
        body = gzip.compress(half) + gzip.compress(rest)
        assert read(body, {}, URL, "sitemap").pages == ["https://a.example/1", "https://a.example/2"]
        with pytest.raises(ValueError, match="its end is missing"):
            read(body[:-5], {}, URL, "sitemap")

    def test_robots_meta_is_heard_whatever_is_around_it(self) -> None:
        many = b"".join(b"<meta name=m%d content=x>" % n for n in range(300))
        page = many + b'<meta property=x name=Robots content="' + b"index, " * 90 + b'noai">'
        ((_, content),) = [meta for meta in read(page, {}, URL).metas if meta[0] == "robots"]
        assert content.endswith("noai")
