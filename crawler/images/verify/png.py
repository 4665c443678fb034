"""PNG and APNG (W3C PNG, section 5)."""

from __future__ import annotations

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, check_frames, steps

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def recognises(body: bytes) -> bool:
    return body.startswith(_SIGNATURE)


def walk(body: bytes) -> Picture:
    """Return the dimensions after walking from chunk to chunk to IEND."""
    size, at, data, frames = len(body), 8, False, 0
    if body[12:16] != b"IHDR" and size >= 16:
        raise NotAnImage("a PNG whose first chunk is not IHDR")
    for _ in steps():
        if at + 12 > size:
            break
        length = int.from_bytes(body[at : at + 4], "big")
        kind = body[at + 4 : at + 8]
        at += length + 12
        if at > size:
            break
        data = data or kind == b"IDAT"
        frames += kind == b"fcTL"
        if kind == b"IEND":
            if not data:
                raise NotAnImage("a PNG without image data")
            width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
            if not (width and height):
                raise NotAnImage("a PNG without width or height")
            check_frames(frames)
            return Picture("png", width, height)
    raise Truncated(f"the PNG ends at byte {size} before its last chunk")
