from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.driver import KEY, Clock, served
from crawler.brokers import identities, waiting
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.listen import listen_unix
from crawler.brokers.sqlite import SqliteBroker
from crawler.contracts import Broker
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


#: Brokers over SQLite; the memory of one is always full.
LOCAL = ("memory", "file", "manager", "full")


@contextlib.contextmanager
def local_broker(kind: str, clock: Clock, folder: Path) -> Iterator[Broker]:
    """A broker over SQLite, of the kind that LOCAL names; a file is in `folder`."""
    if kind != "manager":
        broker = SqliteBroker(folder / "q" if kind == "file" else None, clock=clock, chance=lambda: 0.5)
        with pytest.MonkeyPatch.context() as patch:
            if kind == "full":
                patch.setattr(waiting, "MOST_KEPT", 0)
                patch.setattr(waiting, "FULL", -1)
                patch.setattr(identities, "MOST_IN_MEMORY", 2)
            yield broker
        broker.close()
        return
    with tempfile.TemporaryDirectory(prefix="crawler-") as short:  # a socket's path may have 107 bytes
        broker = SqliteBroker(None, clock=clock, chance=lambda: 0.5)
        client = ManagerBroker(ServerAddress(path=f"{short}/s"), KEY)
        with served(broker, listen_unix(Path(short) / "s")):
            yield client
            client.close()
