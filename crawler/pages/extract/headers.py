"""What an answer's headers name: `Link` (RFC 8288), `Refresh`, `Content-Security-Policy`."""

from __future__ import annotations

from collections.abc import Mapping

from requests.utils import parse_header_links

from crawler.pages.extract.anchor import read_link
from crawler.pages.extract.links import Gathering
from crawler.pages.extract.meta import asks_for_upgrade, refresh_target

#: Characters of a field that are read.
MAX_FIELD = 16_384


def read(gathering: Gathering, head: Mapping[str, str]) -> None:
    """Read the headers of a document, whose names are lower-case."""
    gathering.upgrades |= asks_for_upgrade(head.get("content-security-policy", ""))
    if "refresh" in head:
        gathering.page(refresh_target(head["refresh"]))
    if "link" in head:
        for link in parse_header_links(head["link"][:MAX_FIELD]):
            attrs = {name.lower(): value for name, value in link.items()}
            read_link(gathering, None, {**attrs, "href": attrs.get("url", "")})
