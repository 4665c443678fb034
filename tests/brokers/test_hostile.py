"""Pickles that would run code, of all protocols, from a peer that has the key: to the manager and to its clients."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client, Listener
from pathlib import Path

import pytest

from brokers.driver import KEY
from brokers.test_stock import Victim

ROOT = Path(__file__).parents[2]


class Strike:
    """Unpickled by the standard library, it makes a directory."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def strikes(marker: Path) -> list[bytes]:
    """Return requests and replies that hide the strike at each place, in each protocol."""
    bomb = Strike(marker)
    places: list[object] = [
        bomb,
        ("#RETURN", bomb),
        ("#ERROR", bomb),
        ("#PROXY", (bomb, bomb)),
        (bomb, "get", (), {}),
        ("tasks", bomb, (), {}),
        ("tasks", "put", (bomb,), {}),
        ("results", "put", (), {"item": bomb}),
        ("broker", "exchange", ("w", [{"a": (bomb,)}]), {}),
    ]
    return [pickle.dumps(place, protocol) for place in places for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


@pytest.fixture(params=[(), ("-O",)], ids=["plain", "optimised"])
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "struck"


def test_the_strike_works_on_the_standard_library(marker: Path) -> None:
    for number, message in enumerate(strikes(marker), 1):
        pickle.loads(message)
        assert marker.is_dir(), number
        marker.rmdir()


@pytest.fixture
def victim(flags: tuple[str, ...]) -> Iterator[Victim]:
    made = Victim(flags)
    yield made
    made.stop()


def test_the_manager_runs_nothing_and_goes_on(victim: Victim, marker: Path) -> None:
    victim.start()
    first = victim.server
    for message in strikes(marker):
        with Client(victim.address, authkey=KEY) as connection:
            connection.send_bytes(message)
            try:
                kind, value = pickle.loads(connection.recv_bytes())
            except (EOFError, ConnectionError):
                continue
            assert kind in ("#ERROR", "#TRACEBACK"), (kind, value)
    assert not marker.exists()
    assert victim.send(b"") and victim.server is first, "one process served them all"


WORKER = """
import sys
sys.path.insert(0, ".")
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.errors import CrawlerError
for number in range(int(sys.argv[2])):
    broker = ManagerBroker(ServerAddress("127.0.0.1", int(sys.argv[1])), sys.argv[3].encode(), encrypt=False)
    try:
        broker.counts()
    except CrawlerError as error:
        print("refused", flush=True)
    broker.close()
"""


def test_a_worker_runs_nothing_that_its_collector_sends(flags: tuple[str, ...], marker: Path) -> None:
    messages = strikes(marker)
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener:

        def answer() -> None:
            for message in messages:
                with listener.accept() as connection:
                    connection.recv_bytes()
                    connection.send_bytes(message)

        fake = threading.Thread(target=answer, daemon=True)
        fake.start()
        port, number = str(listener.address[1]), str(len(messages))
        worker = subprocess.run(
            [sys.executable, *flags, "-c", WORKER, port, number, KEY.decode()],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert worker.returncode == 0, worker.stderr
        fake.join(10)
        assert not fake.is_alive()
    assert worker.stdout.split() == ["refused"] * len(messages)
    assert not marker.exists()
