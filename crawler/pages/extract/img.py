"""Images as such: `img`, `picture` and its sources, `input[type=image]`, AMP's, with the ways to load them late."""

from __future__ import annotations

from itertools import islice
from typing import Any

from crawler.pages.extract.links import MAX_CANDIDATES, Gathering
from crawler.pages.extract.srcset import Candidate, best_first, parse_srcset

#: Attributes that hold an image's URL until a script puts it into `src`; the largest image first.
LAZY = (
    "data-full", "data-full-src", "data-large", "data-large-src", "data-hi-res-src", "data-highres", "data-zoom-image",
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-url", "data-image", "data-img",
    "data-srcfallback", "data-native-src", "data-hover", "lazy-src", "data-echo", "data-actualsrc", "data-defer-src",
    "data-pagespeed-lazy-src",
)  # fmt: skip
LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "data-src-set", "data-set", "lazy-srcset")
_LAZY, _SETS = frozenset(LAZY), frozenset(LAZY_SETS)


def _candidates(attrs: Any) -> list[Candidate]:
    found = parse_srcset(text) if (text := attrs.get("srcset")) else []
    if not _SETS.isdisjoint(attrs):
        for name in LAZY_SETS:
            found += parse_srcset(attrs.get(name) or "")
    return found


def _picture_of(element: Any) -> Any:
    """Return the `picture` around `element`; libxml2 nests what follows a `source` inside it."""
    parent = element.getparent()
    for _ in range(MAX_CANDIDATES):
        if parent is None or parent.tag != "source":
            break
        parent = parent.getparent()
    return parent if parent is not None and parent.tag == "picture" else None


def _of_picture(gathering: Gathering, picture: Any) -> list[Candidate]:
    key = ("picture", picture)
    if key not in gathering.cache:
        found = (one for source in gathering.parts(picture, "source") for one in _candidates(source.attrib))
        gathering.cache[key] = list(islice(found, MAX_CANDIDATES))
    return list(gathering.cache[key])


def caption_of(gathering: Gathering, element: Any) -> str:
    """Return the text of the `figcaption` of the figure that `element` is in."""
    for _ in range(6):
        element = element.getparent()
        if element is None:
            return ""
        if element.tag == "figure":
            key = ("caption", element)
            if key not in gathering.cache:
                caption = next(gathering.parts(element, "figcaption"), None)
                gathering.cache[key] = "" if caption is None else gathering.text_of(caption)
            return str(gathering.cache[key])
    return ""


def _is_pixel(attrs: dict[str, str]) -> bool:
    """Tell whether an image is as small as only those are that count visits."""
    return attrs.get("width", "").strip() in _TINY and attrs.get("height", "").strip() in _TINY


_TINY = frozenset({"0", "1", "2", "0px", "1px", "2px"})


def read_img(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    own = _candidates(attrs)
    picture = _picture_of(element)
    sources = _of_picture(gathering, picture) if picture is not None else []
    lazy = [attrs[name] for name in sorted(_LAZY.intersection(attrs), key=LAZY.index)]
    found_in = "img@srcset" if own else "picture" if sources else "img@data-src" if lazy else "img@src"
    gathering.image(
        [*best_first([*sources, *own]), *lazy, attrs.get("src", "")],
        found_in,
        left_out="pixel" if _is_pixel(attrs) else "",
        alt=attrs.get("alt"),
        title=attrs.get("title"),
        label=attrs.get("aria-label"),
        caption=caption_of(gathering, element),
    )


def _read_amp(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    texts = [*best_first(_candidates(attrs)), attrs.get("src", "")]
    gathering.image(texts, f"{element.tag}@src", alt=attrs.get("alt"), caption=caption_of(gathering, element))


def _read_source(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    picture = _picture_of(element)
    if picture is not None:
        key = ("has img", picture)
        if key not in gathering.cache:
            gathering.cache[key] = next(gathering.parts(picture, "img"), None) is not None
        if gathering.cache[key]:
            return
    gathering.image(best_first(_candidates(attrs)), "source@srcset")


def _read_input(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    if attrs.get("type", "").lower() == "password":
        gathering.links.asks_password = True
    if attrs.get("type", "").lower() == "image":
        gathering.image([attrs.get("src", "")], "input@src", alt=attrs.get("alt"), title=attrs.get("title"))


READERS = {
    "img": read_img,
    "image": read_img,
    "source": _read_source,
    "input": _read_input,
    "amp-img": _read_amp,
    "amp-anim": _read_amp,
}
