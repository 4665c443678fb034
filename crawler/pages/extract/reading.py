"""Which reader a document gets: by what it was named as, and by what it turns out to be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crawler.pages.extract import feed, headers, manifest, sheet, sitemap
from crawler.pages.extract.document import parse
from crawler.pages.extract.links import Gathering, Links
from crawler.pages.extract.walk import links_of, walk

# The first element of an XML document, after its declaration, comments, instructions and document type.
_ROOT = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]{0,2000}\?>\s*|<!--.{0,5000}?-->\s*|<!DOCTYPE[^>\[]{0,500}(?:\[[^\]]{0,5000}\]\s*)?>\s*)*<([A-Za-z:]+)",
    re.S,
)
_FEEDS = frozenset({b"rss", b"feed", b"rdf:RDF"})
_SITEMAPS = frozenset({b"urlset", b"sitemapindex"})
_HEAD = 10_000


def read(body: bytes, head: Mapping[str, str], url: str, sort: str = "page") -> Links:
    """Return what the document at `url` names; `head` are its headers, with lower-case names.

    `sort` is what it was named as: `page`, `sheet`, `feed`, `manifest` or `sitemap`; a page that turns out to be a
    feed or a sitemap is read as one. Raises ValueError where a sheet, manifest or sitemap is something else.
    """
    gathering = Gathering(url, walk)
    headers.read(gathering, head)
    content_type = head.get("content-type", "")
    root = _root(body)
    if sort == "sitemap":
        body = sitemap.unpacked(body)
        root = _root(body)
    if root in _FEEDS:
        feed.read(gathering, body)
    elif sort == "sitemap" or root.rpartition(b":")[2] in _SITEMAPS:
        sitemap.read(gathering, body, root)
    elif sort == "sheet":
        sheet.read(gathering, body, content_type)
    elif sort == "manifest":
        manifest.read(gathering, body)
    else:
        document = parse(body, content_type)
        links_of(document.root, url, gathering)
        gathering.links.encoding, gathering.links.encoding_found_in = document.encoding, document.found_in
    return gathering.links


def _root(body: bytes) -> bytes:
    match = _ROOT.match(body[:_HEAD])
    return match[1] if match else b""
