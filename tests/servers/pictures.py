"""Small valid images, each distinct by its seed, from the standard library alone."""

import base64
import random
import struct
import zlib

_SIDE = 8
_LARGEST_SEGMENT = 65_537
_SMALLEST_COMMENT = 12

# A 16x16 baseline JPEG: SOI, JFIF APP0, DQT, SOF0, DHT, SOS, data, EOI.
_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19i"
    "Z2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj"
    "Y2NjY2NjY2P/wAARCAAQABADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABgT/xAAXEAEAAwAAAAAAAAAAAAAAAAAEACEx"
    "/8QAFAEBAAAAAAAAAAAAAAAAAAAAAP/EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/ADYCZUSAJlScBMqJAEyoH//Z"
)
_AFTER_APP0 = 20


def png(seed: int, width: int = 8, height: int = 8) -> bytes:
    noise = _random(seed)
    rows = b"".join(b"\0" + noise.randbytes(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def gif(seed: int) -> bytes:
    """128 colours and fewer than 128 pixels: every LZW code is then just one byte."""
    noise = _random(seed)
    palette = noise.randbytes(128 * 3)
    pixels = bytes(value & 0x7F for value in noise.randbytes(_SIDE * _SIDE))
    codes = b"\x80" + pixels + b"\x81"
    screen = struct.pack("<HHBBB", _SIDE, _SIDE, 0xF6, 0, 0)
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, _SIDE, _SIDE, 0)
    return b"GIF89a" + screen + palette + frame + bytes([7, len(codes)]) + codes + b"\0;"


def bmp(seed: int) -> bytes:
    pixels = _random(seed).randbytes(3 * _SIDE * _SIDE)
    info = struct.pack("<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    offset = 14 + len(info)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + info + pixels


def jpeg(seed: int, size: int = 12_000) -> bytes:
    """Exactly `size` bytes: one small picture, and comments of seeded noise that make up the rest."""
    room = size - len(_JPEG)
    if room < _SMALLEST_COMMENT:
        raise ValueError(f"a JPEG of {size} bytes: the smallest is {len(_JPEG) + _SMALLEST_COMMENT}")
    return _JPEG[:_AFTER_APP0] + _comments(_random(seed), room) + _JPEG[_AFTER_APP0:]


def _comments(noise: random.Random, room: int) -> bytes:
    count = -(-room // _LARGEST_SEGMENT)
    each, longer = divmod(room, count)
    lengths = (each + (index < longer) for index in range(count))
    return b"".join(b"\xff\xfe" + struct.pack(">H", length - 2) + noise.randbytes(length - 4) for length in lengths)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _random(seed: int) -> random.Random:
    return random.Random(str(seed))  # a string, as -1 and 1 would be the same seed


# 37 x 23 pixels of one colour, by heif-enc 1.15 and cjxl 0.7: Pillow writes neither.
HEIC = base64.b64decode(
    "AAAAGGZ0eXBoZWljAAAAAG1pZjFoZWljAAABrW1ldGEAAAAAAAAAIWhkbHIAAAAAAAAAAHBpY3QAAAAAAAAAAAAAAAAAAAAADnBpdG0AAAAAAAIA"
    "AAAQaWRhdAAAAAAAJQAXAAAAOGlsb2MBAAAAREAAAgABAAAAAAAAAc0AAQAAAAAAAAAmAAIAAQAAAAAAAAABAAAAAAAAAAgAAAA4aWluZgAAAAAA"
    "AgAAABVpbmZlAgAAAQABAABodmMxAAAAABVpbmZlAgAAAAACAABncmlkAAAAANhpcHJwAAAAtmlwY28AAAB2aHZjQwEDcAAAAAAAAAAAAB7wAPz9"
    "+PgAAA8DIAABABhAAQwB//8DcAAAAwCQAAADAAADAB66AkAhAAEAKkIBAQNwAAADAJAAAAMAAAMAHqAggQWW6q6a5uBAQMCAAAADAIAAAAMAhCIA"
    "AQAGRAHBc8GJAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAUaXNwZQAAAAAAAAAlAAAAFwAAABBwaXhpAAAAAAMICAgAAAAaaXBtYQAAAAAAAAACAAEC"
    "gQIAAgIDhAAAABppcmVmAAAAAAAAAA5kaW1nAAIAAQABAAAALm1kYXQAAAAiKAGvBBITTOD46cJoP9Xv7SVf7vJ+0Ksr40mfd7EYkqn/oA=="
)
JXL = base64.b64decode(
    "/wqwAEiAhOJCABKIAgAUAV3lEgAAFSqjjBu8nOv58kOHxbSN6wxttW0BAAAAPICBJYki49gkncAhSayBuJtADwgAgpg3AIAzAAAAgIY1ZQINAFSS"
    "AA=="
)
JXL_IN_BOXES = base64.b64decode(
    "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAABdanhsY/8KsABIgITiQgASiAIAFAFd5RIAABUqo4wbvJzr+fJDh8W0jesMbbVtAQAA"
    "ADyAgSWJIuPYJJ3AIUmsgbibQA8IAIKYNwCAMwAAAICGNWUCDQBUkgA="
)
