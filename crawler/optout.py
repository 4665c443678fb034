"""What sites say about the use of their pages and images, beside robots.txt: pure text in, verdicts out.

Known are the directives of `<meta name=robots>` and `X-Robots-Tag` as search engines document them, those against
training (`noai`, `noimageai`, `noml`), and the TDM Reservation Protocol of the W3C's community group.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from crawler.robots import Rules

#: The rules by name; all but the last two are kept to by default.
RULES: Final = ("robots", "meta-robots", "x-robots-tag", "noai", "tdm", "nofollow")
DEFAULT: Final = RULES[:4]
#: Where a site reserves text and data mining for parts of itself.
TDMREP_PATH: Final = "/.well-known/tdmrep.json"
_AI = frozenset({"noai", "noimageai", "noml"})
_IMAGES = ("noimageindex", "noindex", "none")
_LINKS = ("nofollow", "none")
# Words up to white space or a comma; a colon ends a name that something belongs to.
_WORDS = re.compile(r"[^\s,:]+:?")
_TOKEN = re.compile(r"\*|[a-z_-]+")
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


class Verdict(NamedTuple):
    """The rules by which a page's links are not followed, and images are left alone; `""` where there is none."""

    links: str = ""
    images: str = ""


def of_page(metas: Iterable[tuple[str, str]], head: Mapping[str, str], agent: str, obeyed: Collection[str]) -> Verdict:
    """Return what a page says of itself; `agent` is our product token, names of headers are lower-case."""
    answer = of_answer(head, agent, obeyed)
    said: set[str] = set()
    reserved = False
    for name, content in metas:
        if name in ("robots", agent.lower()):
            said |= _directives(content, agent)
        elif name == "tdm-reservation":
            reserved |= content.strip() == "1"
    own = _verdict(said, "meta-robots", obeyed)
    images = "tdm: tdm-reservation" if reserved and "tdm" in obeyed else ""
    return Verdict(answer.links or own.links, answer.images or own.images or images)


def of_answer(head: Mapping[str, str], agent: str, obeyed: Collection[str]) -> Verdict:
    """Return what an answer's headers say; several fields of one name stand on lines of their own."""
    said = {directive for field in head.get("x-robots-tag", "").split("\n") for directive in _directives(field, agent)}
    verdict = _verdict(said, "x-robots-tag", obeyed)
    if (
        not verdict.images
        and "tdm" in obeyed
        and any(line.strip() == "1" for line in head.get("tdm-reservation", "").split("\n"))
    ):
        return verdict._replace(images="tdm: tdm-reservation")
    return verdict


def _verdict(said: set[str], rule: str, obeyed: Collection[str]) -> Verdict:
    links = images = ""
    if rule in obeyed:
        links = next((f"{rule}: {word}" for word in _LINKS if word in said), "")
        images = next((f"{rule}: {word}" for word in _IMAGES if word in said), "")
    if not images and "noai" in obeyed and said & _AI:
        images = f"noai: {min(said & _AI)}"
    return Verdict(links, images)


def _directives(field: str, agent: str) -> set[str]:
    """Return the directives of one X-Robots-Tag field that are for everyone or for `agent`."""
    found: set[str] = set()
    ours, is_value = True, False
    for word in _WORDS.findall(field.lower()):
        if word.endswith(":") and not is_value:
            is_value = word[:-1] in _WITH_VALUE
            if not is_value and _TOKEN.fullmatch(word[:-1]):
                ours = word[:-1] in ("*", "robots", agent.lower())
        elif is_value:
            is_value = False
        elif ours:
            found.add(word)
    return found


class Reservations:
    """What a site's tdmrep.json reserves; one that makes no sense reserves nothing.

    Its patterns are those of robots.txt; the longest match decides (TDM Reservation Protocol, 4.2).
    """

    def __init__(self, body: bytes) -> None:
        lines = ["User-agent: *"]
        for entry in _entries(body):
            location, reserved = entry.get("location"), entry.get("tdm-reservation")
            if isinstance(location, str) and "\n" not in location and "\r" not in location:
                lines.append(f"{'Disallow' if reserved == 1 else 'Allow'}: {location}")
        self._rules = Rules("\n".join(lines), "*")

    def reserve(self, url: str) -> bool:
        return not self._rules.allows(url)


def _entries(body: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [entry for entry in document if isinstance(entry, dict)] if isinstance(document, list) else []
