"""What is imported is not looked through for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from crawler.lasting import lasting


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_made_is_not_looked_through() -> None:
    before, runs = gc.get_freeze_count(), sum(generation["collections"] for generation in gc.get_stats())
    with lasting():
        made = [[number] for number in range(100_000)]
    assert sum(generation["collections"] for generation in gc.get_stats()) == runs
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(made)


def test_garbage_is_collected_again_after_an_error() -> None:
    with pytest.raises(ImportError), lasting():
        raise ImportError
    assert gc.isenabled()
