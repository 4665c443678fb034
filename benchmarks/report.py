"""A set's results as a table and as bars."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import OURS
from benchmarks.rounds import Run

#: Of a grey that can be read on white and on black, as the bars' colours can.
_TEXT, _OURS, _OTHERS = "#808080", "#3b82f6", "#9ca3af"
_HEADINGS = ("tool", "version", "images/s", "range", "CPU s per 10,000", "peak RSS MB", "failures")


@dataclass
class Row:
    """A tool and its runs; it got the first `part` images only, where that is a number, and `encoded` them again."""

    name: str
    version: str
    part: int | None = None
    encoded: bool = False
    runs: list[Run] = field(default_factory=list)

    @property
    def title(self) -> str:
        notes = [f"first {self.part:,}"] if self.part else []
        if self.encoded:
            notes.append("encoded again")
        return f"{self.name} ({', '.join(notes)})" if notes else self.name

    @property
    def rates(self) -> list[float]:
        return [run.rate for run in self.runs]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu_seconds(self) -> float:
        """The CPU seconds of 10,000 images; not a number where there are none."""
        return statistics.median(
            10_000 * run.cost.cpu_seconds / run.outcome.right if run.outcome.right else float("nan")
            for run in self.runs
        )

    @property
    def peak_bytes(self) -> int:
        return max(run.cost.peak_bytes for run in self.runs)

    @property
    def failures(self) -> str:
        said = Counter(run.failures for run in self.runs if run.failures)
        return "; ".join(text if times == 1 else f"{text} ({times} times)" for text, times in said.items()) or "0"


@dataclass
class Report:
    """What a set's table and bars show; `limits` are the server's alone, by how it was asked."""

    name: str
    title: str
    facts: str
    limits: dict[str, float]
    rows: list[Row]
    absent: Sequence[str]

    def table(self) -> str:
        lines = [f"# {self.title}", "", self.facts, "", _line(_HEADINGS), _line("---" for _ in _HEADINGS)]
        lines += [_line(_limit_cells(asked, rate)) for asked, rate in self.limits.items()]
        lines += [_line(_cells(row)) for row in self._sorted()]
        if any(row.part for row in self.rows):
            lines += ["", "Slow tools got the first images of the list only, as many as stand beside them."]
        if any(row.encoded for row in self.rows):
            lines += ["", "What is encoded again is compared by the number that each image carries, else by its bytes."]
        if self.absent:
            lines += ["", f"Not installed: {', '.join(self.absent)}."]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write the table, and the bars where the library for them is installed."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(self.table())
        try:
            self._draw(folder / f"{self.name}.svg")
        except ModuleNotFoundError as error:
            print(f"no bars are drawn without {error.name}: pip install --editable '.[bench]'")

    def _sorted(self) -> list[Row]:
        return sorted(self.rows, key=lambda row: -row.rate)

    def _draw(self, path: Path) -> None:
        import matplotlib
        from matplotlib.figure import Figure

        rows = self._sorted()[::-1]
        rates = [row.rate for row in rows]
        ranges = [[row.rate - min(row.rates) for row in rows], [max(row.rates) - row.rate for row in rows]]
        colours = [_OURS if row.name == OURS else _OTHERS for row in rows]
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name, "text.color": _TEXT}):
            figure = Figure(figsize=(8, 1 + 0.35 * len(rows)), layout="constrained")
            axes = figure.add_subplot()
            bars = axes.barh([row.title for row in rows], rates, xerr=ranges, color=colours, ecolor=_TEXT)
            axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4)
            axes.set_title(self.title, loc="left", fontsize="medium")
            axes.set_xlabel(self._caption(), color=_TEXT)
            axes.set_facecolor("none")
            axes.margins(x=0.12)
            axes.tick_params(colors=_TEXT)
            axes.spines[:].set_visible(False)
            figure.savefig(path, transparent=True, metadata={"Date": None})

    def _caption(self) -> str:
        limit = max(self.limits.values(), default=0)
        return "images a second" + (f"; the server alone gives {limit:,.0f}" if limit else "")


def _limit_cells(asked: str, rate: float) -> list[str]:
    return [f"the server alone: {asked}", "", f"{rate:,.0f}", "", "", "", ""]


def _cells(row: Row) -> list[str]:
    name, rate = row.title, f"{row.rate:,.0f}"
    if row.name == OURS:
        name, rate = f"**{name}**", f"**{rate}**"
    cpu = f"{row.cpu_seconds:.1f}"
    spread = f"{min(row.rates):,.0f} to {max(row.rates):,.0f}"
    return [name, row.version, rate, spread, cpu, f"{row.peak_bytes / 1e6:.0f}", row.failures]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
