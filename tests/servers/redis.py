"""Redis on loopback: one server, or a Cluster of three masters."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from servers.ports import free_port

PATIENCE = 20.0
#: Where directories are, if there is one in memory: a disk would be waited for at every change.
_MEMORY = Path("/dev/shm")
_SLOTS = 16384


def redis_available() -> bool:
    return shutil.which("redis-server") is not None


def required() -> None:
    """Skip the test where no server is installed, except in CI."""
    if not redis_available():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("redis-server is not installed")


class RedisServer:
    """A redis-server in a directory of its own, whose file has every change before it is answered."""

    def __init__(self, directory: Path, *flags: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port or free_port()
        self.directory = directory
        self._flags = flags
        self.bus = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        command = [
            *["redis-server", "--bind", self.host, "--port", str(self.port), "--dir", str(self.directory)],
            *["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--protected-mode", "no", *self._flags],
            *(["--cluster-port", str(self.bus)] if "--cluster-enabled" in self._flags else []),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        with redis.Redis(host=self.host, port=self.port, socket_timeout=5) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.AuthenticationError:
                    return
                except (redis.ConnectionError, redis.TimeoutError):
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def redis_server(*flags: str) -> Iterator[RedisServer]:
    directory = _directory("crawler-redis-")
    server = RedisServer(directory, *flags)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def redis_cluster(masters: int = 3) -> Iterator[list[RedisServer]]:
    directory = _directory("crawler-cluster-")
    servers: list[RedisServer] = []
    try:
        for number in range(masters):
            flags = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
            servers.append(RedisServer(directory / str(number), *flags))
            servers[-1].start()
        _join(servers)
        yield servers
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _directory(prefix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if _MEMORY.is_dir() else None))


def _join(servers: list[RedisServer]) -> None:
    """Give each master its part of the slots, and wait until all agree."""
    clients = [redis.Redis(host=server.host, port=server.port) for server in servers]
    share = _SLOTS // len(servers)
    for number, client in enumerate(clients):
        last = _SLOTS - 1 if number == len(servers) - 1 else (number + 1) * share - 1
        client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
        client.execute_command("CLUSTER MEET", servers[0].host, servers[0].port, servers[0].bus)
    until = time.monotonic() + PATIENCE
    for client in clients:
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            if time.monotonic() > until:
                raise TimeoutError("the masters do not agree")
            time.sleep(0.05)
        client.close()
