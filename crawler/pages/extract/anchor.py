"""Links: to pages, to images, and those of the head."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crawler.pages.extract.links import Gathering, names_an_image
from crawler.pages.extract.srcset import best_first, parse_srcset

_ICONS = frozenset({"icon", "apple-touch-icon", "apple-touch-icon-precomposed", "mask-icon", "fluid-icon"})
_PAGES = frozenset(
    "next prev previous alternate contents toc start first last index up chapter section subsection appendix glossary "
    "help".split()
)
# `/wiki/File:Name.jpg` of MediaWiki is a page about the image, in whatever language its name space is.
_FILE_PAGE = re.compile(r"[^?#]*/wiki/[^/?#.:]+:[^/?#]+(?:[?#]|\Z)")
_FEEDS = ("application/rss+xml", "application/atom+xml", "application/rdf+xml")


def _read_anchor(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    text = attrs.get("href")
    if not text:
        return
    if names_an_image(text) and _FILE_PAGE.match(text) is None:
        gathering.image(
            [text], f"{element.tag}@href", title=attrs.get("title"), label=attrs.get("aria-label"),
            link_text=gathering.text_of(element),
        )  # fmt: skip
    if "manifest" in text:
        _read_manifest(gathering, text)
        if is_manifest(text):
            return
    rel = attrs["rel"].lower().split() if "rel" in attrs else ()
    gathering.page(text, nofollow="nofollow" in rel)
    if "license" in rel:
        _set_license(gathering, text)


def _read_manifest(gathering: Gathering, text: str) -> None:
    """Read links to IIIF manifests: as such, and as a viewer's or the "drag and drop" icon's parameter."""
    query = parse_qs(urlsplit(text[:4096]).query, max_num_fields=50) if "manifest=" in text else {}
    for url in query.get("manifest", ()):
        gathering.add("manifests", url)
    if not query and is_manifest(text):
        gathering.add("manifests", text)


def is_manifest(text: str) -> bool:
    """Tell whether a URL is named as IIIF manifests are: `…/manifest`, `…/manifest.json`, below `iiif`."""
    path = text.partition("?")[0].partition("#")[0].rstrip("/")
    return path.endswith(("/manifest", "/manifest.json")) and "iiif" in path.lower()


def _set_license(gathering: Gathering, text: str) -> None:
    gathering.links.license = gathering.links.license or gathering.absolute(text) or ""


def _read_frame(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    text = attrs.get("src", "")
    if names_an_image(text):
        gathering.image([text], f"{element.tag}@src", title=attrs.get("title"))
    else:
        gathering.page(text)


def read_link(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    href, rel = attrs.get("href", ""), set(attrs.get("rel", "").lower().split())
    if rel & _ICONS:
        gathering.image([href], "link@href", left_out="icon")
    elif "image_src" in rel:
        gathering.image([href], "link@href")
    elif rel & {"preload", "prefetch"} and attrs.get("as", "").lower() == "image":
        sets = parse_srcset(attrs.get("imagesrcset", ""))
        gathering.image([*best_first(sets), href], "link@imagesrcset" if sets else "link@href")
    elif "stylesheet" in rel:
        gathering.add("sheets", href)
    elif "license" in rel:
        _set_license(gathering, href)
    elif "canonical" in rel:
        gathering.links.canonical = gathering.links.canonical or gathering.absolute(href) or ""
    elif rel & _PAGES:
        kind = attrs.get("type", "text/html").lower()
        if "html" in kind:
            gathering.page(href)
        elif kind.startswith(_FEEDS):
            gathering.add("feeds", href)
        elif "iiif.io/api/presentation" in kind:
            gathering.add("manifests", href)
    elif "sitemap" in rel:
        gathering.add("sitemaps", href)


#: Attributes of links that lead to a page and say no more.
PLAIN = frozenset({"href", "class", "id", "title", "target"})

READERS = {
    "a": _read_anchor,
    "area": _read_anchor,
    "frame": _read_frame,
    "iframe": _read_frame,
    "link": read_link,
}
