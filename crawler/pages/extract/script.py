"""What stands in scripts and styles without being run: JSON-LD, states of frameworks, templates, style sheets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from crawler.pages.extract import structured
from crawler.pages.extract.css import urls_in
from crawler.pages.extract.document import fragment
from crawler.pages.extract.links import Gathering, names_an_image

_SCRIPTS = frozenset({"", "module", "text/javascript", "application/javascript", "application/x-javascript"})
_MARKUP = frozenset(
    {"text/html", "text/template", "text/x-template", "text/x-handlebars-template", "text/x-jquery-tmpl"}
)
#: Values looked at in one JSON document, and how deep.
MAX_VALUES = 200_000
MAX_DEPTH = 200
#: Longest string of a state that is taken for a URL.
_MAX_URL = 2048


def _read_script(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    kind = attrs.get("type", "").partition(";")[0].strip().lower()
    if kind in _SCRIPTS:
        gathering.links.scripts = True
    elif kind.endswith("json"):
        value = parsed(element.text)
        if kind == "application/ld+json":
            structured.read_json_ld(gathering, value)
        else:
            for text in image_strings(value):
                gathering.image([text], "script@json")
    elif kind in _MARKUP:
        read_markup(gathering, element.text)


def _read_style(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    for candidates in urls_in(text_of_style(element)):
        gathering.image(candidates, "style")


def text_of_style(element: Any) -> str:
    return "".join(element.itertext())


def _read_noscript(gathering: Gathering, element: Any, attrs: dict[str, str]) -> None:
    """Read markup that came as text, as it does where the parser took scripts for run."""
    if element.text and "<" in element.text and gathering.markup_left > 0 and not gathering.nested:
        read_markup(gathering, "".join(element.itertext()))


def read_markup(gathering: Gathering, text: str | None) -> None:
    """Read markup that stands in text."""
    if not text or "<" not in text or gathering.nested or gathering.markup_left <= 0:
        return
    gathering.markup_left -= len(text)
    root = fragment(text)
    if root is not None:
        gathering.nested = True
        gathering.walk(gathering, root)
        gathering.nested = False


def parsed(text: str | None) -> Any:
    """Return the value of a JSON document, or None where it is none; comments of HTML around it are let be."""
    text = (text or "").strip().removeprefix("<!--").removesuffix("-->").strip().rstrip(";")
    if not text.startswith(("{", "[")) or has_too_many_values(text):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def has_too_many_values(text: str) -> bool:
    """Tell whether a JSON document has more lists and objects than are looked at: each takes up to 300 bytes."""
    return text.count("{") + text.count("[") > MAX_VALUES


def image_strings(value: Any) -> Iterator[str]:
    """Yield the strings of a JSON value that are plainly URLs of images."""
    todo, left = [(value, 0)], MAX_VALUES
    while todo and left:
        left -= 1
        value, depth = todo.pop()
        if isinstance(value, str):
            if is_image_url(value):
                yield value
        elif depth < MAX_DEPTH and isinstance(value, (dict, list)):
            inner = list(value.values()) if isinstance(value, dict) else value
            todo += [(one, depth + 1) for one in reversed(inner)]


def is_image_url(text: str) -> bool:
    """Tell whether a string is plainly the URL of an image: absolute, or from the root, and named as one."""
    return (
        len(text) <= _MAX_URL
        and text.startswith(("http://", "https://", "/", "./", "../"))
        and not any(c in text for c in ' \n\t<>"{}')
        and names_an_image(text)
    )


READERS = {
    "script": _read_script,
    "style": _read_style,
    "noscript": _read_noscript,
}
