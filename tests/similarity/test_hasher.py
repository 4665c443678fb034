from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from acceptance.here import wait_for
from crawler.errors import Undecodable
from crawler.similarity import hasher
from crawler.similarity.hasher import Hasher
from crawler.similarity.hashing import perceptual_hash
from servers.pictures import png

pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from transforms.pictures import encoded, gradient  # noqa: E402

PICTURE = png(1, 64, 64)


@pytest.fixture
def ours() -> Iterator[Hasher]:
    made = Hasher(1_000_000)
    yield made
    made.close()


def process_of(ours: Hasher) -> int:
    assert ours._child is not None
    return ours._child.pid


def test_it_is_the_hash_that_this_process_computes(ours: Hasher) -> None:
    assert ours.hash(PICTURE) == perceptual_hash(PICTURE) != ""
    assert ours.hash(png(2, 64, 64)) == perceptual_hash(png(2, 64, 64))


def test_what_has_too_little_detail_has_none(ours: Hasher) -> None:
    assert ours.hash(encoded(gradient(60, 60))) == ""


@pytest.mark.parametrize("body", [b"", b"no image", PICTURE[:-30], png(1, 1001, 1000)])
def test_what_cannot_be_decoded_is_told_and_the_next_is_hashed(ours: Hasher, body: bytes) -> None:
    with pytest.raises(Undecodable, match="decoded"):
        ours.hash(body)
    assert ours.hash(PICTURE)


def test_a_process_that_dies_costs_one_image(ours: Hasher) -> None:
    ours.hash(PICTURE)
    os.kill(process_of(ours), signal.SIGSTOP)
    killer = threading.Timer(0.2, os.kill, (process_of(ours), signal.SIGKILL))
    killer.start()
    with pytest.raises(Undecodable, match="SIGKILL"):
        ours.hash(PICTURE)
    killer.join()
    assert ours.hash(PICTURE)


def test_one_that_hangs_is_replaced(ours: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    ours.hash(PICTURE)
    hung = process_of(ours)
    os.kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(hasher, "PATIENCE", 0.2)
    with pytest.raises(Undecodable, match="died"):
        ours.hash(PICTURE)
    monkeypatch.setattr(hasher, "PATIENCE", 60.0)
    assert ours.hash(PICTURE) and process_of(ours) != hung


def test_it_ends_with_the_worker(ours: Hasher) -> None:
    ours.hash(PICTURE)
    process = ours._child
    assert process is not None
    ours.close()
    wait_for(lambda: process.poll() is not None)
