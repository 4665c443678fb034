"""Crowds before the collector's port: silent ones, and more than there are descriptors for."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, is_open, page, wait_for
from crawler.brokers import client
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.wire import read_key
from crawler.errors import BrokerUnreachable
from servers.faulty import FaultySite
from servers.ports import free_port

SILENT = 1000
#: Seconds by which a silent peer is gone, and by which an honest one is served.
GONE, SERVED = 11.0, 2.0
FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")


class Collector:
    """A collector with few descriptors whose job does not end, and its broker's process."""

    def __init__(self, here: Here, port: int) -> None:
        self.port = port
        self.key = read_key(here.state / "key")
        self.broker = int(json.loads((here.state / "j" / "broker.json").read_text())["pid"])

    def worker(self, *, encrypt: bool = True) -> ManagerBroker:
        return ManagerBroker(ServerAddress("127.0.0.1", self.port), self.key, encrypt=encrypt)

    def serves(self) -> float:
        """Return the seconds in which a worker of ours connects and is served."""
        began = time.monotonic()
        worker = self.worker()
        assert worker.spec().job == "j"
        worker.close()
        return time.monotonic() - began

    def cpu(self) -> float:
        """Return the seconds of CPU that the broker has used."""
        fields = Path(f"/proc/{self.broker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def collector(here: Here) -> Iterator[Collector]:
    with FaultySite() as site:
        site.slow("/", page(), 60.0)
        port = free_port()
        arguments = here.job("--site", site.url, "--listen", f"127.0.0.1:{port}", "--log-file", str(here.log))
        here.start("crawler.collect", *arguments, prefix=FEW_DESCRIPTORS)
        wait_for(lambda: is_open(port) and here.said("beginning run"))
        made = Collector(here, port)
        wait_for(lambda: made.serves() < SERVED)
        yield made


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    """A place for many connections, which this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65_536, hard))
    made: list[socket.socket] = []
    yield made
    for peer in made:
        peer.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_connected(peer: socket.socket) -> bool:
    """Tell whether a peer that does not block is still connected; what it was sent is read and forgotten."""
    try:
        while peer.recv(4096):
            continue
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


@pytest.mark.alone
def test_a_thousand_silent_peers_keep_nobody_out(collector: Collector, crowd: list[socket.socket]) -> None:
    began, used = time.monotonic(), collector.cpu()
    for _ in range(SILENT):
        peer = socket.socket()
        peer.setblocking(False)
        peer.connect_ex(("127.0.0.1", collector.port))
        crowd.append(peer)
    times = []
    while (elapsed := time.monotonic() - began) < GONE:
        times.append(collector.serves())
        time.sleep(0.2)
    share = (collector.cpu() - used) / elapsed
    print(f"\nserved within {max(times):.2f} s ({len(times)} times), broker's CPU {share:.1%}")
    assert max(times) < SERVED
    assert not any(map(is_connected, crowd))
    assert share < 0.3, "it sleeps while nobody speaks"


@pytest.mark.alone
def test_it_takes_connections_again_after_descriptors_were_exhausted(
    collector: Collector, crowd: list[socket.socket], here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peers that have the key may use them all up; while they do, the broker does not spin."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 1.5)
    with contextlib.ExitStack() as stack:
        with pytest.raises(BrokerUnreachable):
            for _ in range(300):
                peer = collector.worker(encrypt=False)
                stack.callback(peer.close)
                peer.connect()
        crowd.append(socket.create_connection(("127.0.0.1", collector.port)))
        assert here.said("no further connection can be taken")
        began, used = time.monotonic(), collector.cpu()
        time.sleep(3)
        share = (collector.cpu() - used) / (time.monotonic() - began)
    began = time.monotonic()
    wait_for(lambda: is_served(collector), 5)
    print(f"\nbroker's CPU while exhausted {share:.1%}; it served again after {time.monotonic() - began:.2f} s")
    assert share < 0.3


@pytest.mark.parametrize("door", ["crawler.collect", "crawler.download"])
def test_without_tls_both_ends_say_in_one_line_what_that_means(here: Here, door: str) -> None:
    """The collector is told to listen where it cannot, so that it ends at once; 192.0.2.1 is for documentation."""
    where = f"192.0.2.1:{free_port()}"
    job = here.job("--site", "http://127.0.0.1:1/", "--listen", where)
    arguments = job if door == "crawler.collect" else ["--server", f"127.0.0.1:{free_port()}", "--wait", "0.1"]
    code, _, errors = here.run(door, *arguments, "--unencrypted")
    (warning,) = [line for line in errors.splitlines() if "WARNING --unencrypted:" in line]
    assert code and all(what in warning for what in ("reads all URLs", "cookies", "can forge tasks"))


def is_served(collector: Collector) -> bool:
    with contextlib.suppress(BrokerUnreachable):
        return collector.serves() < SERVED
    return False
