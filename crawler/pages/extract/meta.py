"""The page about itself: its images for others, title, language, licence, and how its requests are to be made."""

from __future__ import annotations

from typing import Any

from crawler.pages.extract.links import Gathering, folded

_IMAGES = frozenset(
    "og:image og:image:url og:image:secure_url twitter:image twitter:image:src image thumbnail thumbnailurl "
    "msapplication-tileimage parsely-image-url sailthru.image.full sailthru.image.thumb".split()
)
_ICONS = frozenset({"msapplication-tileimage"})
#: Elements of one page whose content is kept.
MAX_METAS = 200
MAX_CONTENT = 5000


def _read_meta(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    name = (attrs.get("property") or attrs.get("name") or attrs.get("itemprop") or "").lower().strip()
    own = attrs.get("name", "").lower().strip()
    if own == "robots" or (own and len(gathering.links.metas) < MAX_METAS):
        gathering.links.metas.append((own, attrs.get("content", "")[:MAX_CONTENT]))
    if name in _IMAGES:
        gathering.image([attrs.get("content", "")], f"meta@{name}", left_out="icon" if name in _ICONS else "")
    elif "http-equiv" in attrs:
        equivalent, content = attrs["http-equiv"].strip().lower(), attrs.get("content", "")
        if equivalent == "refresh":
            gathering.page(refresh_target(content))
        elif equivalent == "content-security-policy":
            gathering.upgrades |= asks_for_upgrade(content)


def asks_for_upgrade(policy: str) -> bool:
    """Tell whether a Content-Security-Policy has http requested as https (Upgrade Insecure Requests, 3)."""
    return "upgrade-insecure-requests" in policy.lower()


def refresh_target(text: str) -> str:
    """Return the URL of a Refresh field, `5; url=/next`; `""` where it names none."""
    _, _, rest = text.replace(",", ";").partition(";")
    name, equals, url = rest.strip().partition("=")
    return url.strip().strip("'\"") if equals and name.strip().lower() == "url" else ""


def _read_title(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    parent = element.getparent()
    if not gathering.links.title and (parent is None or parent.tag != "svg"):
        gathering.links.title = folded(gathering.text_of(element))


def _read_html(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    gathering.links.language = gathering.links.language or folded(attrs.get("lang") or attrs.get("xml:lang"))[:35]


def _read_heading(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    gathering.heading = element


READERS = {
    "meta": _read_meta,
    "title": _read_title,
    "html": _read_html,
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _read_heading),
}
