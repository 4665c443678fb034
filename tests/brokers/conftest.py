from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.redis import redis_cluster, redis_server, required


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a Redis that all tests of a session share; each has a job of its own."""
    required()
    with redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The URL of one of three masters."""
    required()
    with redis_cluster() as servers:
        yield servers[0].url
