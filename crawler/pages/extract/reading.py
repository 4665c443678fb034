"""Which reader a document gets: by what it was named as, and by what it turns out to be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crawler.pages.extract import feed, headers, manifest, sheet, sitemap
from crawler.pages.extract.document import parse
from crawler.pages.extract.links import Gathering, Links
from crawler.pages.extract.walk import links_of, walk

_NAME = re.compile(rb"<([A-Za-z_][\w:.-]*)")
_FEEDS = frozenset({b"rss", b"feed", b"rdf:RDF"})
#: Bytes that may stand before a document's first element.
MAX_PROLOGUE = 100_000
_SITEMAPS = frozenset({b"urlset", b"sitemapindex"})


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
    """Return the name of a document's first element, after its declaration, comments and document type."""
    body = body[:MAX_PROLOGUE]
    at = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    while True:
        while body[at : at + 1].isspace():
            at += 1
        if body.startswith(b"<!--", at):
            end, length = body.find(b"-->", at + 4), 3
        elif body.startswith(b"<?", at):
            end, length = body.find(b"?>", at + 2), 2
        elif body.startswith(b"<!", at):
            end, length = body.find(b">", at), 1
            if body.find(b"[", at, end) >= 0:  # declarations of its own
                end = body.find(b">", body.find(b"]", at))
        else:
            match = _NAME.match(body, at)
            return match[1] if match else b""
        if end < 0:
            return b""
        at = end + length
