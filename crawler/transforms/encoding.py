"""Pictures as files, without metadata: what it asked for was done."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crawler.transforms.transform import QUALITIES, Transform

if TYPE_CHECKING:
    from PIL import Image


def encoded(
    frames: Sequence[Image.Image],
    format: str,
    transform: Transform,
    durations: Sequence[int] = (),
    info: Mapping[Any, Any] | None = None,
) -> bytes:
    """Return a picture, or the frames of an animation; `durations` in milliseconds, `info` what Pillow read of it."""
    options = _quality(format, transform)
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": list(durations)}
        options |= _loops(format, info or {})
        if format == "gif" and frames[0].mode == "RGBA":
            options["disposal"] = 2  # a frame does not show through what is clear in the next
        if format == "webp" and frames[0].mode == "RGBA":
            options["kmax"] = 1  # whole frames: of parts that are opaque libwebp makes a file that has no alpha
    for frame in frames:
        frame.info = {}
    out = io.BytesIO()
    frames[0].save(out, format.upper(), **options)
    return out.getvalue()


def _quality(format: str, transform: Transform) -> dict[str, Any]:
    """Return Pillow's options; one thread, for there are as many processes as are to be at work."""
    if format == "gif":
        return {}
    default = QUALITIES[format.replace("jpeg", "jpg")][0]
    quality = default if transform.encode_quality is None else transform.encode_quality
    if format == "png":
        return {"compress_level": quality}
    return {"quality": quality, "max_threads": 1} if format == "avif" else {"quality": quality}


def _loops(format: str, info: Mapping[Any, Any]) -> dict[str, Any]:
    """Return how often it is shown: a GIF that does not say is shown once, which other formats say by 1."""
    if format == "gif":
        return {"loop": info["loop"]} if "loop" in info else {}
    return {} if format == "avif" else {"loop": info.get("loop", 1)}
