from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crawler.account import Counts, SiteCounts
from crawler.errors import CrawlerError
from crawler.limits import EXIT_LIMIT, EXIT_TROUBLE, Limits, exit_code, saved
from crawler.model import State


class Disk(NamedTuple):
    free: float


def counts(**more: Any) -> Counts:
    values: dict[str, Any] = {"run": 1, "state": State.OPEN, "began": 0.0, "ended": 0.0, **more}
    return Counts(**values)


def limits(*, max_time: float = 0, max_images: int = 0, max_bytes: float = 0, min_free: float = 0) -> Limits:
    return Limits(max_time, max_images, max_bytes, min_free)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_exit_codes_are_those_of_the_readme() -> None:
    assert (EXIT_TROUBLE, EXIT_LIMIT) == (1, 3)


class TestLimits:
    def test_without_one_nothing_is_reached(self, clock: list[float], tmp_path: Path) -> None:
        none = limits()
        clock[0] += 1e9
        assert none.reached(counts(images={"success": 10**9}, bytes=10**18), tmp_path / "missing") == ""

    def test_time_counts_from_the_beginning(self, clock: list[float], tmp_path: Path) -> None:
        limit = limits(max_time=60.0)
        clock[0] += 60.0
        assert limit.reached(counts(), tmp_path) == ""
        clock[0] += 0.1
        assert limit.reached(counts(), tmp_path) == "--max-time"

    def test_images_are_those_that_were_saved_in_this_run(self, tmp_path: Path) -> None:
        limit = limits(max_images=3)
        assert limit.reached(counts(images={"success": 2, "http_404": 900}, already_there=900), tmp_path) == ""
        assert limit.reached(counts(images={"success": 2, "reported": 1}), tmp_path) == "--max-images"
        assert limit.reached(counts(images={"success": 4}), tmp_path) == "--max-images"

    def test_bytes(self, tmp_path: Path) -> None:
        limit = limits(max_bytes=1000.0)
        assert limit.reached(counts(bytes=999), tmp_path) == ""
        assert limit.reached(counts(bytes=1000), tmp_path) == "--max-bytes"

    def test_free_space_is_that_of_the_output(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        free = {tmp_path: Disk(1000)}
        monkeypatch.setattr(shutil, "disk_usage", free.__getitem__)
        limit = limits(min_free=1000.0)
        assert limit.reached(counts(), tmp_path) == ""
        free[tmp_path] = Disk(999)
        assert limit.reached(counts(), tmp_path) == "--min-free"

    def test_the_real_disk_is_asked(self, tmp_path: Path) -> None:
        assert limits(min_free=1.0).reached(counts(), tmp_path) == ""
        assert limits(min_free=1e30).reached(counts(), tmp_path) == "--min-free"

    def test_a_disk_that_is_gone_is_an_error_of_ours(self, tmp_path: Path) -> None:
        with pytest.raises(CrawlerError, match="missing"):
            limits(min_free=1.0).reached(counts(), tmp_path / "missing")

    def test_one_is_named_where_several_are_reached(self, clock: list[float], tmp_path: Path) -> None:
        limit = limits(max_time=1.0, max_images=1, max_bytes=1.0, min_free=1e30)
        clock[0] += 2.0
        assert limit.reached(counts(images={"success": 1}, bytes=1), tmp_path) == "--max-time"


def test_saved_is_what_is_accounted_for_as_there() -> None:
    assert saved(counts()) == 0
    assert saved(counts(images={"success": 3, "reported": 2, "reported_error": 7, "unstorable": 1})) == 5


class TestExitCode:
    @pytest.mark.parametrize(
        ("images", "there", "fail_above", "expected"),
        [
            ({}, 0, 20.0, 0),
            ({"success": 5}, 0, 0.0, 0),
            ({"success": 8, "http_404": 2}, 0, 20.0, 0),
            ({"success": 79, "http_404": 20, "dns": 1}, 0, 20.0, 1),
            ({"success": 4, "reported": 4, "http_404": 2}, 0, 20.0, 0),
            ({"success": 999, "timeout": 1}, 0, 0.0, 1),
            ({"http_404": 1}, 0, 100.0, 1),
            ({"http_404": 1}, 4, 20.0, 0),
            ({"http_404": 2}, 4, 20.0, 1),
            ({}, 4, 0.0, 0),
            ({"success": 1, "http_404": 999}, 0, 100.0, 0),
        ],
    )
    def test_tells_whether_too_many_failed(
        self, images: dict[str, int], there: int, fail_above: float, expected: int
    ) -> None:
        assert exit_code(counts(images=images, already_there=there), fail_above) == expected

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [("", 0), ("success", 0), ("script_only", 0), ("dns", 1), ("robots_denied", 1), ("http_500", 1)],
    )
    def test_tells_whether_a_first_page_failed(self, outcome: str, expected: int) -> None:
        sites = [SiteCounts(url="https://a.example/", first_outcome=o) for o in ("success", outcome, "")]
        assert exit_code(counts(images={"success": 100}, sites=sites), 100.0) == expected
