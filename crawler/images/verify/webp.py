"""WebP (RFC 9649)."""

from __future__ import annotations

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import Picture, check_frames, steps


def recognises(body: bytes) -> bool:
    return body[:4] == b"RIFF" and body[8:12] == b"WEBP"


def walk(body: bytes) -> Picture:
    """Return the dimensions after walking from chunk to chunk through the length that RIFF announces."""
    end = 8 + int.from_bytes(body[4:8], "little")
    if end > len(body):
        raise Truncated(f"the WebP ends at byte {len(body)} of {end}")
    at, picture, data, frames = 12, None, False, 0
    for _ in steps():
        if at + 8 > end:
            break
        kind = body[at : at + 4]
        length = int.from_bytes(body[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise Truncated(f"the WebP's chunk at byte {at} ends beyond the file")
        data = data or kind in (b"VP8 ", b"VP8L", b"ANMF")
        frames += kind == b"ANMF"
        if picture is None:
            picture = _dimensions(kind, body[at + 8 : at + 18])
        at += 8 + length + length % 2
    if picture is None or not data:
        raise NotAnImage("a WebP without image data")
    check_frames(frames)
    return picture


def _dimensions(kind: bytes, head: bytes) -> Picture | None:
    if len(head) < 5:
        return None
    if kind == b"VP8X":
        return Picture("webp", 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little"))
    if kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return Picture("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
        return Picture("webp", width & 0x3FFF, height & 0x3FFF)
    return None
