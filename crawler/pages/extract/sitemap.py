"""Sitemaps (sitemaps.org protocol, Google's image and video extensions): a stream of pages with their images."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from lxml import etree

from crawler.coding import GZIP, Decoder
from crawler.errors import FetchError
from crawler.pages.extract.links import Gathering

#: Entries and bytes (unpacked) of one sitemap, by its protocol.
MAX_ENTRIES = 50_000
MAX_BYTES = 50 * 2**20
#: Elements of one sitemap that are read, and of one entry; that has up to 1,000 images (Google's image extension).
MAX_ELEMENTS = 1_000_000
MAX_PARTS = 10_000
_GZIP = b"\x1f\x8b"
_PIECE = 64 * 1024


def unpacked(body: bytes) -> bytes:
    """Return a sitemap that may be a gzip file; raises ValueError where it is too large or broken."""
    if not body.startswith(_GZIP):
        return body
    decoder, text = Decoder(GZIP), bytearray()
    for start in range(0, len(body), _PIECE):
        try:
            text += decoder.decode(body[start : start + _PIECE], MAX_BYTES - len(text))
        except FetchError as error:
            raise ValueError(f"it is no whole gzip file: {error}") from error
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes unpacked")
    if not decoder.is_whole:
        raise ValueError("it is no whole gzip file: its end is missing")
    return bytes(text)


def read(gathering: Gathering, body: bytes, root: bytes) -> None:
    """Read a sitemap, an index of sitemaps, or a text file of URLs; raises ValueError for anything else."""
    if root.rpartition(b":")[2] in (b"urlset", b"sitemapindex"):
        _read_xml(gathering, body)
        return
    lines = body[: 2 * MAX_BYTES].decode("utf-8-sig", "replace").split(None, MAX_ENTRIES)
    if not lines or not all(line.startswith(("http://", "https://")) for line in lines[:10]):
        raise ValueError("it is no sitemap")
    for line in lines[:MAX_ENTRIES]:
        gathering.page(line)
    for rest in lines[MAX_ENTRIES:]:
        gathering.left_out("sitemap_limit", rest.count("\n", 0, -1) + 1)


def _read_xml(gathering: Gathering, body: bytes) -> None:
    entries = etree.iterparse(
        BytesIO(body), events=("start", "end"), recover=True, resolve_entities=False, no_network=True, load_dtd=False,
        huge_tree=False, remove_comments=True, remove_pis=True,
    )  # fmt: skip
    number = inside = elements = parts = 0
    for event, element in entries:
        is_entry = element.tag.rpartition("}")[2] in ("url", "sitemap")
        if event == "start":
            inside += is_entry
            elements += 1
            parts = 0 if is_entry else parts + 1
            if elements > MAX_ELEMENTS:
                gathering.left_out("sitemap_limit", 1)
                break
            continue
        inside -= is_entry
        if is_entry:
            number += 1
            if number <= MAX_ENTRIES:
                _read_entry(gathering, element)
        parent = element.getparent()
        if (not inside or parts > MAX_PARTS) and parent is not None:  # what is read need not stay in memory
            element.clear()
            while (before := element.getprevious()) is not None:
                parent.remove(before)  # a slice would count all that is there
    gathering.left_out("sitemap_limit", number - MAX_ENTRIES)


def _read_entry(gathering: Gathering, element: Any) -> None:
    where = (element.findtext("{*}loc") or "").strip()
    if element.tag.rpartition("}")[2] == "sitemap":
        gathering.add("sitemaps", where)
        return
    page = gathering.page(where)
    lastmod = (element.findtext("{*}lastmod") or "").strip()[:40]
    if page and lastmod:
        gathering.links.lastmod[page] = lastmod
    for child in element:
        name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if name == "link" and child.get("rel") == "alternate":
            gathering.page(child.get("href"))
        elif name == "image":
            gathering.image(
                [(child.findtext("{*}loc") or "").strip()], "sitemap image", referrer=page or "",
                title=child.findtext("{*}title"), caption=child.findtext("{*}caption"),
                image_license=child.findtext("{*}license"),
            )  # fmt: skip
        elif name == "video":
            thumbnail = (child.findtext("{*}thumbnail_loc") or "").strip()
            gathering.image([thumbnail], "sitemap video", referrer=page or "", title=child.findtext("{*}title"))
