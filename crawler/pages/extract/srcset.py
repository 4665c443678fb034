"""`srcset` attributes (HTML Standard, "parse a srcset attribute")."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import NamedTuple

#: Candidates of one attribute that are looked at, and characters that are read of one that few would write like it.
MAX_CANDIDATES = 1000
MAX_CHARACTERS = 200_000
#: Characters that are read of any: images may stand in it as data.
MAX_LENGTH = 2_000_000
_SPACES = " \t\n\r\f"
_URL = re.compile(r"[^ \t\n\r\f]+")
_SEPARATORS = re.compile(r"[ \t\n\r\f,]*")
# A candidate as nearly all are written, up to its comma, or all that follows what is none.
_USUAL = re.compile(
    r"([^\s,](?:[^\s]*[^\s,])?)[ \t\n\r\f]+([1-9][0-9]{0,7})([wx])[ \t\n\r\f]*(?:,|\Z)|([^ \t\n\r\f,].*)", re.S
)
_SIZE = itemgetter(1, 2)
_WIDTH = re.compile(r"[0-9]+w$")
_HEIGHT = re.compile(r"[0-9]+h$")
_DENSITY = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?x$")


class Candidate(NamedTuple):
    """One source of a set: its URL as written, its width in pixels or its density."""

    url: str
    width: int = 0
    density: float = 1.0


def parse_srcset(text: str) -> list[Candidate]:
    """Return the valid candidates of an attribute, in its order."""
    text = text[:MAX_LENGTH]
    usual = _USUAL.findall(text)
    if usual and not usual[-1][3]:
        return [
            Candidate(url, int(number)) if unit == "w" else Candidate(url, 0, float(number))
            for url, number, unit, _ in usual
        ]
    found: list[Candidate] = []
    text, at = text[:MAX_CHARACTERS], 0
    for _ in range(MAX_CANDIDATES):
        at = _SEPARATORS.match(text, at).end()  # type: ignore[union-attr]
        match = _URL.match(text, at)
        if match is None:
            return found
        url, at = match[0], match.end()
        descriptors: list[str] = []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(text, at)
        candidate = _candidate(url, descriptors)
        if candidate is not None:
            found.append(candidate)
    return found


def _descriptors(text: str, at: int) -> tuple[list[str], int]:
    """Return the descriptors up to the next comma that is outside of parentheses, and where that ends."""
    found, current, depth = [], "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if depth:
            depth = 0 if char == ")" else 1
            current += char
        elif char == ",":
            break
        elif char in _SPACES:
            if current:
                found.append(current)
            current = ""
        else:
            depth = 1 if char == "(" else 0
            current += char
    return [*found, current] if current else found, at


def _candidate(url: str, descriptors: list[str]) -> Candidate | None:
    width = height = 0
    density: float | None = None
    for text in descriptors:
        if _WIDTH.match(text) and not width and density is None:
            width = int(text[:-1][:9])
            if not width:
                return None
        elif _DENSITY.match(text) and not width and density is None and not height:
            density = float(text[:-1])
            if density < 0:
                return None
        elif _HEIGHT.match(text) and not height and density is None and int(text[:-1][:9]):
            height = int(text[:-1][:9])
        else:
            return None
    if height and not width:
        return None
    return Candidate(url, width, 1.0 if density is None else density)


def best_first(candidates: list[Candidate]) -> list[str]:
    """Return the URLs, the largest image first; what is equal stays in its order."""
    return [c.url for c in sorted(candidates, key=_SIZE, reverse=True)]
