"""JPEG XL codestreams: their headers and tables of contents, bit by bit (ISO/IEC 18181-1, annexes B to F).

Pixels are not decoded: each frame's table of contents says how long its sections are, and so where the file ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from crawler.errors import NotAnImage, Truncated
from crawler.images.verify.picture import MOST_FRAMES, Picture, steps

SIGNATURE = b"\xff\x0a"
#: Width to height, by the code of the size header.
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
#: Entries of a table of contents; the reference decoder takes as many.
_MOST_SECTIONS = 65_536
_REGULAR, _LOW_FREQUENCY, _REFERENCE, _PROGRESSIVE = range(4)
_USES_LOW_FREQUENCY_FRAME = 32
_REPLACE, _BLEND, _WEIGHTED, _MULTIPLY = 0, 2, 3, 4
_ALPHA, _SPOT, _CFA = 0, 2, 5
_GREY, _XYB = 1, 2
_CUSTOM = 2

# What a 32-bit number is, by its two-bit code (B.2.2): (bits, offset).
_Choice = tuple[tuple[int, int], ...]
_SIDE: _Choice = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM: _Choice = ((0, 0), (0, 1), (4, 2), (6, 18))
_SCALE: _Choice = ((0, 1), (0, 2), (0, 4), (0, 8))
_UP_TO_3: _Choice = ((0, 0), (0, 1), (0, 2), (0, 3))
_CROP: _Choice = ((8, 0), (11, 256), (14, 2304), (30, 18688))
_CHROMATICITY: _Choice = ((19, 0), (19, 524_288), (20, 1_048_576), (21, 2_097_152))
_SECTION: _Choice = ((10, 0), (14, 1024), (22, 17_408), (30, 4_211_712))


class _NotWalkable(Exception):
    """What is entropy-coded stands between us and the lengths."""


class _Bits:
    """Reads bits from the lowest of each byte on; raises Truncated at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> int:
        start, end = self.at >> 3, (self.at + count + 7) >> 3
        if end > len(self.data):
            raise Truncated(f"the JPEG XL ends at byte {len(self.data)} inside its headers")
        value = int.from_bytes(self.data[start:end], "little") >> (self.at & 7) & (1 << count) - 1
        self.at += count
        return value

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > 8 * len(self.data):
            raise Truncated(f"the JPEG XL ends at byte {len(self.data)} before its last section")

    def choose(self, choices: _Choice) -> int:
        bits, offset = choices[self.take(2)]
        return offset + self.take(bits)

    def long(self) -> int:
        """Return a 64-bit number (B.2.4)."""
        code = self.take(2)
        if code < 3:
            return (0, 1 + self.take(4) if code == 1 else 0, 17 + self.take(8) if code == 2 else 0)[code]
        value, shift = self.take(12), 12
        while self.take(1):
            bits = 4 if shift == 60 else 8
            value |= self.take(bits) << shift
            shift += bits
            if shift > 60:
                break
        return value

    def align(self) -> None:
        self.at = (self.at + 7) & ~7


@dataclass(slots=True)
class _Image:
    """What the headers of the whole say that those of frames depend on."""

    width: int
    height: int
    xyb: bool = True
    animated: bool = False
    timecodes: bool = False
    extra: list[int] = field(default_factory=list)  #: shift of each extra channel


def walk(data: bytes) -> Picture:
    """Return the dimensions after walking from frame to frame to the last.

    What is entropy-coded in the headers (ICC profiles, permuted sections, previews) ends the walk.
    """
    bits = _Bits(data)
    bits.skip(8 * len(SIGNATURE))
    image = _size(bits)
    picture = Picture("jxl", image.width, image.height)
    try:
        _metadata(bits, image)
        _transform(bits, image)
        left, frames = steps(), 0
        while True:
            next(left)
            frames += 1
            if frames > MOST_FRAMES:
                raise NotAnImage(f"more than {MOST_FRAMES:,} frames")
            bits.align()
            if _frame(bits, image, left):
                return picture
    except _NotWalkable:
        return picture


