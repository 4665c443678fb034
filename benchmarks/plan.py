"""What is to be run: how much of each set, by which tools, how often."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets import Kind
from benchmarks.peers import TOOLS, Tool
from benchmarks.sets import Set

#: A quick plan has one part of so many.
QUICK_PARTS = 4
#: Disk that is to be left beside what tools store, and beside their own files of which some write a lot.
_SPARE = 1.3


@dataclass(frozen=True)
class Found:
    """A tool that is installed, and how many images it gets; `part` tells that others get more."""

    tool: Tool
    program: str
    version: str
    count: int
    part: bool


@dataclass(frozen=True)
class Plan:
    """`images` and `only` of a set's images and tools, where they are given; what is fetched goes to `work`."""

    data: Path
    work: Path
    runs: int
    limit: float
    quick: bool = False
    images: int | None = None
    only: tuple[str, ...] = ()

    def count(self, entry: Set) -> int:
        """Return how many images of a set are fetched."""
        return self.images or self._part(entry.images)

    def find(self, entry: Set) -> tuple[list[Found], list[str]]:
        """Return the tools of a set that are installed, and the names of the others."""
        found, absent = [], []
        for tool in self._tools(entry):
            program = tool.origin.find(self.data)
            if program is None:
                print(f"{tool.name} is not installed: {tool.origin.cure}", file=sys.stderr)
                absent.append(tool.name)
            else:
                found.append(self._found(tool, program, self.count(entry)))
        return found, absent

    def check_room(self, kind: Kind, count: int) -> None:
        """End the program where the disk has no room for so many images."""
        wanted = count * kind.target * _SPARE
        free = shutil.disk_usage(self.work).free
        if wanted > free:
            sys.exit(f"{self.work} has {free / 1e9:.0f} GB free, {wanted / 1e9:.0f} GB are needed: name another --work")

    def _tools(self, entry: Set) -> Sequence[Tool]:
        names = self.only or entry.tools
        return [tool for tool in TOOLS if not names or tool.name in names]

    def _found(self, tool: Tool, program: str, count: int) -> Found:
        given = min(count, self._part(tool.first)) if tool.first else count
        return Found(tool, program, tool.origin.version(program), given, given < count)

    def _part(self, count: int) -> int:
        return count // QUICK_PARTS if self.quick else count
