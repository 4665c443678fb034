"""Images decoded to their last pixel, in a process of its own with bounded memory and time."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable

from crawler import child
from crawler.child import Child
from crawler.errors import ChildDied, Undecodable, UsageError

#: Formats that are decoded; the others have been checked by their structure alone.
DECODED = frozenset({"jpeg", "png", "gif", "webp", "bmp", "avif", "tiff", "ico"})
#: Seconds that one image may take.
PATIENCE = child.PATIENCE
#: Bytes of memory for each pixel that an image may have.
_MEMORY_PER_PIXEL = 8
#: Pixels of all frames of an animation, in images of the largest size.
_MOST_FRAMES = 100


class Decoder(Child):
    """Has images decoded by a child, which is replaced when it dies; used by one thread, closed by any.

    Raises UsageError where Pillow is not installed.
    """

    def __init__(self, max_pixels: int) -> None:
        if importlib.util.find_spec("PIL") is None:
            raise UsageError("--verify decode needs Pillow: pip install 'distributed-image-crawler[decode]'")
        super().__init__(f"from crawler.images.decoding import serve; serve({max_pixels})", "decodes")

    def check(self, body: bytes) -> None:
        """Raise Undecodable where an image cannot be decoded as a whole, FetchError where nothing can be now."""
        try:
            said = self.ask(body, PATIENCE).decode("utf-8", "replace")
        except ChildDied as how:
            raise Undecodable(
                f"what decodes it died ({how}): it takes too much time or memory, or meets a defect"
            ) from how
        if said:
            raise Undecodable(f"it cannot be decoded: {said}")


# In the child


def serve(max_pixels: int) -> None:
    """Decode the images on standard input and say on standard output how it went, until the input ends."""

    def prepare() -> Callable[[bytes], bytes]:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # the structure told the size; frames are counted here
        return lambda body: _decode(body, max_pixels).encode("utf-8", "replace")[:300]

    child.serve(prepare, max_pixels, _MEMORY_PER_PIXEL)


def _decode(body: bytes, max_pixels: int) -> str:
    """Decode all frames, and return what is wrong, or `""`."""
    from PIL import Image

    pixels = 0
    try:
        with Image.open(io.BytesIO(body)) as image:
            # Of a JPEG the first: pictures that its MPF segment names are often cut away, and nobody shows them.
            for frame in range(1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)):
                image.seek(frame)
                pixels += image.width * image.height
                if max_pixels and pixels > _MOST_FRAMES * max_pixels:
                    return f"more than {_MOST_FRAMES * max_pixels:,} pixels in all frames"
                image.load()
    except MemoryError:
        return "it needs more memory than it may have"
    # Told: Pillow's plugins raise whatever they meet, and each of them means that the image is broken.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return ""
