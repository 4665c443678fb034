"""Verdicts against RFC 9309: its own examples, and files of our own for the corners of its grammar."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from crawler.robots import Rules, read
from robots_cases import LIMIT, LIMITS, OWN, RFC, SAME_PATHS, SITE, Case, deny

#: Seconds for all verdicts on one file.
PATIENCE = 10


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block when it takes longer."""

    def strike(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, strike)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wrong(rules: Rules, case: Case) -> list[str]:
    """Return the verdicts that are not those of the standard."""
    with deadline(PATIENCE):
        denied = [f"denied: {url[:200]}" for url in case.allowed if not rules.allows(url)]
        return denied + [f"allowed: {url[:200]}" for url in case.denied if rules.allows(url)]


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def is_utf8(case: Case) -> bool:
    try:
        case.body.decode()
    except UnicodeDecodeError:
        return False
    return not case.body.startswith(b"\xef\xbb\xbf")


TEXTS = [case for case in RFC + OWN if is_utf8(case) and case not in LIMITS]


@pytest.mark.parametrize("case", RFC, ids=names(RFC))
def test_an_example_of_the_standard(case: Case) -> None:
    robots = read(200, case.body, case.agent)
    assert robots.reachable
    assert not wrong(Rules(robots.text, case.agent), case)


@pytest.mark.parametrize("case", OWN, ids=names(OWN))
def test_a_file_of_our_own(case: Case) -> None:
    robots = read(200, case.body, case.agent)
    assert robots.reachable
    assert not wrong(Rules(robots.text, case.agent), case)


@pytest.mark.parametrize("case", TEXTS, ids=names(TEXTS))
def test_reading_bytes_changes_no_verdict(case: Case) -> None:
    """What `Rules` says of the text as it stands is what it says of what `read` made of its bytes."""
    direct, through = Rules(case.body.decode(), case.agent), Rules(read(200, case.body, case.agent).text, case.agent)
    for url in case.allowed + case.denied:
        assert direct.allows(url) is through.allows(url)


@pytest.mark.parametrize("paths", SAME_PATHS.values(), ids=list(SAME_PATHS))
def test_ways_to_write_one_path_are_equal(paths: tuple[str, ...]) -> None:
    for rule in paths:
        for path in paths:
            assert not Rules(deny(rule), "crawler").allows(SITE + path), f"{path} is not matched by {rule}"


@pytest.mark.parametrize("status", [200, 201, 203, 204, 206])
@pytest.mark.parametrize("body", [b"", b"\n", b"\xef\xbb\xbf", b"<html></html>"])
def test_success_without_rules_allows_everything(status: int, body: bytes) -> None:
    robots = read(status, body, "crawler")
    assert robots.reachable and Rules(robots.text, "crawler").allows(SITE + "/a")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 418, 451, 499])
def test_unavailable_allows_everything(status: int) -> None:
    robots = read(status, b"User-agent: *\nDisallow: /\n", "crawler")
    assert robots.reachable and Rules(robots.text, "crawler").allows(SITE + "/a")


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
def test_unreachable_allows_nothing(status: int) -> None:
    assert not read(status, b"User-agent: *\nAllow: /\n", "crawler").reachable


def test_the_table_is_whole() -> None:
    assert len(OWN) >= 100
    assert len({case.name for case in RFC + OWN}) == len(RFC + OWN)
    assert all(case.allowed or case.denied for case in RFC + OWN)
    assert all(len(case.body) >= LIMIT for case in LIMITS)
    assert LIMITS[0].body.endswith(b"\nDisallow: /last\n") and len(LIMITS[0].body) == LIMIT
