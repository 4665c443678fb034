"""What a page names, as the readers of its parts gather it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
from lxml import etree

from crawler.model import Words
from crawler.urls import Base, without_tracking

#: Longest text kept of each of an image's words, in characters.
MAX_WORDS = 500
#: Candidates of one image link, and characters of all of them.
MAX_CANDIDATES = 32
#: URLs as written that candidates are taken from.
MAX_TEXTS = 1000
MAX_CHARACTERS = 32_768
#: Image links of one page, and how often it may name one; what is beyond is named by no page that people look at.
MAX_IMAGES = 50_000
MAX_NAMINGS = 60_000
#: Style sheets, feeds, manifests, sitemaps that one document names, each; the last are bounded so by their protocol.
MAX_OTHERS = 50_000
#: Characters of markup that stands in text and is read, in one document.
MAX_MARKUP = 8_000_000
#: Parts of an element that its text is taken from.
MAX_PARTS = 500
#: Elements that are looked at in one document for what is said of images around them: it may be nested.
MAX_LOOKS = 300_000
_NEVER = ("#", "data:", "javascript:", "mailto:", "about:", "blob:", "tel:")
_NEVER_BEGINNINGS = frozenset(text[0] for text in _NEVER)
_IMAGES = frozenset("jpg jpeg jpe jfif png apng gif webp avif bmp svg svgz tif tiff heic heif jxl ico".split())
_NO_PAGES = frozenset(
    "zip gz tgz bz2 xz 7z rar tar pdf doc docx xls xlsx ppt pptx odt ods epub mobi mp3 ogg oga flac wav m4a mp4 m4v "
    "webm ogv avi mov mkv exe msi dmg iso apk deb rpm jar css js mjs json xml woff woff2 ttf otf eot ps bin csv".split()
)


def names_an_image(text: str) -> bool:
    """Tell whether the path of a URL, as written, ends as an image's name does."""
    return _ending(text) in _IMAGES


def _ending(text: str) -> str:
    """Return what follows the last dot of a URL's path, in lower case."""
    if "#" in text:
        text = text.partition("#")[0]
    if "?" in text:
        text = text.partition("?")[0]
    dot = text.rfind(".", -6)
    return text[dot + 1 :].lower() if dot >= 0 else ""


