"""Formats that are told by their first bytes and not walked: AVIF, HEIC, JPEG XL, TIFF, ICO, SVG."""

from __future__ import annotations

import re

from crawler.images.verify.picture import Picture

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_JXL_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
#: Bytes in which an SVG's root element must begin.
_LOOK = 4096
_BEFORE_ROOT = re.compile(r"(?:\s+|<\?[^>]*\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[[^\]]*\]\s*)?>)*", re.S | re.I)
_ROOT = re.compile(r"<(?:[\w.-]+:)?svg[\s>/]", re.I)


def recognise(body: bytes) -> Picture | None:
    """Return the picture that the first bytes announce, or None."""
    if body[4:8] == b"ftyp":
        return _iso(body)
    if body.startswith((b"\xff\x0a", _JXL_CONTAINER)):
        return Picture("jxl")
    if body.startswith(_TIFF) and len(body) > 8:
        return Picture("tiff")
    return _icon(body) or (Picture("svg") if _is_svg(body) else None)


def _iso(body: bytes) -> Picture | None:
    size = min(int.from_bytes(body[:4], "big"), 1024)
    brands = {body[8:12], *(body[at : at + 4] for at in range(16, min(size, len(body)), 4))}
    if brands & _AVIF:
        return Picture("avif")
    return Picture("heic") if brands & _HEIC else None


def _icon(body: bytes) -> Picture | None:
    count = int.from_bytes(body[4:6], "little")
    if body[:4] not in (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00") or not count or len(body) < 6 + 16 * count:
        return None
    size, offset = int.from_bytes(body[14:18], "little"), int.from_bytes(body[18:22], "little")
    if offset < 6 + 16 * count or offset + size > len(body):
        return None
    return Picture("ico", body[6] or 256, body[7] or 256)


def _is_svg(body: bytes) -> bool:
    head = body[:_LOOK]
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = head.decode(encoding, "replace")
    before = _BEFORE_ROOT.match(text)
    return _ROOT.match(text, before.end() if before else 0) is not None
