"""Links: to pages, to images, and those of the head."""

from __future__ import annotations

from typing import Any

from crawler.pages.extract.links import Gathering, names_an_image, text_of
from crawler.pages.extract.srcset import best_first, parse_srcset

_ICONS = frozenset({"icon", "apple-touch-icon", "apple-touch-icon-precomposed", "mask-icon", "fluid-icon"})
_PAGES = frozenset({"next", "prev", "alternate"})


def _read_anchor(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    text = attrs.get("href")
    if not text:
        return
    if names_an_image(text):
        gathering.image(
            [text], f"{element.tag}@href", title=attrs.get("title"), label=attrs.get("aria-label"),
            link_text=text_of(element),
        )  # fmt: skip
    rel = attrs["rel"].lower().split() if "rel" in attrs else ()
    gathering.page(text, nofollow="nofollow" in rel)
    if "license" in rel:
        _set_license(gathering, text)


def _set_license(gathering: Gathering, text: str) -> None:
    gathering.links.license = gathering.links.license or gathering.absolute(text) or ""


def _read_frame(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    gathering.page(attrs.get("src"))


def _read_link(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    href, rel = attrs.get("href", ""), set(attrs.get("rel", "").lower().split())
    if rel & _ICONS:
        gathering.image([href], "link@href", left_out="icon")
    elif "image_src" in rel:
        gathering.image([href], "link@href")
    elif rel & {"preload", "prefetch"} and attrs.get("as", "").lower() == "image":
        sets = parse_srcset(attrs.get("imagesrcset", ""))
        gathering.image([*best_first(sets), href], "link@imagesrcset" if sets else "link@href")
    elif "stylesheet" in rel:
        url = gathering.absolute(href)
        if url and url not in gathering.links.stylesheets:
            gathering.links.stylesheets.append(url)
    elif "license" in rel:
        _set_license(gathering, href)
    elif "canonical" in rel:
        gathering.links.canonical = gathering.links.canonical or gathering.absolute(href) or ""
    elif rel & _PAGES and "html" in attrs.get("type", "text/html").lower():
        gathering.page(href)


READERS = {
    "a": _read_anchor,
    "area": _read_anchor,
    "frame": _read_frame,
    "iframe": _read_frame,
    "link": _read_link,
}
