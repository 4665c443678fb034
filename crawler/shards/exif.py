"""Exif of images, as text."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping

#: Where Exif is looked for, from the beginning; characters of one value, and of all names and values together.
_EXIF_WITHIN, _MOST_OF_VALUE, _MOST_OF_EXIF = 4096, 1000, 65_536
#: What is said of an image that has none, as img2dataset says it.
NO_EXIF = "{}"
_SIGN = b"Exif\0\0"
#: Directories below the first: Exif's own, and that of places (Exif 2.32, 4.6.3).
_OWN, _PLACES = 0x8769, 0x8825


def exif_of(body: bytes) -> str:
    """Return the Exif of a JPEG as JSON, names and values as text; `""` where there is none that can be read."""
    at = body.find(_SIGN, 0, _EXIF_WITHIN)
    if not body.startswith(b"\xff\xd8") or at < 4 or body[at - 4 : at - 2] != b"\xff\xe1":
        return ""
    from PIL import ExifTags, Image

    (length,) = struct.unpack(">H", body[at - 2 : at])
    exif = Image.Exif()
    found: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what is damaged
        try:
            exif.load(body[at : at + length - 2])
            found |= _named(exif, ExifTags.TAGS)
            found |= _named(exif.get_ifd(_OWN), ExifTags.TAGS)
            found |= _named(exif.get_ifd(_PLACES), ExifTags.GPSTAGS)
        except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError, struct.error):
            pass  # a part of it is damaged: what was read before is kept
    return _told(found)


def _named(values: Mapping[int, object], names: Mapping[int, str]) -> dict[str, object]:
    return {names.get(tag) or hex(tag): value for tag, value in values.items()}


def _told(values: dict[str, object]) -> str:
    told, left = dict[str, str](), _MOST_OF_EXIF
    for name, value in values.items():
        text = (value.decode("latin-1") if isinstance(value, bytes) else str(value))[:_MOST_OF_VALUE]
        left -= len(name) + len(text)
        if left < 0:
            break
        told[name] = text.encode("utf-8", "replace").decode()
    return json.dumps(told) if told else ""
