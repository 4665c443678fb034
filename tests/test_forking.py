"""What children are forked from, as far as it shows before they are."""

from __future__ import annotations

import importlib.util
import multiprocessing
from typing import Any

import pytest

from crawler import forking


@pytest.fixture
def preloaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked to be imported."""
    rooms: list[str] = []
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", rooms.extend)
    monkeypatch.setattr(forking, "start_server", lambda: None)
    return rooms


@pytest.mark.parametrize("words", [["--server", "redis://host/0"], ["--server=rediss://host/0"]])
def test_a_redis_is_told_by_its_scheme(preloaded: list[str], words: list[str]) -> None:
    forking.prepare_run(["--urls", "list.txt", *words])
    assert set(forking.REDIS) <= set(preloaded) and forking.BROKER not in preloaded


@pytest.mark.parametrize(
    "words", [["https://redis.io/"], ["--contact=https://example.com/redis://"], ["--output", "s3://redis/a"]]
)
def test_other_urls_are_none(preloaded: list[str], words: list[str]) -> None:
    forking.prepare_run(words)
    assert set(forking.REDIS).isdisjoint(preloaded) and forking.BROKER in preloaded


def test_without_its_package_nothing_of_it_is_imported(preloaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "redis" else find(name, *more))
    forking.prepare_run(["--server", "redis://host/0"])
    assert set(forking.REDIS).isdisjoint(preloaded)
