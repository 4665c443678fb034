from __future__ import annotations

import msgspec
import pytest

from crawler.errors import FetchError, UsageError
from crawler.outcomes import OUTCOMES, Outcome
from crawler.transforms.transform import Transform, check_size, check_transform


def test_by_default_images_stay_as_they_are() -> None:
    assert Transform().is_nothing
    assert not Transform(resize="border").is_nothing
    assert not Transform(encode="webp").is_nothing
    assert not Transform(max_aspect_ratio=2.0).is_nothing
    assert not Transform(max_aspect_ratio=2.0).changes_pixels


def test_it_travels_as_plain_data() -> None:
    transform = Transform(resize="center_crop", image_size=99, encode="jpg", encode_quality=0, max_aspect_ratio=1.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(transform), type=Transform) == transform


@pytest.mark.parametrize(
    ("options", "size", "outcome"),
    [
        ({"min_image_size": 100}, (500, 99), Outcome.TOO_SMALL),
        ({"min_image_size": 100}, (100, 100), None),
        ({"max_image_area": 10_000}, (101, 100), Outcome.TOO_LARGE),
        ({"max_image_area": 10_000}, (100, 100), None),
        ({"max_aspect_ratio": 2.5}, (251, 100), Outcome.UNWANTED_SHAPE),
        ({"max_aspect_ratio": 2.5}, (100, 251), Outcome.UNWANTED_SHAPE),
        ({"max_aspect_ratio": 2.5}, (250, 100), None),
        ({}, (1, 100_000), None),
        ({"min_image_size": 100, "max_aspect_ratio": 2.0}, (0, 0), None),
    ],
)
def test_images_are_left_out_by_their_size(options: dict[str, float], size: tuple[int, int], outcome: str) -> None:
    transform = Transform(**options)  # type: ignore[arg-type]
    if outcome is None:
        check_size(*size, transform)
        return
    assert outcome in OUTCOMES
    with pytest.raises(FetchError, match=f"{size[0]} x {size[1]} pixels") as caught:
        check_size(*size, transform)
    assert caught.value.outcome == outcome and not caught.value.retriable


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resize": "stretch"}, "--resize stretch: allowed are no, border, keep_ratio"),
        ({"encode": "gif"}, "--encode gif: allowed are jpg, png, webp, avif"),
        ({"downscale_interpolation": "sinc"}, "--downscale-interpolation sinc"),
        ({"animation": "last"}, "--animation last: allowed are first, keep"),
        ({"encode": "jpg", "animation": "keep"}, "a JPEG has one picture"),
        ({"encode": "jpg", "background": "transparent"}, "a JPEG has no alpha"),
        ({"encode": "jpg", "encode_quality": 101}, "of jpg it is 0 to 100"),
        ({"encode": "png", "encode_quality": 95}, "of png it is 0 to 9"),
        ({"encode_quality": 95}, "name it with --encode"),
        ({"image_size": 0}, "--image-size 0: at least 1 pixel"),
        ({"min_image_size": -1}, "--min-image-size -1"),
        ({"max_aspect_ratio": float("nan")}, "--max-aspect-ratio nan"),
        ({"max_aspect_ratio": 0.5}, "--max-aspect-ratio 0.5: .* at least 1"),
        ({"resize": "border", "background": "bluish"}, "--background bluish: a colour"),
    ],
)
def test_what_cannot_be_done_is_said(options: dict[str, object], words: str) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(UsageError, match=words):
        check_transform(Transform(**options))  # type: ignore[arg-type]


def test_without_pillow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install .*\[datasets\]"):
        check_transform(Transform(resize="border"))
    check_transform(Transform(min_image_size=100))


def test_a_pillow_without_avif_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    features = pytest.importorskip("PIL.features")
    monkeypatch.setattr(features, "check_module", lambda name: name != "avif")
    check_transform(Transform(encode="webp"))
    with pytest.raises(UsageError, match="built without it"):
        check_transform(Transform(encode="avif"))
