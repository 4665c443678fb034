"""robots.txt verdicts (RFC 9309): pure text in, answers out."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from protego import Protego

from crawler.model import RobotsFile

#: RFC 9309, 2.5: at least 500 KiB must be read; what is beyond is ignored.
MAX_BYTES = 500 * 1024
#: RFC 9309, 2.3.1.2: at least five consecutive redirects are followed.
MAX_REDIRECTS = 5
#: RFC 9309, 2.4: a copy is not used for more than 24 hours.
MAX_AGE = 24 * 3600.0
#: A longer Crawl-delay is taken as this many seconds.
MAX_CRAWL_DELAY = 60.0


def product_token(user_agent: str) -> str:
    """Return the name that robots.txt groups are matched with: `crawler` of `crawler/1.0 (+https://…)`."""
    return user_agent.partition("/")[0].strip() or "*"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32] if text else ""


class Rules:
    """The verdicts of one robots.txt for one user agent; an empty text allows everything."""

    def __init__(self, text: str, agent: str) -> None:
        self._agent = agent
        self._parsed = Protego.parse(text) if text.strip() else None
        self.allows = lru_cache(maxsize=1024)(self._allows)

    def _allows(self, url: str) -> bool:
        return self._parsed is None or bool(self._parsed.can_fetch(url, self._agent))

    @property
    def crawl_delay(self) -> float:
        if self._parsed is None:
            return 0.0
        return min(max(float(self._parsed.crawl_delay(self._agent) or 0.0), 0.0), MAX_CRAWL_DELAY)


def read(status: int, body: bytes, agent: str) -> RobotsFile:
    """Return what an origin's answer says (RFC 9309, 2.3.1): 4xx allows everything, 5xx nothing."""
    if 200 <= status < 300:
        text = body[:MAX_BYTES].decode("utf-8-sig", "replace")
        return RobotsFile(text=text, crawl_delay=Rules(text, agent).crawl_delay)
    if 400 <= status < 500 and status != 429:
        return RobotsFile()
    return RobotsFile(reachable=False, message=f"robots.txt answered {status}")
