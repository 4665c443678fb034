"""Image URLs of style sheets and `style` attributes (CSS Syntax, CSS Images): `url()`, `src()` and `image-set()`."""

from __future__ import annotations

import re
from typing import NamedTuple

# What may name something, and what hides that (comments, strings). That each begins with a letter of its own lets the
# search pass over all others at once: 4 times as fast as the same with a flag for the case of letters.
# What is repeated is bounded where each repetition costs memory: nobody writes so many escapes into a string.
_HIDING = r"""
    (?P<comment>/\*)
  | "(?P<double>[^"\\\n]*(?:\\(?:.|\n)[^"\\\n]*){0,10000})"?
  | '(?P<single>[^'\\\n]*(?:\\(?:.|\n)[^'\\\n]*){0,10000})'?
"""
_NAMING = r"""
  | u(?<!\wu)(?P<url>(?i:rl)\([ \t\r\n\f]*)
  | U(?<!\wU)(?P<URL>(?i:rl)\([ \t\r\n\f]*)
  | i(?P<set>(?i:mage-set)\()
  | I(?P<SET>(?i:mage-set)\()
  | @(?P<rule>(?i:import|font-face|namespace)\b)
"""
_TOKEN = re.compile(_HIDING + _NAMING, re.VERBOSE)
# Within a set of images or a statement its ends matter as well.
_INNER_TOKEN = re.compile(_HIDING + _NAMING + r"| (?P<mark>[(){};,])", re.VERBOSE)
# A `style` attribute as most are that name an image: one plain url() and no other token that matters.
_SIMPLE = re.compile(r"""[^"'()\\/@{}]*\burl\((["']?)([^\s"'()\\\x00-\x1f\x7f]+)\1\)[^"'()\\/@{}]*""", re.IGNORECASE)
_PLAIN = r"[^\s\"'()\\\x00-\x08\x0b\x0e-\x1f\x7f]*"
_BARE = re.compile(rf"{_PLAIN}(?:\\(?:[0-9a-fA-F]{{1,6}}\s?|[^\n]){_PLAIN}){{0,10000}}")
_CLOSE = re.compile(r"[ \t\r\n\f]*(?:\)|\Z)")
_QUOTED = {
    '"': re.compile(r'[^"\\\n]*(?:\\(?:.|\n)[^"\\\n]*){0,10000}'),
    "'": re.compile(r"[^'\\\n]*(?:\\(?:.|\n)[^'\\\n]*){0,10000}"),
}
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|\s)?|(\n)|(.))", re.S)
_RESOLUTION = re.compile(r"\s*([0-9.]+)(x|dppx|dpi|dpcm)", re.I)
_PER_DPPX = {"x": 1.0, "dppx": 1.0, "dpi": 96.0, "dpcm": 96.0 / 2.54}


#: Strings, comments and names that are read of one sheet, and images that it may name.
MAX_TOKENS = 300_000
MAX_IMAGES = 50_000


class Sheet(NamedTuple):
    """What a style sheet names, as written: images, each with its candidates best first, and imported sheets."""

    images: list[list[str]]
    imports: list[str]


def urls_in(style: str) -> list[list[str]]:
    """Return the images that a style names."""
    return read(style).images


def read(text: str) -> Sheet:
    """Return what a style sheet or a `style` attribute names; linear in its length."""
    simple = _SIMPLE.fullmatch(text)
    if simple is not None:
        return Sheet([[simple[2]]], [])
    sheet = Sheet([], [])
    lowered = text.lower()
    if "url(" in lowered or "image-set(" in lowered or "@import" in lowered:
        _Reader(text, sheet).run()
    return sheet


class _Reader:
    def __init__(self, text: str, sheet: Sheet) -> None:
        self._text = text
        self._sheet = sheet
        self._rule = ""  #: of the statement that is read: import, font-face or namespace
        self._set: list[tuple[float, str]] | None = None
        self._depth = 0  #: of parentheses within a set

    def run(self) -> None:
        at = 0
        for _ in range(MAX_TOKENS):
            match = (_TOKEN if self._set is None and not self._rule else _INNER_TOKEN).search(self._text, at)
            if match is None or len(self._sheet.images) >= MAX_IMAGES:
                break
            at = match.end()
            kind = (match.lastgroup or "").lower()
            if kind == "comment":
                at = self._text.find("*/", at) + 2
                if at == 1:
                    break  # it has no end
            elif kind == "url":
                url, at = self._url(at)
                self._name(url, at)
            elif kind in ("double", "single"):
                if self._rule == "import" or (self._set is not None and self._depth == 1):
                    self._name(_unescaped(match[kind]), at)
            elif kind == "set":
                self._end_set()
                self._set, self._depth = [], 1
            elif kind == "rule":
                self._rule = match["rule"].lower()
            elif kind == "mark":
                self._mark(match["mark"])
        self._end_set()

    def _url(self, at: int) -> tuple[str, int]:
        quote = self._text[at : at + 1] if self._text.startswith(('"', "'"), at) else ""
        at += len(quote)
        match = (_QUOTED[quote] if quote else _BARE).match(self._text, at)
        assert match is not None
        at = match.end() + bool(quote)
        close = _CLOSE.match(self._text, at)
        if close is not None:
            return _unescaped(match[0]), close.end()
        if not quote:  # a bad-url token: it ends at the next parenthesis (CSS Syntax, 4.3.14)
            at = self._text.find(")", at) + 1 or len(self._text)
        return "", at

    def _name(self, url: str, at: int) -> None:
        if not url:
            return
        if self._rule == "import":
            self._sheet.imports.append(url)
            self._rule = "imported"  # what follows are conditions
        elif self._set is not None:
            self._set.append((_density(self._text, at), url))
        elif not self._rule:
            self._sheet.images.append([url])

    def _mark(self, mark: str) -> None:
        if self._set is not None and mark in "()":
            self._depth += 1 if mark == "(" else -1
            if self._depth == 0:
                self._end_set()
        elif mark == "}" or (mark == ";" and self._rule != "font-face"):
            self._end_set()
            self._rule = ""

    def _end_set(self) -> None:
        if self._set:
            self._set.sort(key=lambda entry: -entry[0])
            self._sheet.images.append([url for _, url in self._set])
        self._set = None


def _density(text: str, at: int) -> float:
    match = _RESOLUTION.match(text, at)
    if match is None:
        return 1.0
    try:
        return float(match[1]) / _PER_DPPX[match[2].lower()]
    except ValueError:
        return 1.0


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(match: re.Match[str]) -> str:
    if match[1]:
        code = int(match[1], 16)
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    return match[3] or ""
