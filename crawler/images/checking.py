"""Whether what came is an image, and one that the job wants."""

from __future__ import annotations

from crawler.errors import BadImage, FetchError, NotAnImage, Truncated
from crawler.images.verify import Picture, verify
from crawler.outcomes import Outcome
from crawler.spec import Spec


def checked(body: bytes, spec: Spec) -> Picture:
    """Return what the structure of an image says; raises FetchError where it is none, or none that is wanted."""
    try:
        format, width, height, active = picture = verify(body)
    except BadImage as error:
        raise refusal(error) from error
    if spec.formats and format not in spec.formats:
        raise FetchError(Outcome.UNWANTED_FORMAT, f"it is {format}")
    if active and spec.svg == "safe":
        raise FetchError(Outcome.UNWANTED_FORMAT, "it is an SVG that runs or loads something")
    if 0 < spec.max_pixels < width * height and format != "svg":
        raise FetchError(Outcome.TOO_LARGE, _size(picture, body))
    if 0 < width < spec.min_width or 0 < height < spec.min_height or len(body) < spec.min_bytes:
        raise FetchError(Outcome.TOO_SMALL, _size(picture, body))
    return picture


def _size(picture: Picture, body: bytes) -> str:
    return f"{picture.width} x {picture.height} pixels, {len(body)} bytes"


def refusal(error: BadImage) -> FetchError:
    """Return how an image ends that is none, or not whole."""
    outcomes = {NotAnImage: Outcome.NOT_AN_IMAGE, Truncated: Outcome.TRUNCATED}
    return FetchError(outcomes.get(type(error), Outcome.UNDECODABLE), str(error))
