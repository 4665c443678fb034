"""Pages that defeat libxml2, which gives up at 2,048 nested elements: read with less understanding, but to the end."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from lxml import etree

#: What is nested deeper becomes a sibling, as in browsers (Blink's limit).
MAX_DEPTH = 512
#: Attributes of an element that are kept; each costs a look at all before it.
MAX_ATTRIBUTES = 1000
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())


def flat_tree(text: str) -> Any:
    """Return the root of a tree in which nothing is nested deeper than MAX_DEPTH."""
    reader = _Reader()
    reader.feed(text[: text.rfind(">") + 1])  # what begins behind the last tag's end would be looked at again and again
    reader.close()
    reader.set_text()
    return reader.root()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._root = etree.Element("html")
        self._open = [self._root]
        self._pieces: list[str] = []

    def root(self) -> Any:
        return self._root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.set_text()
        try:
            element = etree.SubElement(self._open[-1], tag)
        except ValueError:
            return  # no name that a tree can hold
        for name, value in attrs[:MAX_ATTRIBUTES]:
            try:
                element.set(name, value or "")
            except ValueError:
                continue
        if tag not in _VOID and len(self._open) < MAX_DEPTH:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        self.set_text()
        for depth in range(len(self._open) - 1, max(0, len(self._open) - 32), -1):
            if self._open[depth].tag == tag:
                del self._open[depth:]
                return

    def handle_data(self, data: str) -> None:
        self._pieces.append(data)

    def set_text(self) -> None:
        """Put the text since the last tag into the tree, all at once: it may have come in very many pieces."""
        if not self._pieces:
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
