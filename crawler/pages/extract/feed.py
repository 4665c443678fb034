"""RSS, Atom and Media RSS: the entries' pages, and the images in and around them."""

from __future__ import annotations

from typing import Any

from lxml import etree

from crawler.pages.extract.links import Gathering, folded, names_an_image
from crawler.pages.extract.script import read_markup

_MARKUP = frozenset({"description", "encoded", "content", "summary"})
_ENTRIES = frozenset({"item", "entry"})


def read(gathering: Gathering, body: bytes) -> None:
    """Read a feed; what is no XML is read as far as it goes."""
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return
    if root is None:
        return
    title = ""
    for element in root.iter("*"):
        name = etree.QName(element).localname
        if name in _ENTRIES:
            title = folded(element.findtext("{*}title"))
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
        gathering.image([text], "feed image", title=folded(element.getparent().findtext("{*}title")))
    elif name == "link":
        _read_link(gathering, element, href or text, kind, title)
    elif name in _MARKUP:
        read_markup(gathering, text or _inner(element))


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
    around = [element, element.getparent()]
    words = {
        name: next((text for one in around if one is not None and (text := one.findtext(f"{{*}}{name}"))), "")
        for name in ("title", "description", "credit", "license")
    }
    gathering.image(
        [url], "feed media:content", title=words["title"] or title, caption=words["description"],
        credit=words["credit"], image_license=words["license"],
    )  # fmt: skip


def _inner(element: Any) -> str:
    """Return markup that stands in a feed as elements (Atom's `type="xhtml"`)."""
    return "".join(etree.tostring(child, encoding="unicode", with_tail=True) for child in element)


def _local(element: Any) -> str:
    return str(etree.QName(element).localname)
