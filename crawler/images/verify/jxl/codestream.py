"""JPEG XL codestreams (ISO/IEC 18181-1), walked from frame to frame.

Pixels are not decoded: each frame's table of contents says how long its sections are, and so where the file ends.
"""

from __future__ import annotations

from crawler.errors import NotAnImage
from crawler.images.verify.jxl.bits import Bits, NotWalkable
from crawler.images.verify.jxl.frame import skip_frame
from crawler.images.verify.jxl.headers import read_headers, read_size
from crawler.images.verify.picture import MOST_FRAMES, Picture, steps

SIGNATURE = b"\xff\x0a"


def walk(data: bytes) -> Picture:
    """Return the dimensions after walking from frame to frame to the last.

    What is entropy-coded in the headers (ICC profiles, permuted sections, previews) ends the walk.
    """
    bits = Bits(data)
    bits.skip(8 * len(SIGNATURE))
    image = read_size(bits)
    picture = Picture("jxl", image.width, image.height)
    try:
        read_headers(bits, image)
        left, frames = steps(), 0
        while True:
            next(left)
            frames += 1
            if frames > MOST_FRAMES:
                raise NotAnImage(f"more than {MOST_FRAMES:,} frames")
            bits.align()
            if skip_frame(bits, image, left):
                return picture
    except NotWalkable:
        return picture
