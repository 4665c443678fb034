"""robots.txt verdicts (RFC 9309): pure text in, answers out."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from crawler.model import RobotsFile

#: RFC 9309, 2.5: at least 500 KiB must be read; what is beyond is ignored.
MAX_BYTES = 500 * 1024
#: RFC 9309, 2.3.1.2: at least five consecutive redirects are followed.
MAX_REDIRECTS = 5
#: RFC 9309, 2.4: a copy is not used for more than 24 hours.
MAX_AGE = 24 * 3600.0
#: A longer Crawl-delay is taken as this many seconds.
MAX_CRAWL_DELAY = 60.0
#: Characters of paths that are searched for wildcards for one URL; what would be denied beyond is taken to be.
MAX_SEARCHED = 20_000_000
_LINE_END = re.compile(r"\r\n?|\n")
# RFC 3986, 2: what never needs encoding, and what stands for itself; of the latter `:/?@[]#` divide URLs.
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DECODED = _UNRESERVED | set(":@[]")
_DECODED_IN_QUERY = _DECODED | set("/?")
_AS_IT_IS = re.compile(r"[A-Za-z0-9\-._~/!&'()*+,;=:@?\[\]]*")
_OCTETS = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~/!$&'()*+,;=:@?\[\]]")


def product_token(user_agent: str) -> str:
    """Return the name that robots.txt groups are matched with: `crawler` of `crawler/1.0 (+https://…)`."""
    return re.split(r"[/ (]", user_agent.strip(), maxsplit=1)[0] or "*"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32] if text else ""


class Rules:
    """The verdicts of one robots.txt for one user agent; an empty text allows everything."""

    def __init__(self, text: str, agent: str) -> None:
        self.sitemaps: list[str] = []
        self.crawl_delay = 0.0  #: in seconds
        patterns = _Patterns()
        for named in (agent.lower(), "*"):
            if self._read(text, named, patterns):
                break
        patterns.sort()
        self._patterns = patterns
        self.allows = _always if patterns.is_empty else lru_cache(maxsize=1024)(self._allows)

    def _read(self, text: str, agent: str, patterns: _Patterns) -> bool:
        """Take in all groups that are for `agent` (RFC 9309, 2.2.1), and tell whether there are any."""
        ours = known = False
        agents_follow = False  # rules end a group's list of agents; other records do not count
        self.sitemaps.clear()
        for line in _LINE_END.split(text.removeprefix("\ufeff")):
            name, colon, value = line.partition("#")[0].partition(":")
            name, value = name.strip(" \t").lower(), value.strip(" \t")
            if not colon:
                continue
            if name == "user-agent":
                ours = (agents_follow and ours) or _token(value) == agent
                agents_follow = True
                known |= ours
            elif name in ("allow", "disallow"):
                agents_follow = False
                if ours:
                    patterns.add(value, name == "allow")
            elif name == "crawl-delay" and ours:
                self.crawl_delay = max(self.crawl_delay, _seconds(value))
            elif name == "sitemap" and value:
                self.sitemaps.append(value)
        return known

    def _allows(self, url: str) -> bool:
        start = url.find("/", 8)
        path = _normal(url[start:].partition("#")[0].replace("*", "%2A").replace("$", "%24")) if start > 0 else "/"
        return path == "/robots.txt" or self._patterns.allow(path)


def _always(url: str) -> bool:
    return True


class _Patterns:
    """Path patterns of one group: that with the most octets decides, and of equal ones the allowing (2.2.2)."""

    def __init__(self) -> None:
        self._plain: dict[str, bool] = {}
        self._lengths: list[int] = []
        # Length, allows, parts, whether it is to end there, characters.
        self._wild: list[tuple[int, bool, list[str], bool, int]] = []

    def add(self, pattern: str, allows: bool) -> None:
        if not pattern:
            return
        if not pattern.startswith(("/", "*")):
            pattern = "/" + pattern
        ends = pattern.endswith("$")
        parts, in_query = list[str](), False
        for part in pattern.removesuffix("$").split("*"):
            parts.append(_normal(part.replace("$", "%24"), in_query=in_query))
            in_query |= "?" in part
        length = len("*".join(parts)) + ends
        if len(parts) > 1 or ends:
            parts = [parts[0], *filter(None, parts[1:-1]), *parts[1:][-1:]]
            self._wild.append((length, allows, parts, ends, _characters("".join(parts))))
        else:
            self._plain[parts[0]] = self._plain.get(parts[0], False) or allows

    @property
    def is_empty(self) -> bool:
        return not self._plain and not self._wild

    def sort(self) -> None:
        """Let the longest come first; to be called once all are added."""
        self._lengths = sorted(set(map(len, self._plain)), reverse=True)
        self._wild.sort(key=lambda wild: (-wild[0], not wild[1]))

    def allow(self, path: str) -> bool:
        """Tell whether a normalised path is allowed; a lookup for each length of pattern, and each wildcard tried
        whose characters it has."""
        longest, verdict = -1, True
        for length in self._lengths:
            if length <= len(path) and (found := self._plain.get(path[:length])) is not None:
                longest, verdict = length, found
                break
        missing, left = ~_characters(path), MAX_SEARCHED
        for length, allows, parts, ends, needed in self._wild:
            if length < longest or (length == longest and (verdict or not allows)):
                break
            if needed & missing:
                continue
            left -= len(path)
            if left < 0:
                return False
            if _matches(path, parts, ends):
                return allows
        return verdict


def _characters(text: str) -> int:
    """Return the set of characters of a normalised path, which are ASCII, as bits."""
    return sum(1 << ord(character) for character in set(text))


def _matches(path: str, parts: list[str], ends: bool) -> bool:
    """Tell whether a path begins with the parts of a pattern in their order; linear in its length."""
    first, *rest = parts
    if not path.startswith(first):
        return False
    at = len(first)
    if not rest:
        return at == len(path) or not ends
    *middle, last = rest
    for part in middle if ends else rest:
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return not ends or (path.endswith(last) and len(path) - len(last) >= at)


def _normal(path: str, *, in_query: bool = False) -> str:
    """Return a path with query as it is compared, octet by octet (RFC 9309, 2.2.2).

    What needs no encoding is decoded, what is no URL's character encoded. `:@[]` are alike with and without encoding,
    and in a query, where they divide nothing, `/?` too. Piece by piece it is the same as in one.
    """
    if _AS_IT_IS.fullmatch(path):
        return path
    head, mark, query = ("", "", path) if in_query else path.partition("?")
    return _OCTETS.sub(_head_octet, head) + mark + _OCTETS.sub(_query_octet, query)


def _head_octet(match: re.Match[str], decoded: frozenset[str] = _DECODED) -> str:
    text = match[0]
    if text[0] == "%" and len(text) == 3:
        octet = chr(int(text[1:], 16))
        return octet if octet in decoded else text.upper()
    return "".join(f"%{octet:02X}" for octet in text.encode("utf-8", "surrogatepass"))


def _query_octet(match: re.Match[str]) -> str:
    return _head_octet(match, _DECODED_IN_QUERY)


def _token(value: str) -> str:
    """Return the product token of a user-agent record, in lower case; a version behind it does not count."""
    return re.split(r"[/ \t]", value, maxsplit=1)[0].lower()


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return min(seconds, MAX_CRAWL_DELAY) if seconds > 0 else 0.0


def read(status: int, body: bytes, agent: str) -> RobotsFile:
    """Return what an origin's answer says (RFC 9309, 2.3.1): 4xx allows everything, 5xx nothing."""
    if 200 <= status < 300:
        text = body[:MAX_BYTES].decode("utf-8-sig", "replace")
        return RobotsFile(text=text, crawl_delay=Rules(text, agent).crawl_delay)
    if 400 <= status < 500 and status != 429:
        return RobotsFile()
    return RobotsFile(reachable=False, message=f"robots.txt answered {status}")
