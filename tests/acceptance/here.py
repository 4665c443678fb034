"""What the acceptance tests share: commands that run with a state and an output of their own, and small waits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from crawler.brokers.wire import make_key
from servers.faulty import FaultySite

OPEN = ["--allow-net", "127.0.0.0/8"]


class Here:
    """Runs commands with a state and an output of their own; ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out"
        self.log = folder / "log"  #: of commands that were started with `--log-file`
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self.started: list[subprocess.Popen[str]] = []

    @property
    def state(self) -> Path:
        return self.folder / "state" / "crawler"

    def start(
        self,
        door: str,
        *arguments: str,
        prefix: tuple[str, ...] = (),
        stdin: Any = subprocess.DEVNULL,
        start_new_session: bool = False,
    ) -> subprocess.Popen[str]:
        """Start a door; `prefix` is a command that runs it, such as `ip netns exec NAME`."""
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", door, *arguments],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment,
            start_new_session=start_new_session,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, door: str, *arguments: str, seconds: float = 90) -> tuple[int, str, str]:
        process = self.start(door, *arguments)
        out, errors = process.communicate(timeout=seconds)
        return process.returncode, out, errors

    def job(self, *arguments: str) -> list[str]:
        """Return the arguments of job `j`, whose ledger `rows` and `is_clean` read."""
        return [*arguments, "--job", "j", "--output", str(self.output), *OPEN]

    def crawl(self, *arguments: str, seconds: float = 90) -> tuple[int, str, str]:
        return self.run("crawler", *self.job(*arguments), seconds=seconds)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait()

    # What came of it

    def said(self, text: str) -> bool:
        """Tell whether a command with `--log-file` has logged `text`."""
        return self.log.exists() and text in self.log.read_text()

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        lines = (self.output / "j" / name).read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert len({row["url"] for row in rows}) == len(rows), "a URL has two rows"
        return {row["url"]: row for row in rows}

    def is_clean(self) -> bool:
        """Nothing but whole files under their names is left."""
        assert not (self.output / "j" / ".incoming").exists()
        for row in self.rows("metadata.jsonl").values():
            body = (self.output / "j" / row["file_name"]).read_bytes()
            assert hashlib.sha256(body).hexdigest() == row["sha256"]
        stored = {path for path in (self.output / "j").rglob("*") if path.is_file()}
        named = {self.output / "j" / row["file_name"] for row in self.rows("metadata.jsonl").values()}
        named |= set((self.output / "j").glob("runs/*.json"))
        return {path.name for path in stored - named} == {"metadata.jsonl", "failures.jsonl", "report.html", ".job"}


def page(*images: str, links: tuple[str, ...] = ()) -> str:
    body = "".join(f'<img src="{src}" alt="an image">' for src in images)
    return f"<!doctype html><title>t</title>{body}" + "".join(f'<a href="{link}">more</a>' for link in links)


def asked(site: FaultySite, prefix: str = "/i/") -> list[str]:
    """Return the paths below `prefix` that `site` was asked for, in order."""
    return [request.path for request in site.requests if request.path.startswith(prefix)]


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def write_key(path: Path) -> Path:
    path.write_text(make_key())
    path.chmod(0o600)
    return path


def children(process: int) -> list[int]:
    """Return what descends from a process: its children, theirs, and so on."""
    text = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout
    found = [int(line) for line in text.split()]
    return [*found, *(below for child in found for below in children(child))]


def kill_all(door: subprocess.Popen[str]) -> None:
    """Kill a door and all its processes with SIGKILL."""
    send(signal.SIGKILL, [door.pid, *children(door.pid)])
    door.wait()


def send(number: signal.Signals, processes: Iterable[int]) -> None:
    """Send a signal to those of `processes` that still are."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def permitted(*command: str) -> None:
    """Run a command that needs root; skip the test where it is not permitted, except in CI."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        trouble = f"{command[0]} is not installed"
    else:
        trouble = done.stderr.strip() if done.returncode else ""
    if trouble:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{' '.join(command)}: {trouble}")
