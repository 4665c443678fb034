"""RSS, Atom and Media RSS: the entries' pages, and the images in and around them."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from lxml import etree

from crawler.pages.extract.flat import MAX_NODES
from crawler.pages.extract.links import Gathering, folded, names_an_image
from crawler.pages.extract.script import read_markup

# Elements, attributes and their ends; each takes some 200 bytes, however few it is written with.
_MARK = re.compile(rb"[<=]")
_MARKUP = frozenset({"description", "encoded", "content", "summary"})
_ENTRIES = frozenset({"item", "entry"})


def read(gathering: Gathering, body: bytes) -> None:
    """Read a feed; what is no XML is read as far as it goes."""
    if (mark := next(islice(_MARK.finditer(body), MAX_NODES, None), None)) is not None:
        body = body[: mark.start()]
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return
    if root is None:
        return
    title = ""
    walker = etree.iterwalk(root, events=("start",), tag="*")
    for _, element in walker:
        name = _local(element)
        if name in _ENTRIES:
            title = folded(element.findtext("{*}title"))
        if name in _MARKUP and not element.get("url"):
            read_markup(gathering, (element.text or "").strip() or _inner(element))
            walker.skip_subtree()  # it is read as markup
        else:
            _read_element(gathering, element, name, title)
    gathering.links.title = gathering.links.title or folded(root.findtext(".//{*}title"))


def _read_element(gathering: Gathering, element: Any, name: str, title: str) -> None:
    url, href, text = element.get("url", ""), element.get("href", ""), (element.text or "").strip()
    kind = element.get("type", "").lower()
    if name == "enclosure" and (kind.startswith("image/") or names_an_image(url)):
        gathering.image([url], "feed enclosure", title=title)
    elif name == "content" and url:
        if element.get("medium") == "image" or kind.startswith("image/") or names_an_image(url):
            _read_media(gathering, element, url, title)
    elif name == "thumbnail" and url:
        gathering.image([url], "feed thumbnail", title=title)
    elif name == "image" and href:
        gathering.image([href], "feed image", title=title)
    elif name in ("logo", "icon") and text:
        gathering.image([text], f"feed {name}", left_out="icon" if name == "icon" else "")
    elif name == "url" and element.getparent() is not None and _local(element.getparent()) == "image":
        gathering.image([text], "feed image", title=_words_of(gathering, element.getparent())["title"])
    elif name == "link":
        _read_link(gathering, element, href or text, kind, title)


def _read_link(gathering: Gathering, element: Any, url: str, kind: str, title: str) -> None:
    rel = element.get("rel", "alternate")
    if rel == "enclosure" and (kind.startswith("image/") or names_an_image(url)):
        gathering.image([url], "feed enclosure", title=title)
    elif rel == "license":
        gathering.links.license = gathering.links.license or gathering.absolute(url) or ""
    elif rel in ("alternate", "next", "prev-archive") and "html" in (kind or "html"):
        gathering.page(url)


def _read_media(gathering: Gathering, element: Any, url: str, title: str) -> None:
    """Read `media:content` (Media RSS) with what stands beside it about the image."""
    own, around = _words_of(gathering, element), _words_of(gathering, element.getparent())
    words = {name: own[name] or around[name] for name in own}
    gathering.image(
        [url], "feed media:content", title=words["title"] or title, caption=words["description"],
        credit=words["credit"], image_license=words["license"],
    )  # fmt: skip


def _words_of(gathering: Gathering, element: Any) -> dict[str, str]:
    """Return what stands right in an element about an image; looked up once for all images in it."""
    key = ("words", element)
    if key not in gathering.cache:
        names = ("title", "description", "credit", "license")
        gathering.cache[key] = {name: folded(element.findtext(f"{{*}}{name}")) for name in names}
    return dict(gathering.cache[key])


def _inner(element: Any) -> str:
    """Return markup that stands in a feed as elements (Atom's `type="xhtml"`)."""
    return "".join(etree.tostring(child, encoding="unicode", with_tail=True) for child in element)


def _local(element: Any) -> str:
    return str(etree.QName(element).localname)
