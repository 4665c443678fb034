"""Images a second, CPU time and memory of this crawler and of other tools, from nginx on loopback.

The tools take turns, and every file that they store is compared with its source. Results go to benchmarks/results,
those of a part (--quick, --images, --only) or elsewhere (--work) to `results` below the data directory.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.comparison import compare
from benchmarks.datasets import PillowMissing, default_directory
from benchmarks.peers import TOOLS
from benchmarks.plan import QUICK_PARTS, Plan
from benchmarks.servers import ServerMissing
from benchmarks.sets import LONG, SETS, SLOPE, Set
from benchmarks.slope import print_slopes

_RESULTS = Path(__file__).parent / "results"
#: How long ext4 makes new files slowly near those that were removed.
_SLOW_SECONDS = 360.0


def run_sets(plan: Plan, entries: list[Set], results: Path) -> bool:
    """Compare on each set, write its results, and tell whether there are any."""
    reports = []
    for entry in entries:
        try:
            report = compare(plan, entry)
        except ServerMissing as missing:
            print(f"{entry.name} is left out: {missing}", file=sys.stderr)
            continue
        if report is not None:
            report.write(results)
            print(f"\n{report.table()}\nwritten to {results}", flush=True)
            reports.append(report)
    return bool(reports)


def main() -> None:
    args = _parser().parse_args()
    data, place = args.data.absolute(), (args.work or args.data).absolute()
    runs = args.runs or (1 if args.quick else 3)
    partial = args.quick or args.images or args.only or args.work
    results = args.results or (data / "results" if partial else _RESULTS)
    entries = [entry for entry in (*SETS, LONG) if entry.name in args.set] if args.set else list(SETS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not args.work:
        _warn_of_removed_files(place)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=place) as work:
        plan = Plan(data, Path(work), runs, args.limit, args.quick, args.images, args.only)
        try:
            done = (
                print_slopes(plan, entries if args.set else [SLOPE]) if args.slope else run_sets(plan, entries, results)
            )
        except (PillowMissing, ServerMissing) as missing:
            sys.exit(str(missing))
        except KeyboardInterrupt:
            sys.exit(130)
    if not done:
        sys.exit("nothing could be run")


def _warn_of_removed_files(place: Path) -> None:
    """Say so where the run before ended a moment ago: it removed its files, and they slow this one."""
    age = time.time() - place.stat().st_mtime if place.is_dir() else _SLOW_SECONDS
    if age < _SLOW_SECONDS:
        said = f"{place} was changed {age:.0f} s ago. Where a benchmark removed its files, ext4 is slow for minutes."
        print(said, file=sys.stderr)


def _tool_names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in _NAMES:
            raise argparse.ArgumentTypeError(f"no tool is called {name!r}; there are {', '.join(_NAMES)}")
    return names


_NAMES = [tool.name for tool in TOOLS]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    names = [entry.name for entry in (*SETS, LONG)]
    add("--set", action="append", choices=names, help="this set, may be repeated; all but small200k by default")
    add("--only", type=_tool_names, default=(), metavar="TOOL,TOOL", help=f"these tools, of {', '.join(_NAMES)}")
    add("--runs", type=_positive, help="runs of each tool (3; 1 with --quick)")
    add("--images", type=_positive, help="images of each set")
    add("--quick", action="store_true", help=f"one image of {QUICK_PARTS}, one run")
    add(
        "--slope",
        action="store_true",
        help="images/s from a tenth of a set to all of it, without start and end; of ours and curl: of 200,000",
    )
    add("--limit", type=float, default=900.0, metavar="SECONDS", help="after which a run is killed (%(default)s)")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        default=default_directory(),
        help="where data sets and peers are kept (%(default)s)",
    )
    add("--work", type=Path, metavar="DIR", help="where what is fetched goes until the end (the same)")
    add("--results", type=Path, metavar="DIR", help="where tables and bars are written")
    return parser


if __name__ == "__main__":
    main()
