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
    for element in root.iter("*"):
        reader = find_reader(element.tag)
        attrs = element.attrib
        if reader is not None:
            reader(gathering, element, attrs)
        if not are_plain(attrs):
            attributes.read(gathering, element, dict(attrs.items()))
