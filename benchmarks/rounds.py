"""Runs of tools against one server, each into directories of its own that stay until all is over.

For minutes after files were removed, ext4 passes over each of their inodes whenever it makes a file near them: seven
times slower was seen. So nothing is removed between timed runs, and each run's directory is made away from the others.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.datasets import DataSet, images
from benchmarks.measure import Cost, measure
from benchmarks.outcome import Outcome, compare
from benchmarks.peers import Job
from benchmarks.plan import Found, Plan
from benchmarks.sets import Set


@dataclass(frozen=True)
class Run:
    """One run of a tool: what it cost, and what it stored."""

    cost: Cost
    outcome: Outcome

    @property
    def rate(self) -> float:
        return self.outcome.right / self.cost.seconds

    @property
    def failures(self) -> str:
        """Return what went wrong in a few words; empty where nothing did."""
        said = [f"{self.outcome.missing:,} missing"] if self.outcome.missing else []
        if self.outcome.wrong:
            said.append(f"{self.outcome.wrong:,} wrong")
        if self.cost.timed_out:
            said.append(f"stopped after {self.cost.seconds:.0f} s")
        elif self.cost.code:
            said.append(f"exit code {self.cost.code}")
        return ", ".join(said)


@dataclass
class Course:
    """A data set, the URL where it is served, and a folder for what is fetched."""

    data: DataSet
    url: str
    folder: Path
    connections: int
    limit: float

    def listed(self, name: str, before: str, count: int) -> Path:
        """Return a file that has the first paths of the data set, each with `before` in front."""
        path = self.folder / f"{name}-{count}.txt"
        if not path.exists():
            path.write_text("".join(f"{before}/{file}\n" for file in self.data.first(count).digests))
        return path

    def run(self, found: Found, count: int) -> Run:
        """Let a tool fetch the first `count` files, and compare what it stored with them."""
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        job = Job(self.listed("urls", self.url, count), folder, self.connections)
        command = found.tool.command(found.program, job)
        os.sync()  # what the run before left to be written is not this one's
        cost = measure(command, self.limit)
        sources = self.data.first(count)
        run = Run(cost, compare(job.output, found.tool.images, sources, encoded=found.tool.encoded))
        print(f"  {found.tool.name}: {run.rate:,.0f} images/s, {cost.seconds:.2f} s {run.failures}", flush=True)
        if run.failures:
            print(cost.output)
        return run


@contextlib.contextmanager
def course(plan: Plan, entry: Set) -> Iterator[Course]:
    """Serve a set from memory, and give what tools run on. Raises ServerMissing."""
    servers.check(late=entry.late)
    data = images(plan.data, entry.kind, plan.count(entry))
    for path in data.digests:
        (data.root / path).read_bytes()
    folder = plan.work / entry.name
    folder.mkdir()
    spread(folder)
    with servers.serve(data.root, len(data.digests), late=entry.late) as url:
        yield Course(data, url, folder, entry.connections, plan.limit)


def spread(folder: Path) -> None:
    """Let ext4 make each directory in `folder` somewhere else, by its name; other file systems need no such flag."""
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["chattr", "+T", str(folder)], stderr=subprocess.DEVNULL, check=False)
