"""Pages that defeat libxml2's trees, which end at 2,048 nested elements: read with less understanding, but to the end.

libxml2 reads them all the same; it is the tree that is made here. Python's own parser takes quadratic time for many
a thing that is opened and never closed.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from lxml import etree

#: What is nested deeper becomes a sibling, as in browsers (Blink's limit).
MAX_DEPTH = 512
#: What is nested deeper ends the page.
MOST_OPEN = 5000
#: Attributes of an element that are kept; each costs a look at all before it.
MAX_ATTRIBUTES = 500
#: Elements and attributes of a page that are kept; each takes some 200 bytes, however few it is written with.
MAX_NODES = 400_000


def flat_tree(data: bytes) -> Any:
    """Return the root of a tree in which nothing is nested deeper than MAX_DEPTH, of as much as is read."""
    reader = _Reader()
    try:
        return etree.fromstring(data, etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True))
    except _TooDeepError:
        return reader.close()


class _TooDeepError(Exception):
    """More is open than libxml2 can look through for each end tag."""


class _Reader:
    """Makes a tree of what a parser finds."""

    def __init__(self) -> None:
        self._root = etree.Element("html")
        self._open = [self._root]
        self._too_deep = 0
        self._left = MAX_NODES
        self._pieces: list[str] = []

    def close(self) -> Any:
        self._set_text()
        return self._root

    def start(self, tag: str, attrs: Any) -> None:
        self._set_text()
        if self._too_deep > MOST_OPEN:
            raise _TooDeepError
        self._left -= 1 + len(attrs)
        if self._left < 0:
            self._too_deep += 1
            return
        try:
            element = etree.SubElement(self._open[-1], tag)
        except ValueError:  # no name that a tree can hold
            self._too_deep += 1
            return
        for name, value in islice(attrs.items(), MAX_ATTRIBUTES):
            try:
                element.set(name, value)
            except ValueError:
                continue
        if len(self._open) < MAX_DEPTH:
            self._open.append(element)
        else:
            self._too_deep += 1

    def end(self, tag: str) -> None:
        self._set_text()
        if self._too_deep:
            self._too_deep -= 1
        elif len(self._open) > 1:
            self._open.pop()

    def data(self, text: str) -> None:
        self._pieces.append(text)

    def _set_text(self) -> None:
        """Put the text since the last tag into the tree, all at once: it may have come in very many pieces."""
        if not self._pieces or self._left < 0:
            self._pieces.clear()
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        parent = self._open[-1]
        last = next(parent.iterchildren(reversed=True), None)  # asking for its length would count all children
        try:
            if last is not None:
                last.tail = (last.tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        except ValueError:
            return  # control characters
