"""What a shard's row says of an image, and of one that failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from crawler.captions import caption
from crawler.mentions import shown_mentions
from crawler.model import ImageResult, Settlement, Task, Words, decode
from crawler.shards.exif import NO_EXIF, exif_of
from crawler.shards.samples import Sample
from crawler.transforms.imaging import Transformed


def sample_of(task: Task, result: ImageResult, body: bytes, image: Transformed, order: Sequence[str]) -> Sample:
    """Return the row of an image that was fetched as `body`, and is stored as `image`.

    `order` is that of the kinds of words for its caption.
    """
    return Sample(
        url=task.url, caption=_caption(task, order), width=image.width, height=image.height,
        original_width=image.original_width, original_height=image.original_height, exif=exif_of(body) or NO_EXIF,
        sha256=result.sha256, format=image.format, size=len(image.body), final_url=result.final_url or task.url,
        http_status=result.status, etag=result.etag, last_modified=result.last_modified,
        time=time.time(), mentions=shown_mentions(task.mentions), phash=result.phash,
    )  # fmt: skip


def failed_sample(task: Task, said: Settlement, status: str, order: Sequence[str]) -> Sample:
    """Return the row of an image that failed for good; `status` tells in what."""
    return Sample(
        url=task.url, caption=_caption(task, order), status=status, error_message=said.message or said.outcome,
        outcome=said.outcome, time=time.time(),
        mentions=shown_mentions(task.mentions),
    )  # fmt: skip


def _caption(task: Task, order: Sequence[str]) -> str:
    return _caption_of(tuple([bytes(words) for _, words in task.mentions]), tuple(order)) if task.mentions else ""


@lru_cache(maxsize=256)  # the rows of a list without captions all have the same words
def _caption_of(mentions: tuple[bytes, ...], order: tuple[str, ...]) -> str:
    return caption([decode(words, Words) for words in mentions], order)
