"""SVG (SVG 2; XML 1.0), read without entities of others, network or scripts."""

from __future__ import annotations

import re
from typing import Any

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, steps

#: Bytes in which the root element must begin, and that a drawing may have.
_LOOK = 4096
MOST_BYTES = 16 * 2**20
_PIECE = 64 * 1024
_BEFORE_ROOT = re.compile(r"(?:\s+|<\?[^>]*\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[[^\]]*\]\s*)?>)*", re.S | re.I)
_ROOT = re.compile(r"<(?:[\w.-]+:)?svg[\s>/]", re.I)
_NUMBER = re.compile(r"([-+.0-9eE]{1,20})(px|mm|cm|in|pt|pc|)\Z")
#: Pixels of a unit (CSS Values and Units 3, 6.2).
_UNITS = {"": 1.0, "px": 1.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0, "pt": 96 / 72, "pc": 16.0}
# What in a style loads something: addresses other than of the drawing itself, and escapes, which may hide the rest.
# Looked for where white space is left out, which also keeps the search linear.
_LOADS = re.compile(r"(?i)url\(['\"]?(?![#'\")]|data:image/)|@import|image-set\(|\bsrc\(|\\")
_LINKS = ("href", "src")
_XHTML = "{http://www.w3.org/1999/xhtml}"
_XML_BASE = "{http://www.w3.org/XML/1998/namespace}base"
#: What URL parsers leave out (WHATWG URL Standard, 4.4).
_UNSEEN = re.compile(r"[\x00-\x20]")


def recognises(body: bytes) -> bool:
    head = body[:_LOOK]
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = head.decode(encoding, "replace")
    before = _BEFORE_ROOT.match(text)
    return _ROOT.match(text, before.end() if before else 0) is not None


def walk(body: bytes) -> Picture:
    """Return the dimensions that the root element says, and whether a browser would run or load something."""
    from lxml import etree  # here, since most workers never meet an SVG

    if len(body) > MOST_BYTES:
        raise NotAnImage(f"an SVG of more than {MOST_BYTES:,} bytes")
    drawing = _Drawing(_declares(body, "<!ENTITY"))
    drawing.active = _declares(body, "<!ATTLIST")  # attributes that lxml does not show
    parser = etree.XMLParser(target=drawing, resolve_entities=False, no_network=True, load_dtd=False)
    try:
        for start in range(0, len(body), _PIECE):
            parser.feed(body[start : start + _PIECE])
    except etree.XMLSyntaxError as error:
        if not drawing.ended:
            raise NotAnImage(f"the SVG is not well-formed: {error}") from None
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        if not drawing.ended:
            raise Truncated(f"the SVG is no whole document: {error}") from None
    return Picture("svg", drawing.width, drawing.height, active=drawing.active)


class _Drawing:
    """Takes what the parser reads, and keeps nothing but what it says of the whole."""

    def __init__(self, has_entities: bool) -> None:
        self._has_entities = has_entities
        self.width = self.height = 0
        self.active = self.ended = False
        self._depth = 0
        self._left = steps()
        self._style: list[str] | None = None  #: the texts of the style that it is in

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        for _ in range(1 + len(attributes) // 8):
            next(self._left)
        name = _local(tag)
        if not self._depth:
            if name.lower() != "svg":
                raise NotAnImage(f"the document is {name[:40]}, no SVG")
            self.width, self.height = _size(attributes)
        self._depth += 1
        if name == "style":
            self._style = []
            self.active = self.active or self._has_entities  # those in it are not shown
        self.active = self.active or name in ("script", "foreignObject", "handler") or tag.startswith(_XHTML)
        if not self.active and attributes:
            self.active = any(
                _acts(name, key, value) or (self._has_entities and "&" in value) for key, value in attributes.items()
            )

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._style is not None and _local(tag) == "style":
            self.active = self.active or _loads("".join(self._style))
            self._style = None
        self.ended = not self._depth

    def data(self, text: str) -> None:
        if self._style is not None and not self.active:
            self._style.append(text)

    def pi(self, target: str, data: str | None = None) -> None:
        self.active = self.active or target == "xml-stylesheet"

    def close(self) -> Any:
        return None


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _acts(element: str, key: str, value: str) -> bool:
    """Tell whether an attribute makes a browser run or load something; a link to elsewhere does not by itself."""
    name = _local(key)
    if name[:2].lower() == "on" or name == "ping" or key == _XML_BASE:
        return True
    if name in _LINKS:
        said = _UNSEEN.sub("", value).lower()
        if element == "a":
            return said.startswith(("javascript:", "data:", "vbscript:"))
        return bool(said) and not said.startswith("#") and (element == "use" or not said.startswith("data:image/"))
    if name == "attributeName":
        animated = value.strip().rpartition(":")[2].lower()
        return animated == "href" or animated.startswith("on")
    return ("(" in value or "\\" in value) and _loads(value)


def _loads(style: str) -> bool:
    return _LOADS.search("".join(style.split())) is not None


def _declares(body: bytes, what: str) -> bool:
    return any(what.encode(encoding) in body for encoding in ("utf-8", "utf-16-le", "utf-16-be"))


def _size(attributes: dict[str, str]) -> tuple[int, int]:
    """Return width and height in pixels, from the root's attributes or its viewBox; 0 where they are not said so."""
    given = [_pixels(attributes.get(name, "")) for name in ("width", "height")]
    if all(given):
        return given[0], given[1]
    box = attributes.get("viewBox", "")[:200].replace(",", " ").split()
    sides = [_pixels(text) for text in box[2:4]]
    return (sides[0], sides[1]) if len(box) == 4 and all(sides) else (0, 0)


def _pixels(text: str) -> int:
    match = _NUMBER.match(text.strip()[:40])
    if match is None:
        return 0
    try:
        pixels = float(match[1]) * _UNITS[match[2]]
    except ValueError:
        return 0
    return round(pixels) if 0 < pixels < 1e9 else 0
