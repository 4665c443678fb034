"""What more worker processes bring where the site, not the machine, takes the time: `python benchmarks/scaling.py`.

The same list from an nginx that answers 50 ms late, by one, two and four processes with 64 connections each, which can
get 1,280 images a second each at the very most. The rate is that between the first and the last tenth of the results;
CPU is of all the crawler's processes, over the whole run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks import servers  # noqa: E402
from benchmarks.datasets import SMALL, DataSet, default_directory, images  # noqa: E402
from benchmarks.measure import Cost, measure  # noqa: E402

PROCESSES = (1, 2, 4)
CONNECTIONS = 64
LIMIT = 600.0


def rate(ledger: Path) -> float:
    """Return the images a second between the first and the last tenth of a run."""
    times = (datetime.fromisoformat(json.loads(line)["time"].replace("Z", "+00:00")) for line in ledger.open())
    seconds = Counter(int(time.timestamp()) for time in times)
    total = sum(seconds.values())
    before, middle = 0, []
    for second in sorted(seconds):
        if before >= total / 10 and before + seconds[second] <= total * 9 / 10:
            middle.append(seconds[second])
        before += seconds[second]
    return sum(middle) / len(middle)


def crawl(url: str, data: DataSet, processes: int, work: Path) -> tuple[float, Cost]:
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        (folder / "urls.txt").write_text("".join(f"{url}/{path}\n" for path in data.digests))
        command = [sys.executable, "-m", "crawler", "--urls", str(folder / "urls.txt"), "--job", "scaling", "--quiet"]
        command += ["--output", str(folder / "out"), "--state", str(folder / "state"), "--allow-net", "127.0.0.0/8"]
        command += ["--requests-per-host", str(CONNECTIONS * max(PROCESSES)), "--ignore-robots"]
        command += ["--processes", str(processes), "--connections", str(CONNECTIONS)]
        cost = measure(command, LIMIT)
        assert cost.code == 0, cost.output
        return rate(folder / "out" / "scaling" / "metadata.jsonl"), cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=SMALL.default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=default_directory())
    parser.add_argument("--work", type=Path, default=None, help="where images are stored while it runs")
    settings = parser.parse_args()
    servers.check(late=True)
    data = images(settings.data, SMALL, settings.images)
    with servers.serve(data.root, settings.images, late=True) as url:
        for number in range(settings.rounds):
            print(f"round {number + 1}", flush=True)
            before = 0.0
            for processes in PROCESSES:
                found, cost = crawl(url, data, processes, settings.work)
                more = f", {found / before:.2f} times as many" if before else ""
                cores = cost.cpu_seconds / cost.seconds
                print(f"  {processes} processes: {found:,.0f} images/s{more}; CPU {cores:.2f} cores", flush=True)
                before = found


if __name__ == "__main__":
    main()
