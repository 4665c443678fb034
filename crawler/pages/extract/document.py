"""Bytes to a tree, decoded by us as browsers do; given bytes, libxml2 stops where they contradict their charset."""

from __future__ import annotations

import codecs
import re
from collections import defaultdict
from typing import Any, NamedTuple

from lxml import etree

from crawler.pages.extract.flat import MAX_NODES, flat_tree

# What browsers take these labels for (WHATWG Encoding Standard, 4.2).
_LABELS = {
    "iso-8859-1": "windows-1252",
    "latin1": "windows-1252",
    "latin-1": "windows-1252",
    "ascii": "windows-1252",
    "us-ascii": "windows-1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "big5": "big5hkscs",
    "iso-8859-9": "windows-1254",
    "tis-620": "cp874",
    "x-user-defined": "windows-1252",
    "utf-16": "utf-16-le",
}
# Codecs of Python that no browser knows.
_NOT_OF_PAGES = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7", "mbcs"})
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
#: libxml2 compares each attribute of a tag with all before it; a page this short cannot have too many.
_LONG = 50_000
_MOST_ATTRIBUTES = 500
#: Bytes of a page that cannot have too many elements and attributes.
_ROOMY = 500_000
#: End tags of a page for which nothing begins; libxml2 looks through all that is open for each, or makes an element.
_MOST_STRAYS = 10_000
# Where no value holds the end of a tag, a tag reaches to the next `>`; looked for among these characters only, which
# spares most of the time (0.13 ms, not 0.39, for a page of 80 kB).
_NO_MARKS = bytes(set(range(256)) - set(b"=<>\"'"))
_END_IN_VALUE = re.compile(rb"""=(?:"[^">]*>|'[^'>]*>)""")
# As browsers see it (WHATWG HTML, 13.2.5.32 to 13.2.5.40); nothing of it can fail to match what it began.
_ATTRIBUTE = rb"""[\s/]*[^\s/>][^\s/>=]*(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+|["']))?"""
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(rb"<(?:/([a-zA-Z][^\s/>]*)|([a-zA-Z][^\s/>]*)(?:%b){0,%d})" % (_ATTRIBUTE, _MOST_ATTRIBUTES + 1))
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)


class Document(NamedTuple):
    """The root element of a page (None for an empty one), its encoding and where that was found."""

    root: Any
    encoding: str
    found_in: str


def _known(label: str | None) -> str | None:
    if not label:
        return None
    label = _LABELS.get(label.strip().lower(), label.strip())
    try:
        b"a".decode(label, "replace")  # refuses codecs that are no encodings of text
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    return None if name in _NOT_OF_PAGES else name


def _declared(beginning: bytes) -> str | None:
    from bs4.dammit import EncodingDetector  # most pages say it in their headers, and it is slow to import

    return EncodingDetector.find_declared_encoding(beginning, is_html=True, search_entire_document=False)


def detect(body: bytes, content_type: str) -> tuple[str, str]:
    """Return the encoding of a page and where it was found: BOM, header, meta, or the bytes themselves."""
    for bom, name in _BOMS:
        if body.startswith(bom):
            return name, "bom"
    header = _CHARSET.search(content_type)
    if header and (label := _known(header[1])):
        return label, "header"
    if label := _known(_declared(body[:4096])):
        # A page that declares UTF-16 in bytes that can be read as ASCII is no UTF-16 (WHATWG HTML, 13.2.3.2).
        return "utf-8" if label.startswith("utf-16") else label, "meta"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252", "bytes"
    return "utf-8", "bytes"


def parse(body: bytes, content_type: str = "") -> Document:
    """Return the tree of a page; never raises, whatever the bytes."""
    encoding, found_in = detect(body, content_type)
    text = body.decode(encoding, "replace").lstrip("\ufeff")
    return Document(fragment(text), encoding, found_in)


def decode_with(body: bytes, content_type: str, declared: str) -> str:
    """Return the text of a style sheet: by BOM, header, its own declaration, or UTF-8 (CSS Syntax, 3.2)."""
    for bom, name in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(name, "replace")
    header = _CHARSET.search(content_type)
    return body.decode(_known(header[1] if header else "") or _known(declared) or "utf-8", "replace")


def fragment(text: str) -> Any:
    """Return the tree of markup that stands in text, or None where there is none."""
    return _tree(text.replace("\x00", "\ufffd").encode("utf-8", "replace"))


def _tree(data: bytes) -> Any:
    if not data or data.isspace():
        return None
    data = _bounded(data)
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_pis=True, remove_comments=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        root = None
    gave_up = any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log)
    return flat_tree(data) if root is None or gave_up else root


def _bounded(data: bytes) -> bytes:
    """Return as much of a page as has no more than MAX_NODES, without floods of attributes; linear in its length."""
    # So many attributes take twice as many bytes, which hold a whole stretch between two multiples of half of it.
    step = _MOST_ATTRIBUTES
    if len(data) <= _LONG or (
        len(data) <= _ROOMY
        and all(data.find(b">", start, start + step) >= 0 for start in range(0, len(data) - step, step))
        and _END_IN_VALUE.search(data.translate(None, _NO_MARKS)) is None
    ):
        return data
    left, strays = MAX_NODES, _MOST_STRAYS
    begun: defaultdict[bytes, int] = defaultdict(int)
    pieces, kept, at = [], 0, 0
    while (tag := _TAG.search(data, at)) and left >= 0 and strays >= 0:
        at = tag.end()
        ended, began = tag.groups()
        if began is not None:
            nodes = _nodes(tag[0])
            if nodes > step:
                pieces.append(data[kept:at])
                while more := _ATTRIBUTES.match(data, at):
                    at = more.end()
                kept = at
            begun[began] += 1
            left -= nodes
        elif begun[ended]:
            begun[ended] -= 1
        else:
            strays -= 1
    pieces.append(data[kept : at if tag else None])
    return b"".join(pieces)


def _nodes(tag: bytes) -> int:
    """Return how many nodes a tag makes; of a short one at least half of them, which is quicker."""
    if len(tag) > _MOST_ATTRIBUTES:
        return sum(1 for _ in _ATTRIBUTES.finditer(tag))
    return max(len(tag.split()), tag.count(b"=") + 1) + tag.count(b"/") // 4
