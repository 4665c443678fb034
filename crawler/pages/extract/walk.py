"""The one walk over a page's elements, which hands each to the reader of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crawler.pages.extract import anchor, attributes, img, marks, media, meta, script
from crawler.pages.extract.links import Gathering, Links
from crawler.urls import Base, normalise

Reader = Callable[[Gathering, Any, Any], None]

_READERS: dict[str, Reader] = {**img.READERS, **anchor.READERS, **media.READERS, **meta.READERS, **script.READERS}


def links_of(root: Any, url: str, gathering: Gathering | None = None) -> Links:
    """Return what the page at `url` with this root element names, with what `gathering` has already."""
    gathering = gathering or Gathering(url, walk)
    if root is None:
        return gathering.links
    base = root.find(".//base[@href]")
    if base is not None:
        gathering.base = Base(normalise(base.get("href"), url) or url)
    walk(gathering, root)
    marks.read(gathering, root, url)
    return gathering.links


def walk(gathering: Gathering, root: Any) -> None:
    """Read all elements at and below `root`, in their order."""
    find_reader, are_plain = _READERS.get, attributes.OTHERS.issuperset
    are_plain_of_link, take_plain_page = anchor.PLAIN.issuperset, gathering.take_plain_page
    for element in root.iter("*"):
        tag, attrs = element.tag, element.attrib
        if tag == "a" and are_plain_of_link(attrs) and take_plain_page(attrs.get("href", "")):
            continue
        reader = find_reader(tag)
        is_plain = are_plain(attrs)
        if not is_plain:
            attrs = dict(attrs.items())
        if reader is not None:
            reader(gathering, element, attrs)
            if gathering.is_full:
                return
        if not is_plain:
            attributes.read(gathering, element, attrs)
