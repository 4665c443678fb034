"""Pages without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import traps
from crawler.traps import Traps, endless, patterns

SITE = "https://a.example"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"{SITE}/a/b/c", ""),
        (f"{SITE}/{'x' * 1979}", ""),
        (f"{SITE}/{'x' * 2000}", "long_url"),
        (f"{SITE}/a/b/a/b/a/b", ""),
        (f"{SITE}/a/b/a/b/a/b/a", "repeated_path"),
        (f"{SITE}/?x=/a/a/a/a/a", ""),
        (f"{SITE}//////", ""),
    ],
)
def test_endless(url: str, why: str) -> None:
    assert endless(url) == why


def test_a_url_of_many_parts_takes_no_time() -> None:
    assert endless(SITE + "/1" * 900) == "repeated_path"
    assert endless(f"{SITE}/" + "/".join(str(n) for n in range(500))) == ""
    assert (
        len(patterns(f"{SITE}/" + "/".join(str(n) for n in range(500)) + "?" + "&a=1" * 100))
        == 2 * traps.MAX_PLACES - 1
    )


def test_patterns() -> None:
    assert patterns(f"{SITE}/2026/11/x?day=3&view=&z") == [
        f"{SITE}/*/11/x?day=3&view=&z",
        f"{SITE}/2026/*/x?day=3&view=&z",
        f"{SITE}/2026/11/x?day=*&view=&z",
    ]
    assert patterns(f"{SITE}/about") == []


def test_pages_that_are_alike_are_let_through_up_to_the_limit() -> None:
    counted = Traps(10)
    admitted = [url for n in range(30) if counted.admits(url := f"{SITE}/calendar?month={n}")]
    assert len(admitted) == 10
    assert counted.news == [f"{SITE}/calendar?month=*"]
    assert counted.admits(f"{SITE}/about")
    assert counted.admits(f"{SITE}/other?month=3")


def test_pages_that_differ_in_more_than_one_place_are_not_alike() -> None:
    counted = Traps(10)
    assert all(counted.admits(f"{SITE}/{n}/{n}") for n in range(100))


def test_without_a_limit_all_are_let_through() -> None:
    counted = Traps(0)
    assert all(counted.admits(f"{SITE}/{n}") for n in range(5000))


def test_memory_is_bounded_and_what_is_often_seen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traps, "MAX_PATTERNS", 100)
    counted = Traps(50)
    for n in range(1000):
        counted.admits(f"{SITE}/page/{n}/name-of-page-{n}")
        counted.admits(f"{SITE}/calendar?month={n}")
    assert len(counted._counts) <= 101
    assert counted.news[0] == f"{SITE}/calendar?month=*"


@given(st.text())
def test_any_text_has_patterns(text: str) -> None:
    patterns(f"{SITE}/{text}")
    endless(f"{SITE}/{text}")
