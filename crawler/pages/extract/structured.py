"""Structured data (schema.org): JSON-LD, microdata and RDFa."""

from __future__ import annotations

from typing import Any

from crawler.pages.extract.links import Gathering, names_an_image

_IMAGES = frozenset({"image", "images", "thumbnail", "thumbnailurl", "logo", "photo", "photos", "primaryimageofpage"})
_ITEMS = _IMAGES | {"contenturl"}
_MAX_NODES = 50_000
_MAX_DEPTH = 100


def read_json_ld(gathering: Gathering, document: Any) -> None:
    """Add the images of a JSON-LD document."""
    todo, left = [(document, 0)], _MAX_NODES
    while todo and left:
        left -= 1
        node, depth = todo.pop()
        if depth > _MAX_DEPTH:
            continue
        if isinstance(node, list):
            todo += [(one, depth + 1) for one in reversed(node)]
        elif isinstance(node, dict):
            if _types(node) & {"imageobject", "photograph"}:
                _add(gathering, node, "ImageObject")
            for key, value in reversed(node.items()):
                name = key.rpartition("/")[2].rpartition(":")[2].lower()
                if name in _IMAGES:
                    _read_image(gathering, value, name)
                if isinstance(value, (dict, list)):
                    todo.append((value, depth + 1))


def _read_image(gathering: Gathering, value: Any, name: str) -> None:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            gathering.image([one], f"json-ld {name}")
        elif isinstance(one, dict) and "imageobject" not in _types(one):
            _add(gathering, one, name)


def _add(gathering: Gathering, node: dict[str, Any], name: str) -> None:
    """Add an image object with its own words: a licence that it names is its own, not the page's."""
    urls = [text for key in ("contentUrl", "url", "@id") if (text := _text(node.get(key)))]
    urls = [text for number, text in enumerate(urls) if number == 0 or names_an_image(text)]
    if not (node.get("contentUrl") or names_an_image(urls[0] if urls else "") or name != "ImageObject"):
        urls = []
    gathering.image(
        urls,
        f"json-ld {name}",
        caption=_text(node.get("caption")) or _text(node.get("description")),
        title=_text(node.get("name")) or _text(node.get("headline")),
        author=_text(node.get("author")) or _text(node.get("creator")),
        image_license=_text(node.get("license")) or _text(node.get("acquireLicensePage")),
        credit=_text(node.get("creditText")) or _text(node.get("copyrightNotice")),
    )


def _types(node: dict[str, Any]) -> set[str]:
    kinds = node.get("@type")
    return {
        kind.rpartition("/")[2].lower()
        for kind in (kinds if isinstance(kinds, list) else [kinds])
        if isinstance(kind, str)
    }


def _text(value: Any) -> str:
    """Return the text of a value: itself, the first of a list, or the name or URL of an object."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("@value") or value.get("name") or value.get("url") or value.get("@id")
    return value if isinstance(value, str) else ""


def read_item(gathering: Gathering, element: Any, attrs: dict[str, str], attribute: str) -> None:
    """Add the image that microdata (`itemprop`) or RDFa (`property`) names, unless it is an `img` or `meta` anyway."""
    names = {name.rpartition("/")[2].rpartition(":")[2].lower() for name in attrs[attribute].split()}
    if element.tag in ("img", "meta") or not names & _ITEMS:
        return
    text = attrs.get("href") or attrs.get("content") or attrs.get("resource") or attrs.get("src") or ""
    if "contenturl" not in names or names_an_image(text):
        gathering.image([text], f"{element.tag}@{attribute}")
