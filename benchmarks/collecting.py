"""Pages a second, and CPU a page, of the link collector beside Scrapy: `python benchmarks/collecting.py`.

Both read the same site of 2,000 pages from one nginx by turns, follow every link, and take every image with its
candidates and words; ours puts them into its queue on disk, Scrapy writes lines of JSON. Ours is stopped when its
last page is read, since its images wait for workers that are not there; that takes part in the CPU, not in the pages
a second. Scrapy comes with `make bench-peers`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.datasets import default_directory, pages
from benchmarks.measure import Cost, measure
from benchmarks.peers import Installed
from benchmarks.servers import serve

_HERE = Path(__file__).parent
_SCRAPY = Installed("scrapy")
#: Seconds after which a run is given up.
_LIMIT = 300.0


def ways(data: Path, processes: int) -> dict[str, list[str]]:
    """Return the commands by their names; URL, number of pages and a new directory follow."""
    ours = [sys.executable, str(_HERE / "collect_site.py")]
    found = {"ours, 1 page process": [*ours, "1"]}
    if processes > 1:
        found[f"ours, {processes} page processes"] = [*ours, str(processes)]
    if python := _SCRAPY.find(data):
        found[f"Scrapy {_SCRAPY.version(python)}"] = [python, str(_HERE / "scrapy_site.py")]
    return found


def seconds_of(cost: Cost) -> float:
    """Return how long it took to read all pages, as the command told."""
    told = cost.output.strip().rpartition("\n")[2]
    if cost.code or not told.startswith("read in "):
        sys.exit(f"a run failed:\n{cost.output}")
    return float(told.split()[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_directory(), help="where data sets are (%(default)s)")
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2, help="page processes of the second way of ours")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    site = pages(args.data.absolute(), args.pages)
    number = len(site.digests)
    commands = ways(args.data.absolute(), args.processes)
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with serve(site.root, number) as url:
        for _ in range(args.runs):
            for name, command in commands.items():
                with tempfile.TemporaryDirectory() as work:
                    cost = measure([*command, f"{url}/index.html", str(number), work], _LIMIT)
                costs[name].append((number / seconds_of(cost), 1000 * cost.cpu_seconds / number))
    print(f"{number} pages of {site.size / number / 1000:.0f} kB, median of {args.runs}")
    for name, both in costs.items():
        rates, cpu = zip(*both, strict=True)
        print(f"{name:<24} {statistics.median(rates):6.0f} pages/s {statistics.median(cpu):7.2f} ms of CPU a page")


if __name__ == "__main__":
    main()
