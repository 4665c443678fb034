"""IIIF Presentation manifests and collections, versions 2 and 3: every canvas's image at its full size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from crawler.pages.extract.links import Gathering, folded
from crawler.pages.extract.script import has_too_many_values

_MAX_NODES = 200_000
_MAX_DEPTH = 12


def read(gathering: Gathering, body: bytes) -> None:
    """Read a manifest or collection; raises ValueError where it is none."""
    text = body.decode("utf-8-sig", "replace")
    if has_too_many_values(text):
        raise ValueError("it has too many values")
    try:
        document = json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    context = document.get("@context") if isinstance(document, dict) else None
    if "iiif.io/api/presentation" not in str(context)[:1000]:
        raise ValueError("it is no IIIF manifest")
    words = {
        "image_license": _text(document.get("rights")) or _text(document.get("license")),
        "credit": _text(document.get("attribution")) or _text((_dict(document.get("requiredStatement"))).get("value")),
    }
    gathering.links.title = folded(_text(document.get("label")))
    for node, canvas in _nodes(document):
        kind = str(node.get("type") or node.get("@type") or "")
        if node is not document and kind in ("Manifest", "sc:Manifest", "Collection", "sc:Collection"):
            gathering.add("manifests", _identity(node))
        elif kind in ("Image", "dctypes:Image") and canvas is not None:
            gathering.image(_urls(node), "iiif", title=_text(canvas.get("label")), **words)


def _nodes(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Give every object with the canvas that it is painted on, without thumbnails and the like."""
    todo: list[tuple[Any, dict[str, Any] | None, int]] = [(document, None, 0)]
    left = _MAX_NODES
    while todo and left:
        left -= 1
        node, canvas, depth = todo.pop()
        if isinstance(node, list):
            todo += [(one, canvas, depth) for one in reversed(node)]
        elif isinstance(node, dict) and depth <= _MAX_DEPTH:
            if str(node.get("type") or node.get("@type")) in ("Canvas", "sc:Canvas"):
                canvas = node
            yield node, canvas
            parts = ("sequences", "canvases", "images", "resource", "default", "item", "items", "body", "manifests",
                     "collections", "members")  # fmt: skip
            todo += [(node[part], canvas, depth + 1) for part in reversed(parts) if part in node]


def _urls(image: dict[str, Any]) -> list[str]:
    """Return where an image is to be had: in full from its service (IIIF Image, 2.x `full`, 3 `max`), then as named."""
    services = image.get("service")
    urls = []
    for service in services if isinstance(services, list) else [services]:
        base = _identity(_dict(service)).rstrip("/")
        if base:
            context = f"{_dict(service).get('type')} {_dict(service).get('@context')} {_dict(service).get('profile')}"
            urls.append(
                f"{base}/full/{'max' if 'ImageService3' in context or '/3' in context else 'full'}/0/default.jpg"
            )
    return [*urls, _identity(image)]


def _identity(node: dict[str, Any]) -> str:
    value = node.get("id") or node.get("@id")
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Return the first text of a value: of version 2, or one of version 3's by language."""
    for _ in range(4):
        if isinstance(value, dict):
            value = value.get("@value") or next(iter(value.values()), "")
        elif isinstance(value, list):
            value = value[0] if value else ""
    return value if isinstance(value, str) else ""
