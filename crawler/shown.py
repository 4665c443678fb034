"""Text of strangers as it may be shown: on a terminal, in a log, as one line."""

from __future__ import annotations


def shown(text: str) -> str:
    """Return `text` safe for a terminal and on one line: what is not printable escaped, bidi marks among it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
