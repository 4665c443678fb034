from __future__ import annotations

from typing import Any

import pytest

from crawler.errors import FetchError
from crawler.images.checking import checked
from crawler.outcomes import Outcome
from crawler.spec import Spec
from servers.pictures import jpeg, png

ACTIVE = b"<svg width='9' height='9'><script/></svg>"


@pytest.mark.parametrize(
    ("body", "settings", "outcome", "says"),
    [
        (b"<html>", {}, Outcome.NOT_AN_IMAGE, "HTML"),
        (jpeg(1)[:-1], {}, Outcome.TRUNCATED, "end marker"),
        (png(1), {"formats": ("jpeg",)}, Outcome.UNWANTED_FORMAT, "png"),
        (png(1), {"min_width": 9}, Outcome.TOO_SMALL, "8 x 8"),
        (png(1), {"min_height": 9}, Outcome.TOO_SMALL, "8 x 8"),
        (png(1), {"min_bytes": 10_000}, Outcome.TOO_SMALL, "bytes"),
        (png(1), {"max_pixels": 63}, Outcome.TOO_LARGE, "8 x 8 pixels"),
        (ACTIVE, {"svg": "safe"}, Outcome.UNWANTED_FORMAT, "runs or loads"),
    ],
)
def test_what_is_refused(body: bytes, settings: dict[str, Any], outcome: str, says: str) -> None:
    with pytest.raises(FetchError, match=says) as caught:
        checked(body, Spec(job="j", **settings))
    assert caught.value.outcome == outcome and not caught.value.retriable


def test_what_is_taken() -> None:
    assert checked(png(1), Spec(job="j", max_pixels=64, min_width=8)).format == "png"
    assert checked(png(1), Spec(job="j", max_pixels=0)).format == "png"
    assert checked(ACTIVE, Spec(job="j")).active
    assert not checked(b"<svg/>", Spec(job="j", svg="safe", min_width=9)).active, "of unknown size"


def test_a_claim_of_a_huge_picture_is_refused_unread() -> None:
    claims = bytearray(png(1))
    claims[16:24] = b"\x7f\xff\xff\xff" * 2
    with pytest.raises(FetchError, match="2147483647 x 2147483647 pixels"):
        checked(bytes(claims), Spec(job="j"))
