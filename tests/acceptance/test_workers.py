"""Workers of other machines outlive their collector: they wait for it, come back to it, and serve the next one."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from acceptance.here import OPEN, Here, asked, is_open, kill_all, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import png
from servers.ports import free_port

IMAGES = [f"/i/{n}.png" for n in range(80)]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    """80 images that take 2 seconds in all."""
    with FaultySite() as made:
        made.add("/", page(*IMAGES), "text/html")
        for n, path in enumerate(IMAGES):
            made.slow(path, png(n), 0.2)
        yield made


def worker(here: Here, port: int, *arguments: str) -> subprocess.Popen[str]:
    server = ["--server", f"127.0.0.1:{port}", "--processes", "1"]
    return here.start("crawler.download", *server, "--log-file", str(here.log), *arguments)


def collect(here: Here, site: FaultySite, port: int, *arguments: str) -> subprocess.Popen[str]:
    listen = ["--listen", f"127.0.0.1:{port}", "--output", str(here.output)]
    return here.start("crawler.collect", "--site", site.url, *listen, *OPEN, *(arguments or ("--job", "j")))


def test_one_that_works_for_ever_serves_one_job_after_the_other(here: Here, site: FaultySite) -> None:
    port = free_port()
    forever = worker(here, port, "--forever")
    for job in ("one", "two"):
        collector = collect(here, site, port, "--job", job)
        lines, errors = collector.communicate(timeout=30)
        assert collector.returncode == 0, errors
        assert sorted(lines.splitlines()) == sorted(f"{site.url}{path}--->success" for path in IMAGES)
        assert len(list((here.output / job).rglob("*.png"))) == 80
    assert forever.poll() is None
    forever.send_signal(signal.SIGTERM)
    assert forever.wait(10) == 143


@pytest.mark.alone
def test_one_whose_collector_was_killed_comes_back_to_the_next(here: Here, site: FaultySite) -> None:
    port = free_port()
    job = ("--job", "j", "--lease", "6")
    collector, loyal = collect(here, site, port, *job), worker(here, port)
    wait_for(lambda: len(asked(site)) > 20)
    kill_all(collector)
    wait_for(lambda: here.said("trying again"))
    second = collect(here, site, port, *job)
    wait_for(lambda: is_open(port))
    began = time.monotonic()
    wait_for(lambda: here.said("connected again"))
    assert time.monotonic() - began < 10
    assert second.wait(30) == 0 and loyal.wait(10) == 0
    assert sorted(here.rows("metadata.jsonl")) == sorted(site.url + path for path in IMAGES)
    assert len({row["worker"] for row in here.rows("metadata.jsonl").values()}) == 1, "it is the same worker"
    assert sorted(asked(site)) == sorted(IMAGES), "what it held was not given out again"
    assert here.is_clean()


@pytest.mark.alone
def test_one_without_a_collector_says_that_it_waits(here: Here) -> None:
    port = free_port()
    began = time.monotonic()
    code, _, errors = here.run("crawler.download", "--server", f"127.0.0.1:{port}", "--wait", "2")
    assert code == 69 and 2 <= time.monotonic() - began < 8
    assert errors.count("waiting for a collector") == 1
    assert errors.count(f"nothing listens at 127.0.0.1:{port}") == 2, "when it begins to wait, and when it gives up"
