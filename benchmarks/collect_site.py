"""Reads a site with our collector until its last page is read: `python benchmarks/collect_site.py 1 URL 2000 DIR`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import whereabouts
from crawler.brokers.wire import read_key
from crawler.building import KEY_NAME
from crawler.errors import CrawlerError

_JOB = "bench"


def command(processes: str, url: str, work: Path) -> list[str]:
    flags = {
        "--site": url, "--job": _JOB, "--output": str(work / "images"), "--state": str(work / "state"),
        "--listen": "127.0.0.1:0", "--page-processes": processes, "--allow-net": "127.0.0.0/8", "--max-alike": "0",
        "--queue-limit": "10000000",
    }  # fmt: skip
    words = [word for pair in flags.items() for word in pair]
    return [sys.executable, "-m", "crawler.collect", *words, "--ignore-robots", "--no-sitemaps", "--quiet"]


def pages_read(broker: ManagerBroker) -> tuple[int, int]:
    """Return how many pages are done, and how many wait."""
    counts = broker.counts()
    return sum(counts.pages.values()), counts.waiting_pages


def wait_until_read(process: subprocess.Popen[bytes], state: Path, number: int) -> None:
    """Wait until all pages are done; looking costs the broker next to nothing."""
    broker: ManagerBroker | None = None
    while process.poll() is None:
        with contextlib.suppress(CrawlerError, OSError):
            if broker is None:
                socket = whereabouts(state / _JOB).socket
                broker = ManagerBroker(ServerAddress(path=socket), read_key(state / KEY_NAME))
            done, waiting = pages_read(broker)
            if done >= number and not waiting:
                return
        time.sleep(0.05)
    sys.exit("the collector ended before all pages were read")


def main() -> None:
    processes, url, number, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    began = time.monotonic()
    process = subprocess.Popen(command(processes, url, work), stdout=subprocess.DEVNULL)
    try:
        wait_until_read(process, work / "state", number)
        seconds = time.monotonic() - began
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        process.wait()
    print(f"read in {seconds:.3f} s")


if __name__ == "__main__":
    main()
