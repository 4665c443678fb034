"""The one walk over a page's elements: page links, image links, and the words around them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from crawler.model import Words
from crawler.pages.extract.srcset import best_first, parse_srcset
from crawler.pages.extract.styles import urls_in
from crawler.urls import normalise

#: Longest text kept of alt, title and caption, in characters.
MAX_WORDS = 500
#: Candidates of one image link.
MAX_CANDIDATES = 32
#: Characters of all candidates of one image link.
MAX_CHARACTERS = 32_768
_IMAGE_NAME = re.compile(r"\.(?:jpe?g|jpe|jfif|png|apng|gif|webp|avif|bmp|svgz?|tiff?|heic|heif|jxl|ico)$", re.I)
_LAZY = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-url",
    "data-image",
    "data-full",
    "data-hi-res-src",
)
_LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set")
_LAZY_BACKGROUNDS = ("data-bg", "data-background", "data-background-image", "data-bg-src")
_NO_PAGE = re.compile(
    r"\.(?:zip|gz|tgz|bz2|xz|7z|rar|tar|pdf|docx?|xlsx?|pptx?|odt|ods|epub|mobi|mp3|ogg|oga|flac|wav|m4a|mp4|m4v|webm|"
    r"ogv|avi|mov|mkv|exe|msi|dmg|iso|apk|deb|rpm|jar|css|js|mjs|json|xml|woff2?|ttf|otf|eot|ps|bin|csv)$",
    re.I,
)


@dataclass(slots=True)
class ImageLink:
    """One image that the page names: absolute URLs, best first, and its words."""

    candidates: list[str]
    words: Words


@dataclass(slots=True)
class Links:
    """All that a page names, in its order; `scripts` tells that it runs some."""

    images: list[ImageLink] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    scripts: bool = False


class _Walk:
    def __init__(self, url: str) -> None:
        self.base = url
        self.captions: dict[Any, str] = {}
        self.pictures: dict[Any, list[str]] = {}
        self.empty_pictures: dict[Any, bool] = {}
        self.links = Links()
        self.seen_pages: set[str] = set()
        self.seen_images: set[tuple[str, str, str]] = set()

    def absolute(self, text: str | None) -> str | None:
        if not text or text.startswith(("data:", "javascript:", "mailto:", "#", "about:", "blob:")):
            return None
        return normalise(text, self.base)

    def image(self, texts: list[str], found_in: str, alt: str = "", title: str = "", caption: str = "") -> None:
        """Add an image link from the URLs as written, best first."""
        candidates = list(dict.fromkeys(url for text in texts[:256] if (url := self.absolute(text))))[:MAX_CANDIDATES]
        if not candidates:
            return
        while sum(map(len, candidates)) > MAX_CHARACTERS:
            candidates.pop()
        words = Words(found_in=found_in, alt=_fold(alt), title=_fold(title), caption=_fold(caption))
        key = (candidates[0], words.alt, words.title + "\n" + words.caption)
        if key not in self.seen_images:
            self.seen_images.add(key)
            self.links.images.append(ImageLink(candidates, words))

    def page(self, text: str | None) -> None:
        url = self.absolute(text)
        if url and url not in self.seen_pages:
            self.seen_pages.add(url)
            if not _NO_PAGE.search(url.partition("?")[0]):
                self.links.pages.append(url)


def links_of(root: Any, url: str) -> Links:
    """Return what the page at `url` with this root element names."""
    walk = _Walk(url)
    if root is None:
        return walk.links
    base = root.find(".//base[@href]")
    if base is not None:
        walk.base = normalise(base.get("href"), url) or url
    for element in root.iter():
        tag = element.tag
        if not isinstance(tag, str):
            continue
        handler = _HANDLERS.get(tag)
        if handler is not None:
            handler(walk, element)
        if element.attrib:
            _any_element(walk, element)
    return walk.links


def _fold(text: str | None) -> str:
    return " ".join(text.split())[:MAX_WORDS] if text else ""


def _text_of(element: Any) -> str:
    """Return the beginning of an element's text."""
    parts, left = [], 4 * MAX_WORDS
    for part in element.itertext():
        parts.append(part[:left])
        left -= len(part)
        if left <= 0:
            break
    return " ".join(parts)


