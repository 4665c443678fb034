"""The caption of an image: the best words of all that mention it. Pure.

The rule: kinds of words are looked at in an order (`--caption-from`), and the first kind of which any mention has some
decides. Of several such words those that most mentions have are taken; of those that are as many the longest, then the
first by alphabet. Whitespace is folded. Words that are a file's name, a URL, a stand-in (`image`, `IMG_1234`) or
without a letter count as none, but those of a list are taken as they stand: a person named the column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from crawler.errors import UsageError
from crawler.model import Words

LIST: Final = "list"


def _of_list(words: Words) -> str:
    return words.caption if words.found_in == LIST else ""


def _caption(words: Words) -> str:
    return "" if words.found_in == LIST or words.found_in.startswith(_DATA) else words.caption


def _of_data(words: Words) -> str:
    return words.caption if words.found_in.startswith(_DATA) else ""


_DATA = "json-ld "
#: Kinds of words by name.
KINDS: Final[Mapping[str, Callable[[Words], str]]] = {
    LIST: _of_list,  # the column of --caption-column
    "caption": _caption,  # of a figure, a feed, a sitemap
    "alt": lambda words: words.alt,
    "title": lambda words: words.title,
    "json-ld": _of_data,  # caption or description of structured data
    "label": lambda words: words.label,
    "link_text": lambda words: words.link_text,
    "heading": lambda words: words.heading,
    "page_title": lambda words: words.page_title,
}
DEFAULT: Final = (LIST, "caption", "alt", "title", "json-ld")

_STAND_INS = frozenset(
    "alt banner blank caption default figure graphic icon image images img loading logo n/a nan no-image none null "
    "photo photograph photos pic picture pictures pixel placeholder screenshot spacer thumb thumbnail title undefined "
    "untitled".split()
) | {"alt text", "image description", "no alt", "no caption", "no description", "no image", "no title"}
_NAMELESS = re.compile(
    r"[a-z][a-z0-9+.-]*://\S*|www\.\S+|\S+\.(?:jpe?g|jfif|png|gif|webp|avif|heic|svg|bmp|tiff?|ico|jxl)"
    r"|(?:img|image|photo|pic|picture|dsc[a-z]{0,2}|p|pxl|screenshot|untitled|thumbnail|slide|figure)[\W_]*[\d\W_]+",
    re.IGNORECASE,
)


def parse_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds that `--caption-from` names, commas between them.

    Raises UsageError where one is no kind.
    """
    kinds = tuple(dict.fromkeys(name for text in names for part in text.split(",") if (name := part.strip())))
    for name in kinds:
        if name not in KINDS:
            raise UsageError(f"--caption-from: {name!r} is no kind of words; known are {', '.join(KINDS)}")
    return kinds or DEFAULT


def caption(mentions: Iterable[Words], order: Sequence[str] = DEFAULT) -> str:
    """Return the best words of all mentions of an image, `""` where they have none."""
    mentions = list(mentions)
    for name in order:
        read = KINDS[name]
        said = [text for words in mentions if (raw := read(words)) and (text := _said(raw, name))]
        if len(said) == 1:
            return said[0]
        if said:
            times = Counter(said)
            return min(times, key=lambda text: (-times[text], -len(text), text))
    return ""


def _said(text: str, kind: str) -> str:
    if kind == LIST:
        return text.strip()
    folded = " ".join(text.split())
    return "" if _is_stand_in(folded) else folded


def _is_stand_in(text: str) -> bool:
    bare = text.lower().strip(".:;!?-_*#()[]\"' ")
    return bare in _STAND_INS or not any(map(str.isalpha, text)) or _NAMELESS.fullmatch(text) is not None