def folded(text: str | None) -> str:
    """Return `text` with its white space folded, cut to MAX_WORDS."""
    if not text:
        return ""
    text = " ".join(text[: 8 * MAX_WORDS].split())[:MAX_WORDS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # JSON may hold halves of characters


class ImageLink(msgspec.Struct):
    """One image that the page names: absolute URLs, best first, its words, and why it is no image of the page."""

    candidates: list[str]
    words: Words
    left_out: str = ""  #: `icon`, `pixel`, or nothing
    referrer: str = ""  #: the page that it is on, where that is not the document that names it


class Links(msgspec.Struct):
    """All that a page names, in its order."""

    images: list[ImageLink] = msgspec.field(default_factory=list)
    pages: list[str] = msgspec.field(default_factory=list)
    nofollow: set[str] = msgspec.field(default_factory=set)  #: those of `pages` that are named with rel=nofollow only
    sheets: list[str] = msgspec.field(default_factory=list)
    feeds: list[str] = msgspec.field(default_factory=list)
    manifests: list[str] = msgspec.field(default_factory=list)  #: IIIF Presentation
    sitemaps: list[str] = msgspec.field(default_factory=list)
    lastmod: dict[str, str] = msgspec.field(default_factory=dict)  #: when a sitemap says that a page changed
    left_out: dict[str, int] = msgspec.field(default_factory=dict)  #: links that were not even looked at, by reason
    metas: list[tuple[str, str]] = msgspec.field(default_factory=list)  #: name and content of `meta` elements
    canonical: str = ""
    license: str = ""  #: what the page names for its content (rel=license): a hint, no permission
    title: str = ""
    language: str = ""
    scripts: bool = False  #: whether the page runs some
    asks_password: bool = False  #: whether it has a field for one
    encoding: str = ""
    encoding_found_in: str = ""


class Gathering:
    """Takes what the readers of a page's parts find, and makes absolute links of it."""

    def __init__(self, url: str, walk: Callable[[Gathering, Any], None]) -> None:
        self.base = Base(url)
        self.walk = walk  #: reads all elements of a tree, for markup that stands in text
        self.links = Links()
        self.upgrades = False  #: Content-Security-Policy: upgrade-insecure-requests
        self.heading: Any = None  #: the nearest one before the element that is read
        self.nested = False  #: within markup that stood in text; what stands in its text is left
        self.cache: dict[tuple[str, Any], Any] = {}
        self.markup_left = MAX_MARKUP
        self.looks_left = MAX_LOOKS
        self._namings_left = MAX_NAMINGS
        self._seen_pages: set[str] = set()
        self._seen_others: set[tuple[str, str]] = set()
        self._images: dict[tuple[str, ...], ImageLink] = {}

    @property
    def is_full(self) -> bool:
        """Whether the document has named as many images as are taken in."""
        return self._namings_left < 0

    def parts(self, element: Any, tag: str) -> Iterator[Any]:
        """Yield the elements of a name below `element`, until too many were looked at in this document."""
        for part in element.iter("*"):
            self.looks_left -= 1
            if self.looks_left < 0:
                return
            if part.tag == tag:
                yield part

    def absolute(self, text: str | None) -> str | None:
        if not text or (text[0] in _NEVER_BEGINNINGS and text.startswith(_NEVER)):
            return None
        return self.base.join(text)

    def image(
        self, texts: Iterable[str], found_in: str, *, left_out: str = "", referrer: str = "", **words: str | None
    ) -> None:
        """Add an image link from the URLs as written, best first, with the words that are not empty."""
        self._namings_left -= 1
        if self._namings_left < 0:
            self.left_out("images_limit", 1)
            return
        urls = self._candidates(texts)
        if not urls or len(self.links.images) >= MAX_IMAGES:
            return
        said = {name: text for name, value in words.items() if value and (text := folded(value))}
        if self.heading is not None:
            said["heading"] = self._heading()
        known = self._images.setdefault((urls[0], *said.values()), link := ImageLink(urls, Words(), left_out, referrer))
        if known is link:
            link.words = Words(found_in=found_in, **said)  # type: ignore[arg-type]
            self.links.images.append(link)
        else:  # the same image with the same words: it may have other sizes to fall back on
            others = [url for url in urls if url not in known.candidates]
            known.candidates += others[: MAX_CANDIDATES - len(known.candidates)]
            known.left_out = known.left_out and left_out

    def _candidates(self, texts: Iterable[str]) -> list[str]:
        """Return the absolute URLs, each once, as many as are kept."""
        found = [url for text in islice(texts, MAX_TEXTS) if (url := self.absolute(text)) is not None]
        if self.upgrades:
            found = ["https:" + url[5:] if url.startswith("http:") else url for url in found]
        if len(found) > 1:
            found = list(dict.fromkeys(found))[:MAX_CANDIDATES]
            while sum(map(len, found)) > MAX_CHARACTERS:
                found.pop()
        return found

    def take_plain_page(self, text: str) -> bool:
        """Add a link to a page if it is one of those that need no further look, as most are; return whether it is."""
        url = self.base.plain_page(text)
        if not url:
            return False
        if url not in self._seen_pages:
            self._seen_pages.add(url)
            self.links.pages.append(url)
        elif self.links.nofollow:
            self.links.nofollow.discard(url)
        return True

    def page(self, text: str | None, *, nofollow: bool = False) -> str | None:
        """Add a link to a page, and return its URL, or None where it is none."""
        url = self.absolute(text)
        if url is None:
            return None
        if "?" in url or ";" in url:
            url = without_tracking(url)
        if url not in self._seen_pages:
            self._seen_pages.add(url)
            if _ending(url) not in _NO_PAGES:
                self.links.pages.append(url)
                if nofollow:
                    self.links.nofollow.add(url)
        elif not nofollow:
            self.links.nofollow.discard(url)
        return url

    def left_out(self, reason: str, number: int) -> None:
        if number > 0:
            self.links.left_out[reason] = self.links.left_out.get(reason, 0) + number

    def add(self, sort: str, text: str | None) -> None:
        """Add to one of the other lists of links: `sheets`, `feeds`, `manifests` or `sitemaps`."""
        url = self.absolute(text)
        if url is None or (sort, url) in self._seen_others:
            return
        self._seen_others.add((sort, url))
        urls = getattr(self.links, sort)
        if len(urls) < MAX_OTHERS:
            urls.append(url)
        else:
            self.left_out(f"{sort}_limit", 1)

    def _heading(self) -> str:
        key = ("heading", self.heading)
        if key not in self.cache:
            self.cache[key] = folded(self.text_of(self.heading))
        return str(self.cache[key])

    def text_of(self, element: Any) -> str:
        """Return the beginning of an element's text, more than any word of an image may be long."""
        if not len(element):
            return (element.text or "")[: 4 * MAX_WORDS]
        parts, left = [], 4 * MAX_WORDS
        for event, part in islice(
            etree.iterwalk(element, events=("start", "end")), max(0, min(MAX_PARTS, self.looks_left))
        ):
            self.looks_left -= 1
            text = part.text if event == "start" else part.tail if part is not element else None
            if text:
                parts.append(text[:left])
                left -= len(text)
                if left <= 0:
                    break
        return " ".join(parts)
