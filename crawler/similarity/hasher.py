"""Perceptual hashes computed in a process of its own, with bounded memory and time."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

from crawler import child
from crawler.child import Child
from crawler.errors import ChildDied, Undecodable, UsageError

#: Seconds that one image may take.
PATIENCE = child.PATIENCE
#: Bytes of memory for each pixel that an image may have: as read, turned upright, with alpha and on white, 4 each.
_MEMORY_PER_PIXEL = 16


def check_hashing() -> None:
    """Raise UsageError where what hashes take is not installed."""
    if importlib.util.find_spec("PIL") is None or importlib.util.find_spec("numpy") is None:
        raise UsageError("--phash needs Pillow and numpy: pip install 'distributed-image-crawler[datasets]'")


class Hasher(Child):
    """Has images hashed by a child, which is replaced when it dies; used by one thread, closed by any.

    Raises UsageError where Pillow or numpy is not installed.
    """

    def __init__(self, max_pixels: int) -> None:
        check_hashing()
        super().__init__(f"from crawler.similarity.hasher import serve; serve({max_pixels})", "hashes")

    def hash(self, body: bytes) -> str:
        """Return an image's perceptual hash, `""` where it has none.

        Raises Undecodable where it cannot be had, FetchError where none can be had now.
        """
        try:
            said = self.ask(body, PATIENCE).decode("utf-8", "replace")
        except ChildDied as how:
            raise Undecodable(
                f"what hashes it died ({how}): it takes too much time or memory, or meets a defect"
            ) from how
        hashed, _, trouble = said.partition(" ")
        if trouble:
            raise Undecodable(trouble)
        return hashed


# In the child


def serve(max_pixels: int) -> None:
    """Hash the images on standard input, and say each hash on standard output, until the input ends."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread of numpy's takes memory, and matrices are small

    def prepare() -> Callable[[bytes], bytes]:
        import numpy  # noqa: F401
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # the limit is ours
        return lambda body: _said(body, max_pixels)

    child.serve(prepare, max_pixels, _MEMORY_PER_PIXEL)


def _said(body: bytes, max_pixels: int) -> bytes:
    """Return a hash, or a space and why there is none."""
    from crawler.similarity.hashing import perceptual_hash

    try:
        return perceptual_hash(body, max_pixels).encode()
    except Undecodable as error:
        return f" {error}".encode("utf-8", "replace")[:300]
