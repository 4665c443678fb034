"""Frames of a JPEG XL codestream (ISO/IEC 18181-1, annex F): their headers, and how long what follows is."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crawler.errors import NotAnImage
from crawler.images.verify.jxl.bits import Bits, Choice, NotWalkable, skip_extensions, skip_name
from crawler.images.verify.jxl.headers import Image

#: Entries of a table of contents; the reference decoder takes as many.
_MOST_SECTIONS = 65_536
_REGULAR, _LOW_FREQUENCY, _REFERENCE, _PROGRESSIVE = range(4)
_USES_LOW_FREQUENCY_FRAME = 32
_REPLACE, _BLEND, _WEIGHTED, _MULTIPLY = 0, 2, 3, 4
_SCALE: Choice = ((0, 1), (0, 2), (0, 4), (0, 8))
_UP_TO_3: Choice = ((0, 0), (0, 1), (0, 2), (0, 3))
_CROP: Choice = ((8, 0), (11, 256), (14, 2304), (30, 18688))
_SECTION: Choice = ((10, 0), (14, 1024), (22, 17_408), (30, 4_211_712))


class _Frame(msgspec.Struct):
    """What a frame's header says that its table of contents depends on, as it is where nothing is said."""

    width: int
    height: int
    kind: int = _REGULAR
    modular: bool = False
    chroma: tuple[int, ...] = (0, 0, 0)
    upsampling: int = 1
    group_shift: int = 1
    passes: int = 1
    level: int = 0
    partial: bool = False
    last: bool = True

    def sections(self) -> int:
        """Return the number of entries of the table of contents (F.3)."""
        width, height = (_up(side, 8**self.level) for side in (self.width, self.height))
        width, height = _up(width, self.upsampling), _up(height, self.upsampling)
        group = 128 << self.group_shift
        groups = _up(width, group) * _up(height, group)
        if groups == 1 and self.passes == 1:
            return 1
        across, down = int(bool({1, 2} & {*self.chroma})), int(bool({1, 3} & {*self.chroma}))
        blocks = (_up(width, 8 << across) << across, _up(height, 8 << down) << down)
        return 2 + _up(blocks[0], group) * _up(blocks[1], group) + groups * self.passes


def _up(number: int, divisor: int) -> int:
    return -(-number // divisor)


def skip_frame(bits: Bits, image: Image, left: Iterator[None]) -> bool:
    """Walk over a frame, and tell whether it is the last."""
    frame = _Frame(image.width, image.height)
    if not bits.take(1):
        _header(bits, image, frame)
    sections = frame.sections()
    if sections > _MOST_SECTIONS:
        raise NotAnImage(f"a JPEG XL frame of {sections:,} sections")
    if bits.take(1):
        raise NotWalkable
    bits.align()
    size = 0
    for _ in range(sections):
        next(left)
        size += bits.choose(_SECTION)
    bits.align()
    bits.skip(8 * size)
    return frame.last


def _header(bits: Bits, image: Image, frame: _Frame) -> None:
    frame.kind, frame.modular = bits.take(2), bool(bits.take(1))
    flags = bits.long()
    ycc = not image.xyb and bool(bits.take(1))
    if not flags & _USES_LOW_FREQUENCY_FRAME:
        if ycc:
            frame.chroma = (bits.take(2), bits.take(2), bits.take(2))
        frame.upsampling = bits.choose(_SCALE)
        for _ in range(image.channels):
            bits.choose(_SCALE)
    if frame.modular:
        frame.group_shift = bits.take(2)
    elif image.xyb:
        bits.take(3 + 3)
    if frame.kind != _REFERENCE:
        frame.passes = _passes(bits)
    if frame.kind == _LOW_FREQUENCY:
        frame.level = 1 + bits.take(2)
    elif bits.take(1):
        _crop(bits, image, frame)
    _order(bits, image, frame)
    skip_name(bits)
    _filter(bits, frame.modular)
    skip_extensions(bits)


def _passes(bits: Bits) -> int:
    passes = bits.choose(((0, 1), (0, 2), (0, 3), (3, 4)))
    if passes > 1:
        steps_down = bits.choose(((0, 0), (0, 1), (0, 2), (1, 3)))
        bits.take(2 * (passes - 1))
        for _ in range(steps_down):
            bits.choose(_SCALE)
        for _ in range(steps_down):
            bits.choose(((0, 0), (0, 1), (0, 2), (3, 0)))
    return passes


def _crop(bits: Bits, image: Image, frame: _Frame) -> None:
    left = top = 0
    placed = frame.kind in (_REGULAR, _PROGRESSIVE)
    if placed:
        left, top = (_signed(bits.choose(_CROP)) for _ in range(2))
    frame.width, frame.height = bits.choose(_CROP), bits.choose(_CROP)
    frame.partial = placed and (
        left > 0 or top > 0 or frame.width + left < image.width or frame.height + top < image.height
    )


def _signed(packed: int) -> int:
    return packed >> 1 if packed % 2 == 0 else -(packed + 1 >> 1)


def _order(bits: Bits, image: Image, frame: _Frame) -> None:
    """Read how a frame is laid over those before it, and which may refer to it."""
    placed = frame.kind in (_REGULAR, _PROGRESSIVE)
    mode, duration, reference = _REPLACE, 0, 0
    frame.last = False
    if placed:
        mode = _blending(bits, image, frame)
        for _ in range(image.channels):
            _blending(bits, image, frame)
        if image.animated:
            duration = bits.choose(((0, 0), (0, 1), (8, 0), (32, 0)))
            bits.take(32 if image.timecodes else 0)
        frame.last = bool(bits.take(1))
    if frame.kind != _LOW_FREQUENCY and not frame.last:
        reference = bits.choose(_UP_TO_3)
    referred = not frame.last and (not duration or reference)
    if frame.kind == _REFERENCE or (placed and referred and mode == _REPLACE and not frame.partial):
        bits.take(1)


def _blending(bits: Bits, image: Image, frame: _Frame) -> int:
    mode = bits.choose(((0, 0), (0, 1), (0, 2), (2, 3)))
    with_alpha = bool(image.channels) and mode in (_BLEND, _WEIGHTED)
    if with_alpha:
        bits.choose(((0, 0), (0, 1), (0, 2), (3, 3)))
    if with_alpha or mode == _MULTIPLY:
        bits.take(1)
    if mode != _REPLACE or frame.partial:
        bits.choose(_UP_TO_3)
    return mode


def _filter(bits: Bits, modular: bool) -> None:
    """Read how edges are smoothed (F.2)."""
    if bits.take(1):
        return
    if bits.take(1) and bits.take(1):
        bits.take(6 * 16)
    if bits.take(2):
        if not modular and bits.take(1):
            bits.take(8 * 16)
        if bits.take(1):
            bits.take(5 * 16)
        if bits.take(1):
            bits.take((3 if modular else 4) * 16)
        if modular:
            bits.take(16)
    skip_extensions(bits)
