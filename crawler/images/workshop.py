"""What is done with the pixels of images that were fetched: each work in processes of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from crawler.errors import BadImage, FetchError, Undecodable
from crawler.images.checking import refusal
from crawler.images.decoding import DECODED, Decoder
from crawler.model import ImageResult
from crawler.similarity.hasher import Hasher
from crawler.spec import Spec
from crawler.transforms.imaging import Transformed
from crawler.transforms.pool import TransformPool

log = logging.getLogger(__name__)


class Workshop:
    """Decodes, hashes and transforms images as a job wants it; without such wishes there are no processes.

    Raises UsageError where what that takes is not installed.
    """

    def __init__(self, spec: Spec) -> None:
        self._decoder = Decoder(spec.max_pixels) if spec.verify == "decode" else None
        self._hasher = Hasher(spec.max_pixels) if spec.phash else None
        # One process, as there is a worker for each core, which rests while images are transformed.
        self._pool = TransformPool(spec.transform, spec.max_pixels, 1) if spec.transform.changes_pixels else None

    def looks_at(self, result: ImageResult) -> bool:
        """Tell whether the pixels of an image are to be looked at."""
        return result.format in DECODED and (self._decoder is not None or self._wants_hash(result))

    def look_at(self, body: bytes, result: ImageResult) -> None:
        """Decode an image, and put its perceptual hash into `result`; raises FetchError. For one thread, which waits.

        A hash that cannot be had stays empty, and costs nothing else.
        """
        if self._decoder is not None:
            try:
                self._decoder.check(body)
            except BadImage as bad:
                raise refusal(bad) from bad
        if self._hasher is not None and self._wants_hash(result):
            try:
                result.phash = self._hasher.hash(body)
            except Undecodable as error:
                log.info("no perceptual hash of image %s: %s", result.sha256, error)

    @property
    def transforms(self) -> bool:
        """Tell whether images are transformed."""
        return self._pool is not None

    def transform(self, body: bytes, done: Callable[[Transformed | FetchError], None]) -> None:
        """Have an image transformed; `done` gets it, or why not, mostly in another thread."""
        assert self._pool is not None
        self._pool.submit(body, done)

    def close(self) -> None:
        """End the processes, also under work that waits for them."""
        for part in (self._decoder, self._hasher, self._pool):
            if part is not None:
                part.close()

    def _wants_hash(self, result: ImageResult) -> bool:
        return self._hasher is not None and not result.phash
