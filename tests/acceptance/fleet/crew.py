"""A fleet at work: a site, collectors and download workers, each on a machine of its own, and what can befall them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from acceptance.fleet.judging import Found, Manners, judge, manners
from acceptance.fleet.networks import Network, Plan
from acceptance.fleet.transports import Transport
from acceptance.here import children, kill_all, send, wait_for
from servers.gallery import GallerySite
from servers.manners import Asked, Stopped, read_record

JOB = "fleet"


class Pause(NamedTuple):
    """Processes of a machine that are stopped, and since when."""

    machine: str
    processes: tuple[int, ...]
    start: float


class Door:
    """One command on one machine: started, killed, and started again."""

    def __init__(self, name: str, machine: str, command: Sequence[str], log: Path, state: Path) -> None:
        self.name = name
        self.machine = machine
        self.starts = 0
        self._command = command
        self._log = log
        self._state = state
        self._environment = {**os.environ, "XDG_STATE_HOME": str(state)}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, text=True,
                env=self._environment,
            )  # fmt: skip

    @property
    def code(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self._started.poll()

    @property
    def children(self) -> list[int]:
        return children(self._started.pid)

    @property
    def processes(self) -> list[int]:
        return [self._started.pid, *self.children]

    @property
    def broker(self) -> list[int]:
        """Return the process of the broker that it hosts, if it does now."""
        found = self._state / "crawler" / JOB / "broker.json"
        named = json.loads(found.read_text())["pid"] if found.exists() else 0
        return [child for child in self.children if child == named]

    @property
    def said(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        """Kill it and all its processes."""
        kill_all(self._started)

    def ends(self, seconds: float) -> int:
        return self._started.wait(seconds)

    @property
    def _started(self) -> subprocess.Popen[str]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process


class Crew:
    """The doors of a fleet with a transport; `flags` are the collectors'; images come from pages, or from `urls`."""

    def __init__(
        self, folder: Path, plan: Plan, network: Network, transport: Transport, site: GallerySite,
        flags: Sequence[str], urls: Path | None = None,
    ) -> None:  # fmt: skip
        self.site = site
        self.stops: list[Stopped] = []
        self._folder = folder
        self._network = network
        self._transport = transport
        source = [transport.site_flag, site.gallery.url] if urls is None else ["--urls", str(urls)]
        self._flags = [*source, "--job", JOB, "--output", str(self.output), *flags]
        self.collectors = [self._collector(machine) for machine in plan.collectors[: transport.collectors]]
        self.workers: dict[str, Door] = {}

    @property
    def doors(self) -> list[Door]:
        return [*self.collectors, *self.workers.values()]

    @property
    def machines(self) -> list[str]:
        """Return all that can be cut off: each door's, and that of the transport."""
        return [door.machine for door in self.doors] + [self.broker_machine] * bool(self.broker_machine)

    @property
    def broker_machine(self) -> str:
        """Return where the queue is, `""` where that is a collector's business."""
        return self._transport.machine

    @property
    def brokers(self) -> list[int]:
        """Return the processes where the queue is."""
        own = self._transport.process
        if own is not None:
            return [own.pid] if own.poll() is None else []
        return [process for door in self.collectors if door.code is None for process in door.broker]

    @property
    def output(self) -> Path:
        return self._folder / "out"

    def _collector(self, machine: str) -> Door:
        return self._door(self._transport.door, machine, [*self._transport.collector_flags(machine), *self._flags])

    def _door(self, door: str, machine: str, flags: Sequence[str]) -> Door:
        command = [*self._network.at(machine), sys.executable, "-m", door, *flags]
        return Door(door, machine, command, self._folder / f"{machine}.log", self._folder / f"state-{machine}")

    def collect(self) -> None:
        """Start the collectors."""
        for collector in self.collectors:
            collector.start()

    def work(self, machine: str, processes: int = 1, wait: float = 10) -> Door:
        """Start download workers on a machine, which do without a collector for `wait` seconds."""
        flags = [*self._transport.worker_flags(machine), "--processes", str(processes), "--wait", str(wait)]
        door = self.workers[machine] = self._door("crawler.download", machine, flags)
        door.start()
        return door

    def close(self) -> None:
        for door in self.doors:
            if door.starts:
                door.kill()

    # What befalls it

    def mend_broker(self) -> None:
        """Start again what nobody else does."""
        self._transport.mend()

    def cut(self, machine: str) -> None:
        self._network.set(machine, "down")

    def restore(self, machine: str) -> None:
        self._network.set(machine, "up")

    def pause(self, machine: str) -> Pause:
        """Stop all processes of the workers on a machine."""
        pause = Pause(machine, tuple(self.workers[machine].processes), time.monotonic())
        send(signal.SIGSTOP, pause.processes)
        return pause

    def go_on(self, pause: Pause) -> None:
        """Let processes go on that were stopped."""
        send(signal.SIGCONT, pause.processes)
        self.stops.append(Stopped(pause.machine, pause.start, time.monotonic()))

    # What came of it

    @property
    def asked(self) -> list[Asked]:
        return read_record(self.site.record)

    def fetched(self, number: int, seconds: float = 30) -> None:
        """Wait until the site has been asked for so many images."""
        wait_for(lambda: sum(one.path.startswith("/i/") for one in self.asked) >= number, seconds)

    def ends(self, seconds: float = 60) -> list[int]:
        """Wait for all doors, and return the codes that they ended with."""
        until = time.monotonic() + seconds
        return [door.ends(max(0.1, until - time.monotonic())) for door in self.doors]

    def leave(self, seconds: float) -> None:
        """Give workers of a run that is over time to end; who was cut off when it ended is killed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(door.code is None for door in self.doors):
            time.sleep(0.1)
        self.close()

    @property
    def has_ledger(self) -> bool:
        return (self.output / JOB / "metadata.jsonl").exists()

    def judge(self) -> Found:
        return judge(self.output / JOB, self.site.gallery.digests())

    def manners(self, most: int, delay: float = 0.0) -> Manners:
        return manners(self.asked, self.stops, most, delay)
