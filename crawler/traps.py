"""Pages without end: calendars, facets and sessions that make ever new URLs. Pure; counts what it is shown."""

from __future__ import annotations

import logging
import re
from collections import Counter
from itertools import islice

#: Longer URLs of pages are made by programs for programs.
MAX_URL = 2000
#: How often one segment may stand in a path.
MAX_REPEATS = 3
#: Numbers and parameters of a URL that are looked at.
MAX_PLACES = 16
#: Patterns that are counted; when there are more, those that were seen least are forgotten.
MAX_PATTERNS = 100_000
_NUMBER = re.compile(r"\d+")


def endless(url: str) -> str:
    """Return why the URL alone looks endless: `long_url`, `repeated_path`, or `""`."""
    if len(url) > MAX_URL:
        return "long_url"
    segments = url.partition("?")[0].split("/")[3:]
    repeats = Counter(filter(None, segments)).most_common(1) if len(segments) > MAX_REPEATS else []
    return "repeated_path" if repeats and repeats[0][1] > MAX_REPEATS else ""


def patterns(url: str) -> list[str]:
    """Return the URL with one number of its path, or the value of one parameter, replaced by `*`: each of them."""
    head, mark, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    start = f"{scheme}://{host}{slash}"
    found = [
        f"{start}{path[: match.start()]}*{path[match.end() :]}{mark}{query}"
        for match in islice(_NUMBER.finditer(path), MAX_PLACES)
    ]
    parts = query.split("&") if mark else []
    for number, part in enumerate(parts[:MAX_PLACES]):
        name, equals, value = part.partition("=")
        if equals and value:
            rest_of = [*parts[:number], f"{name}=*", *parts[number + 1 :]]
            found.append(f"{head}?{'&'.join(rest_of)}")
    return found


class Traps:
    """Counts the pages that are alike; up to `most` of each pattern are let through (0: all)."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: dict[int, int] = {}
        self._told: set[str] = set()
        self.news: list[str] = []  #: patterns that became full since they were last taken

    def admits(self, url: str) -> bool:
        """Tell whether a page that was not known before is to be read, and count it."""
        if not self.most:
            return True
        alike = patterns(url)
        for pattern in alike:
            if self._counts.get(hash(pattern), 0) >= self.most:
                self._tell(pattern)
                return False
        for pattern in alike:
            key = hash(pattern)
            self._counts[key] = self._counts.get(key, 0) + 1
        if len(self._counts) > MAX_PATTERNS:
            self._forget()
        return True

    def warn(self, log: logging.Logger) -> None:
        """Tell of the patterns that became full since the last time."""
        for pattern in self.news:
            log.warning(
                "%d pages are alike: %s; further ones are left out, as calendars and the like never end (--max-alike)",
                self.most, pattern,
            )  # fmt: skip
        self.news.clear()

    def _tell(self, pattern: str) -> None:
        if pattern not in self._told and len(self._told) < 1000:
            self._told.add(pattern)
            self.news.append(pattern[:300])

    def _forget(self) -> None:
        """Forget the half of the patterns that was seen least."""
        ordered = sorted(self._counts.items(), key=lambda item: -item[1])
        self._counts = dict(ordered[: MAX_PATTERNS // 2])
