"""Programs with nothing but the standard library, of any Python from 3.8 on, drain the collector's queue."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import OPEN, Here, is_open, page, wait_for
from servers.faulty import FaultySite
from servers.ports import free_port

CONNECT = """
    import sys
    from multiprocessing.managers import BaseManager
    BaseManager.register("get_task_queue")
    BaseManager.register("get_result_queue")
    manager = BaseManager(("127.0.0.1", int(sys.argv[1])), authkey=open(sys.argv[2], "rb").read().strip())
    manager.connect()
    task, result = manager.get_task_queue(), manager.get_result_queue()
"""
DRAIN = """
    while not task.empty():
        url = task.get(True, timeout=5)
        result.put("%s--->success" % url if not url.endswith("-7.png") else "%s--->disk on fire" % url)
"""
PUT_AND_DRAIN = "    task.put(sys.argv[3])\n" + DRAIN
GET_FOR_EVER = """
    print("getting", flush=True)
    while True:
        task.get(True, timeout=60)
"""


class Collector:
    """A collector that has no workers but stock clients."""

    def __init__(self, here: Here, site: FaultySite, images: int) -> None:
        self.paths = [f"/i-{n}.png" for n in range(images)]
        site.add("/", page(*self.paths), "text/html")
        self.url = site.url
        self._key = here.state / "key"
        self._port = free_port()
        listen = ["--listen", f"127.0.0.1:{self._port}", "--output", str(here.output), "--job", "j"]
        self.door = here.start("crawler.collect", "--site", site.url, *listen, *OPEN)
        wait_for(lambda: is_open(self._port))

    def client(self, program: str, *arguments: str, python: str = sys.executable) -> subprocess.Popen[str]:
        """Start a program that sees nothing but the standard library: `-I` hides what is installed or named beside."""
        script = textwrap.dedent(CONNECT + program)
        command = [python, "-I", "-S", "-c", script, str(self._port), str(self._key), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def drain(self, program: str = DRAIN, *arguments: str, python: str = sys.executable) -> list[str]:
        """Let a client work until the queue is empty, and return the lines that the collector printed, sorted."""
        client = self.client(program, *arguments, python=python)
        _, errors = client.communicate(timeout=60)
        assert client.returncode == 0, errors
        lines, errors = self.door.communicate(timeout=30)
        assert self.door.returncode == 0, errors
        return sorted(lines.splitlines())

    def expected(self) -> list[str]:
        said = {self.url + path: "disk on fire" if path == "/i-7.png" else "success" for path in self.paths}
        return sorted(f"{url}--->{outcome}" for url, outcome in said.items())


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        yield made


def python_of(version: str) -> str:
    """Return a Python of this version from PATH or pyenv; skip the test where there is none."""
    found = sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    path = next(iter(found), None) or shutil.which(f"python{version}")
    if path is None:
        pytest.skip(f"no Python {version} here")
    return path


@pytest.mark.parametrize("version", ["3.8", "3.12", "3.13"])
def test_a_client_drains_the_queue(here: Here, site: FaultySite, version: str) -> None:
    collector = Collector(here, site, 40)
    extra = site.url + "/extra.png"
    lines = collector.drain(PUT_AND_DRAIN, extra, python=python_of(version))
    assert lines == sorted([*collector.expected(), extra + "--->success"])
    assert not here.rows("metadata.jsonl"), "no file of ours stands behind them"
    failures = here.rows("failures.jsonl")
    assert failures[site.url + "/i-7.png"]["outcome"] == "reported_error"
    assert failures[extra]["outcome"] == "reported"


@pytest.mark.parametrize("version", ["3.11", "3.10"])
def test_a_client_drains_a_thousand(here: Here, site: FaultySite, version: str) -> None:
    collector = Collector(here, site, 1000)
    assert collector.drain(python=python_of(version)) == collector.expected()


def test_clients_that_are_killed_in_get_lose_nothing(here: Here, site: FaultySite) -> None:
    chance = random.Random(3)
    collector = Collector(here, site, 100)
    for _ in range(5):
        clients = [collector.client(GET_FOR_EVER) for _ in range(4)]
        for client in clients:
            assert client.stdout is not None and client.stdout.readline() == "getting\n"
        time.sleep(chance.uniform(0.0, 0.1))
        for client in clients:
            assert client.poll() is None
            client.kill()
            client.communicate()
    assert collector.drain() == collector.expected()
    assert len(here.rows("failures.jsonl")) == 100, "one entry for each URL"
