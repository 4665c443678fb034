"""Images of other elements: posters, objects, drawings, backgrounds of old pages."""

from __future__ import annotations

from typing import Any

from crawler.pages.extract.links import Gathering, names_an_image


def _read_video(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    poster = attrs.get("poster") or attrs.get("data-poster") or ""
    gathering.image([poster], "video@poster", title=attrs.get("title"), label=attrs.get("aria-label"))


def _read_object(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    text = attrs.get("data") or attrs.get("src") or ""
    if attrs.get("type", "").lower().startswith("image/") or names_an_image(text):
        gathering.image([text], f"{element.tag}@{'data' if 'data' in attrs else 'src'}", title=attrs.get("title"))


def _read_drawing(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    text = attrs.get("href") or attrs.get("xlink:href") or attrs.get("{http://www.w3.org/1999/xlink}href") or ""
    if text and not text.startswith("#") and (element.tag != "use" or names_an_image(text)):
        gathering.image([text], f"svg {element.tag}@href")


def _read_svg_image(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    """Read `image`, which outside of drawings is an old name of `img`."""
    if "src" in attrs:
        gathering.image([attrs["src"]], "image@src", alt=attrs.get("alt"))
    _read_drawing(gathering, element, attrs)


def _read_background(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    text = attrs.get("background")
    if text:
        gathering.image([text], f"{element.tag}@background")


READERS = {
    "video": _read_video,
    "amp-video": _read_video,
    "object": _read_object,
    "embed": _read_object,
    "image": _read_svg_image,
    "use": _read_drawing,
    "feimage": _read_drawing,
    "feImage": _read_drawing,
    **dict.fromkeys(("body", "table", "thead", "tbody", "tfoot", "tr", "td", "th"), _read_background),
}
