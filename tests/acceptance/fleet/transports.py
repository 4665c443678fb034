"""How the machines of a fleet reach their broker: what is started for it, and the flags that say so."""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

from acceptance.fleet.networks import Network, Plan
from acceptance.here import is_open, wait_for, write_key

PORT = 8001
REDIS_PORT = 6379


class Transport(ABC):
    """What a fleet of one collector or several needs beside its doors; there while the block of it lasts."""

    door, site_flag = "crawler.collect", "--site"
    #: How many collectors may take part.
    collectors = 1
    #: Whether download workers have machines of their own.
    is_spread = True

    def __init__(self, plan: Plan, network: Network, folder: Path) -> None:
        self.plan = plan
        self.network = network
        self.folder = folder
        self.machine = ""  #: of what is neither collector nor worker
        self.process: subprocess.Popen[bytes] | None = None  #: of what is on that machine
        self.detours: dict[str, tuple[str, int]] = {}  #: where machines find the broker that do not reach it directly

    def __enter__(self) -> Transport:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        """Start the process, or start it again."""
        return

    def mend(self) -> None:
        """Start the process again where it was killed."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    @property
    @abstractmethod
    def target(self) -> tuple[str, int]:
        """Return where the broker listens."""

    def way(self, machine: str) -> str:
        """Return where a machine finds it."""
        host, port = self.detours.get(machine, self.target)
        return f"{host}:{port}"

    @abstractmethod
    def collector_flags(self, machine: str) -> list[str]:
        """Return how the collector on a machine is told of the broker."""

    @abstractmethod
    def worker_flags(self, machine: str) -> list[str]:
        """Return how the workers on a machine are told of it."""


class Here(Transport):
    """All on one machine: a broker that is on no network, and workers beside it."""

    door, site_flag = "crawler", "--sites"
    is_spread = False

    @property
    def target(self) -> tuple[str, int]:
        raise NotImplementedError("it is on no network")

    def collector_flags(self, machine: str) -> list[str]:
        return ["--processes", "4"]

    def worker_flags(self, machine: str) -> list[str]:
        raise NotImplementedError("no other machine takes part")


class Manager(Transport):
    """The collector's own broker, on the network behind the manager."""

    def __init__(self, plan: Plan, network: Network, folder: Path) -> None:
        super().__init__(plan, network, folder)
        self._key = write_key(folder / "key")

    @property
    def target(self) -> tuple[str, int]:
        return self.plan.collectors[0], PORT

    def collector_flags(self, machine: str) -> list[str]:
        return ["--listen", f"{machine}:{PORT}", "--key-file", str(self._key)]

    def worker_flags(self, machine: str) -> list[str]:
        return ["--server", self.way(machine), "--key-file", str(self._key)]


class Redis(Transport):
    """A redis-server on a machine of its own, which writes each command to its disk before it answers."""

    collectors = 3

    def __init__(self, plan: Plan, network: Network, folder: Path) -> None:
        super().__init__(plan, network, folder)
        self.machine = plan.redis

    @property
    def target(self) -> tuple[str, int]:
        return self.machine, REDIS_PORT

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed"
        host, directory = self.machine, self.folder / "redis"
        directory.mkdir(exist_ok=True)
        flags = ["--bind", host, "--port", str(REDIS_PORT), "--protected-mode", "no", "--dir", str(directory)]
        flags += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([*self.network.at(host), program, *flags], stdout=log)
        wait_for(lambda: self.network.inside(host, lambda: is_open(REDIS_PORT, host)))

    def collector_flags(self, machine: str) -> list[str]:
        return ["--server", f"redis://{self.way(machine)}/0"]

    def worker_flags(self, machine: str) -> list[str]:
        return self.collector_flags(machine)
