"""Image URLs in inline styles (CSS Syntax, `url()` and quoted strings in it)."""

from __future__ import annotations

import re

_URL = re.compile(
    r"""url\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^\s"'()\\]|\\[0-9a-fA-F]{1,6}\s?|\\.)+))\s*\)""",
    re.I | re.S,
)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.S)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        code = int(match[1], 16)
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    return match[2] or ""


def urls_in(style: str) -> list[str]:
    """Return the URLs that a `style` attribute names, as written."""
    if "(" not in style:
        return []
    found = (match[1] or match[2] or match[3] or "" for match in _URL.finditer(style))
    return [_ESCAPE.sub(_unescaped, url) if "\\" in url else url for url in found if url]
