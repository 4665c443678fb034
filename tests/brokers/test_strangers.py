"""Who must go when too many have not shown the key."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from crawler.brokers import strangers
from crawler.brokers.strangers import SOON, SparingLog, superfluous

NOW = 100.0


def peer(host: str = "192.0.2.1", age: float = 0.1, heard: bool = False, known: bool = False) -> Any:
    return SimpleNamespace(host=host, since=NOW - age, heard=heard, known=known)


def gone(peers: list[Any], most: int) -> list[int]:
    return [peers.index(connection) for connection in superfluous(peers, most, NOW)]


def test_nobody_goes_while_there_is_room() -> None:
    assert gone([peer()] * 3, 3) == []


def test_who_has_shown_the_key_is_no_stranger() -> None:
    assert gone([peer(known=True), peer(known=True), peer()], 1) == []


def test_first_the_late_then_the_silent_and_the_oldest_first() -> None:
    greeting, silent, older, late = peer(age=0.5, heard=True), peer(), peer(age=0.2), peer(age=SOON + 1, heard=True)
    assert gone([greeting, silent, older, late], 0) == [3, 2, 1, 0]


@pytest.mark.parametrize(
    "crowd", [["198.51.100.7"] * 6, [f"2001:db8:1:2::{n}" for n in range(6)]], ids=["of an address", "of a network"]
)
def test_a_crowd_crowds_out_itself(crowd: list[str]) -> None:
    """Even where it has begun to greet, and others have not yet said a word."""
    peers = [peer("192.0.2.1"), peer("2001:db8::1"), *(peer(host, heard=True) for host in crowd)]
    assert 0 not in gone(peers, 3) and 1 not in gone(peers, 3)
    assert len(gone(peers, 3)) == 5


def test_little_is_said_of_many(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [60.0]
    monkeypatch.setattr(strangers.time, "monotonic", lambda: now[0])
    spared = SparingLog()
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            spared.warn("%s came", "somebody")
        assert len(caplog.messages) == strangers.MOST_LINES
        now[0] += 60
        spared.warn("%s came", "another")
    assert caplog.messages[-2:] == [
        f"{1000 - strangers.MOST_LINES} more such lines about strangers were left out", "another came",
    ]  # fmt: skip
