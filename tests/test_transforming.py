"""The settings of transforms and hashes, what of them is refused, and what is done as they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from crawler.building import build_spec
from crawler.checks import transform_of
from crawler.errors import UsageError
from crawler.settings import CrawlSettings, Transforming
from crawler.spec import Spec
from crawler.transforms.transform import ANIMATIONS, ENCODES, INTERPOLATIONS, RESIZES, Transform

pytest.importorskip("PIL")
pytest.importorskip("numpy")
pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def spec(**more: Any) -> Spec:
    return build_spec(CrawlSettings(sites=("a.example",), **more))


def test_every_setting_is_a_transforms_and_has_its_default() -> None:
    assert transform_of(Transforming()) == Transform()
    assert Transform().is_nothing
    names = set(Transform.__struct_fields__)
    assert names == {name for name in vars(Transforming()) if name in names} == set(vars(Transforming()))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("resize", RESIZES), ("upscale_interpolation", INTERPOLATIONS), ("downscale_interpolation", INTERPOLATIONS),
        ("animation", ANIMATIONS),
    ],
)  # fmt: skip
def test_the_flags_allow_what_transforms_know(name: str, allowed: tuple[str, ...]) -> None:
    assert get_args(get_type_hints(Transforming)[name]) == allowed


def test_the_flag_of_formats_allows_what_transforms_write() -> None:
    literal, none = get_args(get_type_hints(Transforming)["encode"])
    assert get_args(literal) == ENCODES and none is type(None)


def test_a_job_has_what_is_said() -> None:
    said: dict[str, Any] = {
        "resize": "center_crop", "image_size": 64, "resize_only_if_bigger": True, "upscale_interpolation": "cubic",
        "downscale_interpolation": "lanczos", "encode": "webp", "encode_quality": 80, "skip_reencode": True,
        "animation": "keep", "background": "transparent", "min_image_size": 5, "max_image_area": 10_000,
        "max_aspect_ratio": 2.5,
    }  # fmt: skip
    made = spec(store="shards", phash=True, **said)
    assert made.transform == Transform(**said) and made.phash
    assert spec(store="shards").transform == Transform() and not spec().phash


@pytest.mark.parametrize(
    "more",
    [
        {"resize": "border"}, {"encode": "jpg"}, {"min_image_size": 10}, {"max_image_area": 10},
        {"max_aspect_ratio": 3.0},
    ],
)  # fmt: skip
def test_files_keep_the_originals(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"files keep the originals: .* --store shards, .* python -m crawler\.export"):
        spec(**more)
    spec(store="shards", **more)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"encode": "jpg", "animation": "keep"}, "--animation keep"),
        ({"encode": "jpg", "background": "transparent"}, "--background transparent"),
        ({"resize": "border", "background": "nocolour"}, "--background nocolour"),
        ({"encode_quality": 80}, "--encode-quality"),
        ({"encode": "png", "encode_quality": 80}, "of png it is 0 to 9"),
        ({"max_aspect_ratio": 0.5}, "--max-aspect-ratio"),
        ({"max_aspect_ratio": float("nan")}, "--max-aspect-ratio"),
        ({"image_size": 512}, "--image-size is of --resize"),
        ({"resize": "border", "image_size": 0}, "--image-size"),
        ({"resize": "border", "image_size": 2**64}, "--image-size"),
        ({"min_image_size": -1}, "--min-image-size"),
        ({"max_image_area": 10**30}, "--max-image-area"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        spec(store="shards", **more)


@pytest.mark.parametrize("missing", ["PIL", "numpy"])
def test_a_hash_needs_its_libraries(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UsageError, match=r"--phash needs Pillow and numpy: pip install .*\[datasets\]"):
        spec(phash=True)
