"""Words of strangers as HTML: bounded, escaped, and links that lead nowhere but to the web or into the job's folder."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

from crawler.shown import shown

#: Characters of a text that are shown, and of a URL that is linked.
MOST_TEXT, MOST_HREF = 240, 2000
_WEB = re.compile(r"https?://[!-~]+")


def text(words: str, most: int = MOST_TEXT) -> str:
    """Return `words` as HTML on one line; of more than `most` characters the middle is left out."""
    if len(words) > most:
        end = most // 3
        return f"{html.escape(shown(words[: most - end]))}…{html.escape(shown(words[-end:]))}"
    return html.escape(shown(words))


def link(url: str, most: int = MOST_TEXT) -> str:
    """Return a link to what is on the web, and of anything else only the text."""
    if len(url) > MOST_HREF or not _WEB.fullmatch(url):
        return f'<span class="url">{text(url, most)}</span>'
    return f'<a class="url" href="{html.escape(url)}" rel="noreferrer noopener">{text(url, most)}</a>'


def file_href(name: str) -> str:
    """Return what leads from the report to a file below its folder, as an attribute's value; `""` where none does."""
    parts = name.split("/")
    if len(name) > MOST_HREF or any(part in ("", ".", "..") for part in parts):
        return ""
    return html.escape("./" + "/".join(quote(part, safe="", errors="replace") for part in parts))


def moment(utc: str) -> str:
    """Return a time of a record, to the minute."""
    return f'<time datetime="{text(utc)}">{text(utc[:16].replace("T", " "))} UTC</time>'


def section(name: str, title: str, *content: str) -> str:
    """Return a part of the report; `name` is what links within it say."""
    head = f'<h2 id="{name}-h">{title}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-h">\n{head}\n{"".join(content)}</section>\n'


def and_more(number: int, where: str) -> str:
    """Return how many are not shown, and the file that has them."""
    return f'<p class="more">and {number:,} more, in {where}</p>\n' if number > 0 else ""


def wide(label: str, table: str) -> str:
    """Return a table that may be wider than the screen, in a box that scrolls, with the keyboard too."""
    return f'<div class="wide" role="region" aria-label="{label}" tabindex="0">{table}</div>\n'
