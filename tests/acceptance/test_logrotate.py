"""`config/logrotate` as Debian's logrotate takes it, while two jobs log to the file that it moves."""

from __future__ import annotations

import getpass
import grp
import gzip
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import OPEN, Here, is_open, page, wait_for
from programs import needed
from servers.faulty import FaultySite
from servers.ports import free_port

ROOT = Path(__file__).parents[2]
_SHOWN = "/var/log/crawler/crawler.log"
#: Has the broker log a line for each report of what waits nowhere, until its standard input ends; prints how many.
_REPORTER = """
    import itertools, select, sys
    from multiprocessing.managers import BaseManager
    BaseManager.register("get_result_queue")
    manager = BaseManager(("127.0.0.1", int(sys.argv[1])), authkey=open(sys.argv[2], "rb").read().strip())
    manager.connect()
    result = manager.get_result_queue()
    for number in itertools.count(1):
        result.put("http://127.0.0.1/%s/%d--->lost" % (sys.argv[3], number))
        if select.select([sys.stdin], [], [], 0.002)[0]:
            break
    print(number)
"""


class Rotation:
    """Runs logrotate with the shipped file, whose path and user are those of the test."""

    def __init__(self, folder: Path) -> None:
        self._program = needed("logrotate")
        self.log = folder / "logs" / "crawler.log"
        self.log.parent.mkdir(mode=0o750)
        self._config, self._state = folder / "logrotate.conf", folder / "logrotate.state"
        text = (ROOT / "config" / "logrotate").read_text()
        user = f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
        for shown, ours in ((f"\n{_SHOWN} {{", f"\n{self.log} {{"), ("su crawler crawler", user)):
            assert shown in text
            text = text.replace(shown, ours)
        # Debian's own file, into which this one is read, makes new files unless it is told not to.
        self._config.write_text(f"create\n{text}")
        self._config.chmod(0o644)

    def run(self, flag: str) -> str:
        done = subprocess.run(
            [self._program, flag, "-s", self._state, self._config], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and "error" not in done.stdout + done.stderr, done.stderr
        return done.stderr

    def pieces(self) -> dict[str, str]:
        """Return what the log and the files that it was moved to hold."""
        files = sorted(self.log.parent.iterdir())
        return {
            file.name: gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
            for file in files
        }


@pytest.fixture
def rotation(tmp_path: Path) -> Rotation:
    return Rotation(tmp_path)


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.add("/", page("/i/1.png"), "text/html")
        yield made


def reporter(here: Here, site: FaultySite, log: Path, job: str) -> subprocess.Popen[str]:
    """Start a job whose image waits for a worker, and a client that has its broker log."""
    port = free_port()
    here.start(
        "crawler.collect", "--site", site.url, "--job", job, "--listen", f"127.0.0.1:{port}",
        "--output", str(here.output), "--log-file", str(log), *OPEN,
    )  # fmt: skip
    wait_for(lambda: is_open(port))
    command = [sys.executable, "-I", "-c", textwrap.dedent(_REPORTER), str(port), str(here.state / "key"), job]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    here.started.append(client)
    return client


def test_logrotate_takes_the_file(rotation: Rotation) -> None:
    rotation.log.write_text("a line\n")
    said = rotation.run("-d")
    assert f"considering log {rotation.log}" in said and "weekly (8 rotations)" in said
    assert list(rotation.pieces()) == ["crawler.log"], "-d only tells"


def test_no_line_is_lost_and_the_moved_file_is_let_alone(here: Here, rotation: Rotation, site: FaultySite) -> None:
    clients = {job: reporter(here, site, rotation.log, job) for job in ("one", "two")}
    for moves in range(1, 5):
        wait_for(lambda: rotation.log.exists() and all(f"/{job}/" in rotation.log.read_text() for job in clients))
        rotation.run("-f")
        assert len(set(rotation.pieces()) - {"crawler.log"}) == moves
    wait_for(lambda: rotation.log.exists() and all(f"/{job}/" in rotation.log.read_text() for job in clients))
    moved = (rotation.log.parent / "crawler.log.1").read_text()
    counts = {job: int(client.communicate("end", timeout=30)[0]) for job, client in clients.items()}
    pieces = rotation.pieces()
    assert sorted(pieces) == ["crawler.log", "crawler.log.1", *(f"crawler.log.{n}.gz" for n in (2, 3, 4))]
    assert pieces["crawler.log.1"] == moved, "later lines are in the new file"
    found = [(job, int(n)) for text in pieces.values() for job, n in re.findall(r"/(\w+)/(\d+)--->lost\n", text)]
    assert sorted(found) == [(job, n + 1) for job, count in counts.items() for n in range(count)]
