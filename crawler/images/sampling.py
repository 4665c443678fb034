"""What a shard's row says of an image, and of one that failed."""

from __future__ import annotations

import json
import struct
import time
import warnings
from collections.abc import Mapping, Sequence

from crawler.captions import caption
from crawler.mentions import shown_mention
from crawler.model import ImageResult, Settlement, Task, Words, decode
from crawler.shards.samples import NOT_FETCHED, Sample

#: Where Exif is looked for, from the beginning; characters of one value, and of all names and values together.
_EXIF_WITHIN, _MOST_OF_VALUE, _MOST_OF_EXIF = 4096, 1000, 65_536
_SIGN = b"Exif\0\0"
#: Directories below the first: Exif's own, and that of places (Exif 2.32, 4.6.3).
_OWN, _PLACES = 0x8769, 0x8825


def sample_of(task: Task, result: ImageResult, body: bytes, order: Sequence[str]) -> Sample:
    """Return the row of an image that was fetched; `order` is that of the kinds of words for its caption."""
    return Sample(
        url=task.url, caption=_caption(task, order), width=result.width, height=result.height,
        original_width=result.width, original_height=result.height, exif=exif_of(body) or None, sha256=result.sha256,
        format=result.format, size=len(body), final_url=result.final_url or task.url, http_status=result.status,
        etag=result.etag or None, last_modified=result.last_modified or None, time=time.time(),
        mentions=[shown_mention(page, words) for page, words in task.mentions],
    )  # fmt: skip


def failed_sample(task: Task, said: Settlement, order: Sequence[str]) -> Sample:
    """Return the row of an image that failed for good."""
    return Sample(
        url=task.url, caption=_caption(task, order), status=NOT_FETCHED, error_message=said.message or said.outcome,
        outcome=said.outcome, time=time.time(),
        mentions=[shown_mention(page, words) for page, words in task.mentions],
    )  # fmt: skip


def _caption(task: Task, order: Sequence[str]) -> str:
    return caption([decode(words, Words) for _, words in task.mentions], order) if task.mentions else ""


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
