"""Mentions of images as the ledger and tables show them: the page, and its words."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from crawler.model import Words, decode

#: What a mention says in words.
TEXTS = (
    "page found_in alt title caption label link_text heading author image_license credit page_title page_language "
    "page_license"
).split()
_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(dict[str, Any]).decode


def shown_mentions(mentions: Iterable[tuple[str, msgspec.Raw]]) -> list[msgspec.Raw]:
    """Return mentions, as the broker gives them, as JSON."""
    return [_shown(page, bytes(packed)) for page, packed in mentions]


@lru_cache(maxsize=256)  # the rows of a list without captions all have the same
def _shown(page: str, packed: bytes) -> msgspec.Raw:
    words = decode(packed, Words)
    mention = {
        "page": page,
        "found_in": words.found_in,
        "alt": words.alt,
        "title": words.title,
        "caption": words.caption,
        "label": words.label,
        "link_text": words.link_text,
        "heading": words.heading,
        "author": words.author,
        "image_license": words.image_license,
        "credit": words.credit,
        "page_title": words.page_title,
        "page_language": words.page_language,
        "page_license": words.page_license,
        "columns": words.columns or None,
        "row": words.row or None,
    }
    return msgspec.Raw(_encode(mention))


def mention_type(arrow: Any) -> Any:
    """Return the type of a mention in Arrow."""
    words = [(name, arrow.string()) for name in TEXTS]
    columns = arrow.map_(arrow.string(), arrow.string())
    return arrow.struct([*words, ("columns", columns), ("row", arrow.int64())])


def mention_value(shown: msgspec.Raw) -> dict[str, Any]:
    """Return a mention as a value of that type."""
    words = _read(shown)
    if words["columns"]:
        words["columns"] = list(words["columns"].items())
    return words
