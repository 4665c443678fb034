"""Attributes of any element: inline styles, and data that scripts make images of."""

from __future__ import annotations

from typing import Any

from crawler.pages.extract.anchor import is_manifest
from crawler.pages.extract.css import urls_in
from crawler.pages.extract.img import LAZY, LAZY_SETS
from crawler.pages.extract.links import Gathering, names_an_image
from crawler.pages.extract.script import image_strings, is_image_url, parsed, read_markup
from crawler.pages.extract.srcset import best_first, parse_srcset
from crawler.pages.extract.structured import read_item

_IMAGES = frozenset({"img", "image", "source"})
_MANIFESTS = frozenset({"data-manifest", "data-manifest-url", "data-manifest-uri", "data-iiif-manifest", "data-iiif"})
_BACKGROUNDS = frozenset({"data-bg", "data-background", "data-background-image", "data-bg-src", "data-bgset"})
#: Attributes that have readers of their own, or never hold an image.
OTHERS = frozenset(
    "class id href src alt title width height rel type name content srcset sizes style-src target lang dir "
    "value placeholder role tabindex colspan rowspan align valign border cellpadding cellspacing background loading "
    "decoding crossorigin media charset itemscope itemtype itemid action method for checked disabled hidden "
    "aria-label aria-hidden aria-labelledby aria-describedby aria-expanded aria-controls data-id data-type "
    "data-name".split()
)


def read(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    """Read the attributes of an element that have no reader of their own."""
    for name, value in attrs.items():
        if name not in OTHERS:
            _read_one(gathering, element, attrs, name, value)


def _read_one(gathering: Gathering, element: Any, attrs: dict[str, str], name: str, value: str) -> None:
    if name == "style":
        for candidates in urls_in(value):
            gathering.image(candidates, "style", title=attrs.get("title"), label=attrs.get("aria-label"))
    elif name in ("itemprop", "property"):
        read_item(gathering, element, attrs, name)
    elif name[:5] == "data-" and len(value) > 4:
        if element.tag in _IMAGES and (name in _LAZY_NAMES):
            return
        _read_data(gathering, attrs, name, value)


_LAZY_NAMES = frozenset({*LAZY, *LAZY_SETS})


def _read_data(gathering: Gathering, attrs: dict[str, str], name: str, value: str) -> None:
    words: dict[str, Any] = {"alt": attrs.get("alt"), "title": attrs.get("title"), "label": attrs.get("aria-label")}
    if name in _BACKGROUNDS:
        inside = urls_in(value)
        for candidates in inside or [best_first(parse_srcset(value)) or [value]]:
            gathering.image(candidates, f"@{name}", **words)
        return
    if name in _MANIFESTS or (name != "data-url" and is_manifest(value)):
        gathering.add("manifests", value)
        return
    start = value.lstrip()[:1]
    if start in ("{", "["):
        for text in image_strings(parsed(value)):
            gathering.image([text], f"@{name}", **words)
    elif start == "<":
        read_markup(gathering, value)
    elif "," in value and " " in value and "." in value:
        sets = [one for one in parse_srcset(value) if names_an_image(one.url) or one.width]
        if sets and any(names_an_image(one.url) for one in sets):
            gathering.image(best_first(sets), f"@{name}", **words)
    elif "url(" in value:
        for candidates in urls_in(value):
            gathering.image(candidates, f"@{name}", **words)
    elif name in _LAZY_NAMES and name != "data-url":
        if names_an_image(value):
            gathering.image([value], f"@{name}", **words)
    elif is_image_url(value) or (names_an_image(value) and "/" in value and " " not in value):
        gathering.image([value], f"@{name}", **words)