def _size(bits: _Bits) -> _Image:
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choose(_SIDE)

    height = side()
    across, down = _RATIOS[bits.take(3)]
    return _Image(height * across // down if across else side(), height)


# Headers of the whole (annex D)


def _metadata(bits: _Bits, image: _Image) -> None:
    if bits.take(1):
        return
    more = bits.take(1)
    if more:
        bits.take(3)
        if bits.take(1):
            _size(bits)
        if bits.take(1):
            raise _NotWalkable
        if bits.take(1):
            _animation(bits, image)
    _depth(bits)
    bits.take(1)
    for _ in range(bits.choose(((0, 0), (0, 1), (4, 2), (12, 1)))):
        image.extra.append(_channel(bits))
    image.xyb = bool(bits.take(1))
    has_profile = _colour(bits)
    if more and not bits.take(1):
        bits.take(16 + 16 + 1 + 16)
    _extensions(bits)
    if has_profile:
        raise _NotWalkable


def _animation(bits: _Bits, image: _Image) -> None:
    image.animated = True
    bits.choose(((0, 100), (0, 1000), (10, 1), (30, 1)))
    bits.choose(((0, 1), (0, 1001), (8, 1), (10, 1)))
    bits.choose(((0, 0), (3, 0), (16, 0), (32, 0)))
    image.timecodes = bool(bits.take(1))


def _depth(bits: _Bits) -> None:
    if bits.take(1):
        bits.choose(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.take(4)
    else:
        bits.choose(((0, 8), (0, 10), (0, 12), (6, 1)))


def _channel(bits: _Bits) -> int:
    """Read an extra channel, and return its shift."""
    if bits.take(1):
        return 0
    kind = bits.choose(_ENUM)
    _depth(bits)
    shift = bits.choose(((0, 0), (0, 3), (0, 4), (3, 1)))
    _name(bits)
    if kind == _ALPHA:
        bits.take(1)
    elif kind == _SPOT:
        bits.take(4 * 16)
    elif kind == _CFA:
        bits.choose(((0, 1), (2, 0), (4, 3), (8, 19)))
    return shift


def _name(bits: _Bits) -> None:
    bits.skip(8 * bits.choose(((0, 0), (4, 0), (5, 16), (10, 48))))


def _colour(bits: _Bits) -> bool:
    """Read how colours are meant, and tell whether a profile follows."""
    if bits.take(1):
        return False
    has_profile, space = bits.take(1), bits.choose(_ENUM)
    if has_profile:
        return True
    if space != _XYB and bits.choose(_ENUM) == _CUSTOM:
        _points(bits, 1)
    if space not in (_GREY, _XYB) and bits.choose(_ENUM) == _CUSTOM:
        _points(bits, 3)
    if space != _XYB:
        if bits.take(1):
            bits.take(24)
        else:
            bits.choose(_ENUM)
    bits.choose(_ENUM)
    return False


def _points(bits: _Bits, count: int) -> None:
    for _ in range(2 * count):
        bits.choose(_CHROMATICITY)


def _extensions(bits: _Bits) -> None:
    present = bits.long()
    sizes = [bits.long() for number in range(64) if present >> number & 1]
    bits.skip(sum(sizes))


def _transform(bits: _Bits, image: _Image) -> None:
    if bits.take(1):
        return
    if image.xyb and not bits.take(1):
        bits.take(16 * 16)
    given = bits.take(3)
    bits.skip(16 * sum(weights for number, weights in enumerate((15, 55, 210)) if given >> number & 1))


# Frames (annex F)


@dataclass(slots=True)
class _Frame:
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


def _frame(bits: _Bits, image: _Image, left: Iterator[None]) -> bool:
    """Walk over a frame, and tell whether it is the last."""
    frame = _Frame(image.width, image.height)
    if not bits.take(1):
        _header(bits, image, frame)
    sections = frame.sections()
    if sections > _MOST_SECTIONS:
        raise NotAnImage(f"a JPEG XL frame of {sections:,} sections")
    if bits.take(1):
        raise _NotWalkable
    bits.align()
    size = 0
    for _ in range(sections):
        next(left)
        size += bits.choose(_SECTION)
    bits.align()
    bits.skip(8 * size)
    return frame.last


def _header(bits: _Bits, image: _Image, frame: _Frame) -> None:
    frame.kind, frame.modular = bits.take(2), bool(bits.take(1))
    flags = bits.long()
    ycc = not image.xyb and bool(bits.take(1))
    if not flags & _USES_LOW_FREQUENCY_FRAME:
        if ycc:
            frame.chroma = (bits.take(2), bits.take(2), bits.take(2))
        frame.upsampling = bits.choose(_SCALE)
        for _ in image.extra:
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
    _name(bits)
    _filter(bits, frame.modular)
    _extensions(bits)


def _passes(bits: _Bits) -> int:
    passes = bits.choose(((0, 1), (0, 2), (0, 3), (3, 4)))
    if passes > 1:
        steps_down = bits.choose(((0, 0), (0, 1), (0, 2), (1, 3)))
        bits.take(2 * (passes - 1))
        for _ in range(steps_down):
            bits.choose(_SCALE)
        for _ in range(steps_down):
            bits.choose(((0, 0), (0, 1), (0, 2), (3, 0)))
    return passes


def _crop(bits: _Bits, image: _Image, frame: _Frame) -> None:
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


def _order(bits: _Bits, image: _Image, frame: _Frame) -> None:
    """Read how a frame is laid over those before it, and which may refer to it."""
    placed = frame.kind in (_REGULAR, _PROGRESSIVE)
    mode, duration, reference = _REPLACE, 0, 0
    frame.last = False
    if placed:
        mode = _blending(bits, image, frame)
        for _ in image.extra:
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


def _blending(bits: _Bits, image: _Image, frame: _Frame) -> int:
    mode = bits.choose(((0, 0), (0, 1), (0, 2), (2, 3)))
    with_alpha = bool(image.extra) and mode in (_BLEND, _WEIGHTED)
    if with_alpha:
        bits.choose(((0, 0), (0, 1), (0, 2), (3, 3)))
    if with_alpha or mode == _MULTIPLY:
        bits.take(1)
    if mode != _REPLACE or frame.partial:
        bits.choose(_UP_TO_3)
    return mode


def _filter(bits: _Bits, modular: bool) -> None:
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
    _extensions(bits)