def _caption(walk: _Walk, element: Any) -> str:
    """Return the text of the `figcaption` of the figure that `element` is in."""
    for _ in range(6):
        element = element.getparent()
        if element is None:
            return ""
        if element.tag == "figure":
            if element not in walk.captions:
                caption = element.find(".//figcaption")
                walk.captions[element] = "" if caption is None else _text_of(caption)
            return walk.captions[element]
    return ""


def _picture_of(element: Any) -> Any:
    """Return the `picture` around `element`; libxml2 nests what follows a `source` inside it."""
    parent = element.getparent()
    for _ in range(MAX_CANDIDATES):
        if parent is None or parent.tag != "source":
            break
        parent = parent.getparent()
    return parent if parent is not None and parent.tag == "picture" else None


def _in_picture(walk: _Walk, element: Any) -> list[str]:
    picture = _picture_of(element)
    if picture is None:
        return []
    if picture not in walk.pictures:
        urls = (url for source in picture.iter("source") for url in _sets(source))
        walk.pictures[picture] = list(islice(urls, MAX_CANDIDATES))
    return walk.pictures[picture]


def _sets(element: Any) -> list[str]:
    sets = [element.get("srcset"), *(element.get(name) for name in _LAZY_SETS)]
    return [url for text in sets if text for url in best_first(parse_srcset(text))]


def _img(walk: _Walk, element: Any) -> None:
    sets = _sets(element)
    sources = _in_picture(walk, element)
    lazy = [text for name in _LAZY if (text := element.get(name))]
    found_in = "img@srcset" if sets else "picture" if sources else "img@data-src" if lazy else "img@src"
    texts = [*sets, *sources, *lazy, element.get("src") or ""]
    walk.image(texts, found_in, element.get("alt"), element.get("title"), _caption(walk, element))


def _source(walk: _Walk, element: Any) -> None:
    picture = _picture_of(element)
    if picture is not None and picture not in walk.empty_pictures:
        walk.empty_pictures[picture] = picture.find(".//img") is None
    if picture is None or walk.empty_pictures[picture]:
        walk.image(_sets(element), "source@srcset")


def _anchor(walk: _Walk, element: Any) -> None:
    text = element.get("href")
    url = walk.absolute(text)
    if url is None:
        return
    if _IMAGE_NAME.search(url.partition("?")[0]):
        walk.image([url], f"{element.tag}@href", title=element.get("title"), caption=_text_of(element))
    walk.page(text)


def _link(walk: _Walk, element: Any) -> None:
    if {"next", "prev", "alternate"} & set((element.get("rel") or "").lower().split()):
        kind = (element.get("type") or "text/html").lower()
        if "html" in kind:
            walk.page(element.get("href"))


def _meta(walk: _Walk, element: Any) -> None:
    name = (element.get("property") or element.get("name") or "").lower()
    if name in ("og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src"):
        walk.image([element.get("content") or ""], f"meta@{name}")


def _script(walk: _Walk, element: Any) -> None:
    kind = (element.get("type") or "").lower()
    walk.links.scripts |= kind in ("", "module") or "javascript" in kind


def _frame(walk: _Walk, element: Any) -> None:
    walk.page(element.get("src"))


def _any_element(walk: _Walk, element: Any) -> None:
    style = element.get("style")
    if style:
        for text in urls_in(style):
            walk.image([text], "style", alt=element.get("aria-label"), title=element.get("title"))
    for name in _LAZY_BACKGROUNDS:
        text = element.get(name)
        if text:
            walk.image(urls_in(text) or [text], f"@{name}", alt=element.get("aria-label"))
    if element.tag not in ("img", "source"):
        for name in _LAZY[:2]:
            text = element.get(name)
            if text and _IMAGE_NAME.search(text.partition("?")[0]):
                walk.image([text], f"@{name}")


_HANDLERS: dict[str, Callable[[_Walk, Any], None]] = {
    "img": _img,
    "source": _source,
    "a": _anchor,
    "area": _anchor,
    "link": _link,
    "meta": _meta,
    "script": _script,
    "frame": _frame,
    "iframe": _frame,
}
