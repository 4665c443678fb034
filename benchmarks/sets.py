"""The sets that tools are compared on."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.datasets import LARGE, SMALL, Kind
from benchmarks.peers import OURS
from benchmarks.servers import LATENCY


@dataclass(frozen=True)
class Set:
    """Images of a kind, over how many connections they are fetched, and by which tools: by all where none is named."""

    name: str
    kind: Kind
    images: int
    connections: int = 64
    late: bool = False
    tools: tuple[str, ...] = ()

    def title(self, count: int) -> str:
        late = f", {LATENCY * 1000:.0f} ms late" if self.late else ""
        return f"{count:,} JPEGs of about {self.kind.target // 1000} kB{late}, {self.connections} connections"


SETS = (
    Set("small", SMALL, SMALL.default),
    Set("large", LARGE, LARGE.default),
    Set("late", SMALL, SMALL.default, connections=256, late=True, tools=(OURS, "bare", "curl")),
    Set("late1024", SMALL, SMALL.default, connections=1024, late=True, tools=(OURS, "bare", "curl")),
)
#: Only run where it is asked for.
LONG = Set("small200k", SMALL, 200_000, tools=(OURS, "bare", "curl", "wget2", "aria2c"))
SLOPE = Set("slope", SMALL, LONG.images, tools=(OURS, "curl"))
