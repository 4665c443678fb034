"""Pictures whose pixels tell where they come from, made and read with Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from crawler.transforms.imaging import Transformed, transformed
from crawler.transforms.transform import Transform

MOST = 10_000_000


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downward; blue is 90."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).round()[None, :]
    pixels[..., 1] = np.linspace(0, 255, height).round()[:, None]
    pixels[..., 2] = 90
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def decoded(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


def array(image: Image.Image, mode: str = "RGB") -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(image.convert(mode)).astype(np.int64)


def made(image: Image.Image | bytes, **options: Any) -> Image.Image:
    """Return an image as it is transformed, in PNG unless another format is named."""
    return decoded(result(image, **{"encode": "png", "encode_quality": None, **options}).body)


def result(image: Image.Image | bytes, **options: Any) -> Transformed:
    body = image if isinstance(image, bytes) else encoded(image)
    return transformed(body, Transform(**options), MOST)
