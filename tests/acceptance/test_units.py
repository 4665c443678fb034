"""What the units of `config/` start, in the environment that they give it; user and sandbox are left out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import asked, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import png
from servers.ports import free_port
from units import CONFIG, PYTHON, Unit, unit

ROOT = CONFIG.parent
IMAGES = 12


class Machine:
    """A machine on which the units are installed: its /var/lib, /etc/crawler and output are folders of the test."""

    def __init__(self, folder: Path, site: FaultySite) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[str]]()
        self.output, self._etc = folder / "images", folder / "etc"
        self._etc.mkdir()
        (self._etc / "sites").write_text(f"# one a line\n{site.url}\n")
        settings = (CONFIG / "crawler.toml").read_text()
        for shown, ours in (
            ("/srv/images", self.output),
            ("/var/log/crawler/crawler.log", folder / "crawler.log"),
            ('# sites_file = "/etc/crawler/sites"', f'sites_file = "{self._etc}/sites"'),
        ):
            assert shown in settings
            settings = settings.replace(shown, str(ours))
        (self._etc / "crawler.toml").write_text(settings)
        self.variables = {"CRAWLER_ALLOW_NET": "127.0.0.0/8", "CRAWLER_LISTEN": f"127.0.0.1:{free_port()}"}

    def start(self, service: Unit, **variables: str) -> subprocess.Popen[str]:
        """Start a service; what its file /etc/crawler/environment would hold is `variables`."""
        assert service.values("EnvironmentFile")[0].removeprefix("-") == "/etc/crawler/environment"
        own = {name: value.replace("/var/lib", str(self.folder / "lib")) for name, value in service.environment.items()}
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), **own, **variables}
        command = [word.replace("/etc/crawler", str(self._etc)) for word in service.command(**environment)]
        assert command[0] == PYTHON
        process = subprocess.Popen(
            [sys.executable, *command[1:]], cwd="/", env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def collect(self, **variables: str) -> subprocess.Popen[str]:
        return self.start(unit("crawler-collect.service"), **self.variables, **variables)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, errors = process.communicate(timeout=90)
    assert out == "", "with --quiet there are no lines"
    return process.returncode, errors


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.add("/", page(*(f"/i/{n}.png" for n in range(IMAGES))), "text/html")
        for n in range(IMAGES):
            made.add(f"/i/{n}.png", png(n))
        yield made


@pytest.fixture
def machine(tmp_path: Path, site: FaultySite) -> Iterator[Machine]:
    made = Machine(tmp_path, site)
    yield made
    made.close()


def test_one_machine_alone(machine: Machine) -> None:
    for run in (1, 2):
        code, errors = end_of(machine.collect(CRAWLER_PROCESSES="1"))
        assert code == 0 and f"run {run} finished" in errors, errors
    assert len(list(machine.output.rglob("*.png"))) == IMAGES
    assert len(list((machine.folder / "lib" / "crawler").glob("*/queue.sqlite"))) == 1


def test_ends_that_are_no_failures(machine: Machine, site: FaultySite) -> None:
    for n in range(1, IMAGES):
        site.slow(f"/i/{n}.png", png(n), 4.0)
    service, slowly = unit("crawler-collect.service"), {"CRAWLER_PROCESSES": "1", "CRAWLER_REQUESTS_PER_HOST": "1"}
    first = machine.collect(**slowly)
    wait_for(lambda: asked(site))
    code, errors = end_of(machine.collect(**slowly))
    assert code == 75 and "is running already" in errors and first.poll() is None
    first.send_signal(signal.SIGTERM)
    stopped, errors = end_of(first)
    assert stopped == 143 and "stopped by a signal" in errors
    limited, errors = end_of(machine.collect(**slowly, CRAWLER_MAX_TIME="2s"))
    assert limited == 3 and "stopped at --max-time" in errors
    assert all(service.is_success(code) for code in (code, stopped, limited))
    assert not any(service.is_success(code) for code in (1, 2, 69))
    for n in range(1, IMAGES):
        site.add(f"/i/{n}.png", png(n))
    code, errors = end_of(machine.collect(CRAWLER_PROCESSES="1"))
    assert code == 0 and "run 1 finished" in errors and len(list(machine.output.rglob("*.png"))) == IMAGES, errors


def test_workers_that_wait_for_the_next_job(machine: Machine) -> None:
    server = machine.variables["CRAWLER_LISTEN"]
    service = unit("crawler-download.service")
    workers = machine.start(service, CRAWLER_SERVER=server, CRAWLER_PROCESSES="1")
    code, errors = end_of(machine.collect())
    assert code == 0 and "run 1 finished" in errors and len(list(machine.output.rglob("*.png"))) == IMAGES
    assert workers.poll() is None
    workers.send_signal(signal.SIGTERM)
    code, errors = end_of(workers)
    assert code == 143 and service.is_success(code), errors
