"""A perceptual hash: two of 128 bits, of the whole picture and of its middle.

Each bit tells whether one of the 128 coarsest coefficients of a discrete cosine transform of 32 x 32 grey pixels is
above their median, the coarsest first. What is resized or encoded again differs in few bits. What is cropped differs in
many, for each coefficient moves by its frequency; so a picture that lost about `MARGIN` of each side is found as the
middle of the one that it was cut from. Of photographs, drawings, icons and texts that lost 2 to 5% of each side, 84%
are found at the default distance, and 13% without the middle. 64 bits are too few for large jobs: in 10^7 images chance
alone brings hundreds of pairs that differ in 6 of them, and none that differ in 16 of 128.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any, TypeAlias

from crawler.errors import Undecodable, UsageError

if TYPE_CHECKING:
    import numpy
    from PIL import Image

    Numbers: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

#: Bits of each of the two hashes; both together are `DIGITS` of hexadecimal.
BITS = 128
DIGITS = 2 * BITS // 4
#: The share of each side that the middle leaves out: between none and 5%, crops are at most 1.75% from one of the two.
MARGIN = 0.035
#: Grey levels (of 256) that half of the coefficients exceed. Below it JPEG's own noise decides the bits, and of copies
#: that were encoded again fewer than half are found.
DETAIL = 1.5
_SIDE = 32
#: Pixels to which a JPEG is decoded at least, which halves the time for one of 1024 x 768.
_DRAFT = (96, 96)


def perceptual_hash(body: bytes, max_pixels: int = 0) -> str:
    """Return the hash of an image as hexadecimal digits; `""` where it has too little detail to be told from others.

    Blank images, plain gradients and the like have no hash, as they would all be alike. Of an animation the first frame
    counts, transparency is white, and the picture stands as EXIF says. A JPEG of 320 x 240 (12 kB) takes 0.5 ms, one of
    1024 x 768 (110 kB) 1.6 ms. Raises Undecodable, also for more than `max_pixels` (0: any number), and UsageError
    where Pillow or numpy is missing.
    """
    try:
        import numpy
        import PIL  # noqa: F401
    except ImportError as error:
        raise UsageError("--phash needs Pillow and numpy: pip install 'distributed-image-crawler[datasets]'") from error
    grey = _decoded(body, max_pixels)
    width, height = grey.width * MARGIN, grey.height * MARGIN
    middle = (width, height, grey.width - width, grey.height - height)
    coefficients = numpy.stack([_coefficients(grey, box) for box in ((0, 0, *grey.size), middle)])
    if numpy.median(numpy.abs(coefficients), axis=1).min() < DETAIL:
        return ""
    bits = coefficients > numpy.median(coefficients, axis=1, keepdims=True)
    return numpy.packbits(bits).tobytes().hex()


def _decoded(body: bytes, max_pixels: int) -> Image.Image:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body)) as image:
            if not max_pixels or image.width * image.height <= max_pixels:
                return _grey(image)
    except MemoryError as error:
        raise Undecodable("it cannot be decoded: it needs more memory than it may have") from error
    # Told: Pillow's plugins raise whatever they meet, and each of them means that the image is broken.
    except Exception as error:
        raise Undecodable(f"it cannot be decoded: {type(error).__name__}: {error}") from error
    raise Undecodable(f"it is not decoded: {image.width} x {image.height} are more than {max_pixels:,} pixels")


def _grey(image: Image.Image) -> Image.Image:
    """Return the picture as it is seen, in grey; a JPEG no larger than it takes."""
    from PIL import Image, ImageOps

    image.draft("L", _DRAFT)
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # 16 bits and more a pixel, which Pillow would cut off at 255
        values = image.convert("F")
        low, high = values.getextrema()
        scale = 255 / max(high - low, 1)  # type: ignore[operator]
        return values.point(lambda value: value * scale - low * scale).convert("L")  # type: ignore[operator]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def _coefficients(grey: Image.Image, box: tuple[float, float, float, float]) -> Numbers:
    """Return the coarsest coefficients of what is in a box, but for the mean."""
    import numpy
    from PIL import Image

    small = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX, box=box)
    cosines, places = _transform()
    coefficients: Numbers = (cosines @ numpy.asarray(small, dtype=numpy.float32) @ cosines.T).ravel()[places]
    return coefficients


@functools.cache
def _transform() -> tuple[Numbers, numpy.ndarray[Any, numpy.dtype[numpy.intp]]]:
    """Return the matrix of the orthonormal DCT-II, and where the coarsest coefficients are."""
    import numpy

    frequencies, places = numpy.mgrid[:_SIDE, :_SIDE]
    cosines = numpy.cos(numpy.pi * frequencies * (2 * places + 1) / (2 * _SIDE)) * (2 / _SIDE) ** 0.5
    coarseness = (frequencies**2 + places**2).ravel()
    return cosines.astype(numpy.float32), numpy.argsort(coarseness, kind="stable")[1 : BITS + 1]
