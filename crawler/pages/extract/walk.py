"""The one walk over a page's elements, which hands each to the reader of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crawler.pages.extract import anchor, attributes, img, marks, media, meta, script
from crawler.pages.extract.links import Gathering, Links
from crawler.urls import normalise

Attributes = dict[str, str]
Reader = Callable[[Gathering, Any, Attributes], None]

_READERS: dict[str, Reader] = {**img.READERS, **anchor.READERS, **media.READERS, **meta.READERS, **script.READERS}


def links_of(root: Any, url: str, gathering: Gathering | None = None) -> Links:
    """Return what the page at `url` with this root element names, with what `gathering` has already."""
    gathering = gathering or Gathering(url, walk)
    if root is None:
        return gathering.links
    base = root.find(".//base[@href]")
    if base is not None:
        gathering.base = normalise(base.get("href"), url) or url
    walk(gathering, root)
    marks.read(gathering, root, url)
    return gathering.links


def walk(gathering: Gathering, root: Any) -> None:
    """Read all elements at and below `root`, in their order."""
    readers, others = _READERS, attributes.OTHERS
    for element in root.iter("*"):
        attrs = dict(element.items())
        reader = readers.get(element.tag)
        if reader is not None:
            reader(gathering, element, attrs)
        if not attrs.keys() <= others:
            for name in attrs.keys() - others:
                attributes.read(gathering, element, attrs, name)
