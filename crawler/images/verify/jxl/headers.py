"""The headers of a whole JPEG XL image (ISO/IEC 18181-1, annexes D and E)."""

from __future__ import annotations

import msgspec

from crawler.images.verify.jxl.bits import ENUM, Bits, Choice, NotWalkable, skip_extensions, skip_name

#: Width to height, by the code of the size header.
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_ALPHA, _SPOT, _CFA = 0, 2, 5
_GREY, _XYB = 1, 2
_CUSTOM = 2
_SIDE: Choice = ((9, 1), (13, 1), (18, 1), (30, 1))
_CHROMATICITY: Choice = ((19, 0), (19, 524_288), (20, 1_048_576), (21, 2_097_152))


class Image(msgspec.Struct):
    """What the headers of the whole say that those of frames depend on."""

    width: int
    height: int
    xyb: bool = True
    animated: bool = False
    timecodes: bool = False
    has_profile: bool = False
    channels: int = 0  #: beside those of colour


def read_headers(bits: Bits, image: Image) -> None:
    """Read what follows the size header; raises NotWalkable where a colour profile or a preview does."""
    _metadata(bits, image)
    _transform(bits, image)
    if image.has_profile:
        raise NotWalkable


def read_size(bits: Bits) -> Image:
    """Return an image of the dimensions that the size header says (D.2)."""
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choose(_SIDE)

    height = side()
    across, down = _RATIOS[bits.take(3)]
    return Image(height * across // down if across else side(), height)


def _metadata(bits: Bits, image: Image) -> None:
    if bits.take(1):
        return
    more = bits.take(1)
    if more:
        bits.take(3)
        if bits.take(1):
            read_size(bits)
        if bits.take(1):
            raise NotWalkable
        if bits.take(1):
            _animation(bits, image)
    _depth(bits)
    bits.take(1)
    image.channels = bits.choose(((0, 0), (0, 1), (4, 2), (12, 1)))
    for _ in range(image.channels):
        _channel(bits)
    image.xyb = bool(bits.take(1))
    image.has_profile = _colour(bits)
    if more and not bits.take(1):
        bits.take(16 + 16 + 1 + 16)
    skip_extensions(bits)


def _animation(bits: Bits, image: Image) -> None:
    image.animated = True
    bits.choose(((0, 100), (0, 1000), (10, 1), (30, 1)))
    bits.choose(((0, 1), (0, 1001), (8, 1), (10, 1)))
    bits.choose(((0, 0), (3, 0), (16, 0), (32, 0)))
    image.timecodes = bool(bits.take(1))


def _depth(bits: Bits) -> None:
    if bits.take(1):
        bits.choose(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.take(4)
    else:
        bits.choose(((0, 8), (0, 10), (0, 12), (6, 1)))


def _channel(bits: Bits) -> None:
    if bits.take(1):
        return
    kind = bits.choose(ENUM)
    _depth(bits)
    bits.choose(((0, 0), (0, 3), (0, 4), (3, 1)))
    skip_name(bits)
    if kind == _ALPHA:
        bits.take(1)
    elif kind == _SPOT:
        bits.take(4 * 16)
    elif kind == _CFA:
        bits.choose(((0, 1), (2, 0), (4, 3), (8, 19)))


def _colour(bits: Bits) -> bool:
    """Read how colours are meant, and tell whether a profile follows."""
    if bits.take(1):
        return False
    has_profile, space = bits.take(1), bits.choose(ENUM)
    if has_profile:
        return True
    if space != _XYB and bits.choose(ENUM) == _CUSTOM:
        _points(bits, 1)
    if space not in (_GREY, _XYB) and bits.choose(ENUM) == _CUSTOM:
        _points(bits, 3)
    if space != _XYB:
        if bits.take(1):
            bits.take(24)
        else:
            bits.choose(ENUM)
    bits.choose(ENUM)
    return False


def _points(bits: Bits, count: int) -> None:
    for _ in range(2 * count):
        bits.choose(_CHROMATICITY)


def _transform(bits: Bits, image: Image) -> None:
    if bits.take(1):
        return
    if image.xyb and not bits.take(1):
        bits.take(16 * 16)
    given = bits.take(3)
    bits.skip(16 * sum(weights for number, weights in enumerate((15, 55, 210)) if given >> number & 1))
