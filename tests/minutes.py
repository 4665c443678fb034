"""A job that a real cron daemon starts every minute, for some minutes: `python tests/minutes.py --minutes 10`.

A run takes a minute and a half, so that each other start finds the job running; now and then all its processes are
killed. The daemon has a mount namespace of its own, in which the machine's crontabs are not seen. Prints each start
with its exit code; exits with 1 where two runs overlapped, a refusal was no 75, or a start after a kill was refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from acceptance.here import children, page
from servers.faulty import FaultySite
from servers.pictures import png

ROOT = Path(__file__).parents[1]
IMAGES, PAUSE = 45, 2.0
#: Seconds from one kill to the next.
KILL_EVERY = 200.0
#: Exit codes of a start: done, refused, and killed.
DONE, REFUSED, KILLED = 0, 75, 137


class Job:
    """What cron starts, and what came of it."""

    def __init__(self, folder: Path, site: FaultySite) -> None:
        self.folder = folder
        self.codes = folder / "codes"
        self.codes.touch()
        self.crontabs = folder / "cron.d"
        self.crontabs.mkdir()
        crawl = (
            f"PYTHONPATH={ROOT} {sys.executable} -m crawler {site.url} --job j --output {folder}/out "
            f"--state {folder}/state --allow-net 127.0.0.0/8 --delay {PAUSE} --refresh always --quiet"
        )
        # One line, as a person writes it; the shell tells how it ended, also where it was killed.
        line = (
            f"* * * * * root s=$(date +\\%s); {crawl} >> {folder}/said 2>&1; echo $s $(date +\\%s) $? >> {self.codes}"
        )
        (self.crontabs / "crawler").write_text(f'SHELL=/bin/sh\nMAILTO=""\n{line}\n')

    @property
    def starts(self) -> list[tuple[int, int, int]]:
        """Beginning, end and exit code of each start that has ended."""
        lines = [tuple(map(int, line.split())) for line in self.codes.read_text().splitlines()]
        return [(began, ended, code) for began, ended, code in lines]

    def doors(self) -> list[int]:
        """Return the processes that conduct the job now."""
        found = subprocess.run(["pgrep", "-f", f"^{sys.executable} -m crawler .*--state {self.folder}/state"],
                               capture_output=True, text=True, check=False).stdout  # fmt: skip
        return [int(number) for number in found.split()]


@contextlib.contextmanager
def daemon(crontabs: Path) -> Iterator[None]:
    """Run cron with these crontabs and no others, until the block ends."""
    hide = "mount -t tmpfs none /run && mount -t tmpfs none /var/spool/cron && mkdir /var/spool/cron/crontabs"
    script = f"{hide} && mount --bind {crontabs} /etc/cron.d && mount --bind /dev/null /etc/crontab && exec cron -f"
    process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    try:
        time.sleep(1.0)
        if process.poll() is not None:
            sys.exit("cron did not start")
        yield
    finally:
        below = children(process.pid)
        process.terminate()
        process.wait()
        for number in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)


def kill(job: Job) -> int:
    """Kill the job's processes where it runs, and return how many were killed."""
    doors = [door for door in job.doors() if len(children(door)) > 2]  # not one that is being refused
    for door in doors:
        for number in (door, *children(door)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    return len(doors)


def watch(job: Job, until: float) -> list[float]:
    """Kill now and then, and return when."""
    kills: list[float] = []
    due = time.time() + KILL_EVERY / 2
    while time.time() < until:
        if time.time() > due and 20 < time.time() % 60 < 50 and kill(job):
            kills.append(time.time())
            due = time.time() + KILL_EVERY
        time.sleep(0.5)
    return kills


def faults(starts: list[tuple[int, int, int]], kills: list[float]) -> list[str]:
    """Return what is wrong with how the starts went."""
    wrong = [f"the start at {began} ended with {code}" for began, _, code in starts
             if code not in (DONE, REFUSED, KILLED)]  # fmt: skip
    ran = [(began, ended) for began, ended, code in starts if code != REFUSED]
    wrong += [f"runs overlap at {later}" for (_, ended), (later, _) in pairwise(ran) if later < ended]
    for began, _, code in starts:
        running = any(at < began < end for at, end in ran)
        if code == REFUSED and not running:
            wrong.append(f"the start at {began} was refused though nothing ran")
    if sum(code == KILLED for _, _, code in starts) != len(kills):
        wrong.append("not every kill ended a start")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    args = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("cron") is None:
        sys.exit("it takes root, and Debian's package cron")
    with tempfile.TemporaryDirectory() as name, FaultySite() as site:
        folder = Path(name)
        names = [f"/i/{n}.png" for n in range(IMAGES)]
        site.add("/", page(*names), "text/html")
        for n, path in enumerate(names):
            site.add(path, png(n))
        job = Job(folder, site)
        with daemon(job.crontabs):
            kills = watch(job, time.time() + 60.0 * args.minutes)
        until = time.time() + 300.0
        while job.doors() and time.time() < until:  # the last one ends by itself
            time.sleep(0.5)
        time.sleep(3.0)
        starts = sorted(job.starts)
        for began, ended, code in starts:
            print(f"{time.strftime('%H:%M:%S', time.localtime(began))}  {ended - began:4d} s  exit {code}")
        runs = [json.loads(file.read_text())["run"] for file in sorted((folder / "out" / "j" / "runs").glob("*.json"))]
        wrong = faults(starts, kills)
        refused = sum(code == REFUSED for *_, code in starts)
        print(f"{len(starts)} starts, {refused} refused, {len(kills)} kills, runs {runs}")
        print("\n".join(wrong) or "one run at a time, and no lock outlived its process")
        return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
