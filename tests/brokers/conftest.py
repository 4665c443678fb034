from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from servers.redis import redis_available, redis_cluster, redis_server


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a Redis that all tests of a session share; each has a job of its own."""
    _need_redis()
    with redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The URL of one of three masters."""
    _need_redis()
    with redis_cluster() as servers:
        yield servers[0].url


def _need_redis() -> None:
    if not redis_available():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("redis-server is not installed")
