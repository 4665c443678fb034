"""What an earlier run has of a page or an image: whether it is asked for again, and how. Pure, handed the time."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import TypeVar

from msgspec.structs import replace

from crawler.dates import seconds_until
from crawler.model import ImageResult, Known, PageResult, Task

#: Seconds for which an answer is taken to be fresh at most, whatever it says: a year is what many say of everything.
#: An image without a validator, of which each request brings the whole, is taken to be fresh for as long.
MOST_FRESH = 7 * 86400
#: Seconds that may lie between asking and telling.
MARGIN = 600.0
NO_CONDITIONS: Mapping[str, str] = {}
_DAY = 86400.0
#: Seconds that a date without a time may be later than we take it to be, wherever on earth it is meant.
_ANYWHERE = 12 * 3600.0
_MAX_AGE = re.compile(r'(?:\A|[,\s])max-age\s*=\s*"?(\d{1,10})', re.IGNORECASE)
_NEVER = re.compile(r"(?:\A|[,\s])(?:no-cache|no-store)(?:\Z|[,\s=])", re.IGNORECASE)
_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_R = TypeVar("_R", ImageResult, PageResult)


def conditions(task: Task, past: ImageResult | PageResult) -> dict[str, str]:
    """Return the header fields by which a server may answer 304 (RFC 9110, 13.1), none where it cannot know.

    What another URL said, at which this request is not made, means nothing here.
    """
    if task.at != (past.final_url or task.url):
        return {}
    said = {"If-None-Match": past.etag, "If-Modified-Since": past.last_modified}
    return {name: value for name, value in said.items() if _FIELD_VALUE.fullmatch(value)}


def max_age(headers: Mapping[str, str], now: float) -> int:
    """Return for how many seconds an answer says that it is fresh (RFC 9111, 4.2.1), at most MOST_FRESH."""
    control = headers.get("cache-control", "")
    if not control and "expires" not in headers:
        return 0
    if _NEVER.search(control):
        return 0
    if match := _MAX_AGE.search(control):
        age = headers.get("age", "").strip()
        seconds = float(match[1]) - (float(age[:10]) if age.isascii() and age.isdecimal() else 0.0)
    else:
        seconds = seconds_until(headers.get("expires", ""), now)  # none means that it is stale (RFC 9111, 5.3)
    return int(min(max(seconds, 0.0), MOST_FRESH))


def is_spared(known: Known, past: ImageResult | PageResult, refresh: str, now: float, lastmod: str = "") -> bool:
    """Tell whether asking could bring no news: it is fresh, or not changed since by what its sitemap says."""
    if refresh != "auto":
        return False
    asked = past.asked or known.time
    costly = isinstance(past, ImageResult) and not (past.etag or past.last_modified)
    if asked <= now < asked + (MOST_FRESH if costly else past.max_age):
        return True
    return asked <= now < asked + MOST_FRESH and bool(lastmod) and changed_before(lastmod, asked - MARGIN)


def changed_before(lastmod: str, moment: float) -> bool:
    """Tell whether a W3C date (sitemaps.org: `lastmod`) is surely before a moment; one without a day is not."""
    try:
        when = datetime.datetime.fromisoformat(re.sub(r"Z\Z", "+00:00", lastmod.strip()))
    except ValueError:
        return False
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
        return when.timestamp() + _ANYWHERE + (_DAY if len(lastmod.strip()) <= len("2026-11-22") else 0.0) < moment
    return when.timestamp() < moment


def spared(known: Known, past: _R) -> _R:
    """Return the result of what was not asked for, which remembers when it was."""
    return replace(past, asked=int(past.asked or known.time))


def confirmed(past: _R, status: int, headers: Mapping[str, str], now: float) -> _R:
    """Return the result of what a server says is unchanged, with what it says anew (RFC 9111, 3.2)."""
    return replace(
        past,
        status=status,
        etag=headers.get("etag", past.etag),
        last_modified=headers.get("last-modified", past.last_modified),
        max_age=max_age(headers, now),
        asked=0,
    )
