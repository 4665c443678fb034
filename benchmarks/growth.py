"""What a task costs the broker as its queue grows, in microseconds.

`python benchmarks/growth.py --sizes 4 5 6 7 --picture growth.svg`

The state lies on disk with synchronous FULL; the broker runs in this process, so that nothing else is counted. At each
size (powers of ten) images are put: new ones, then a batch of which nine of ten are known; then some are taken and
settled as one download worker does, and some more after the broker has begun anew: then none is in its memory, where of
few hosts all are that were put last.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.broker import RESULT
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import Found, ImageDetail, Kind, Report, SourceDetail, Stored, Task, Words, pack
from crawler.spec import Spec

#: Tasks that a figure is the mean of.
MEASURED = 20_000
BATCH = 1000


class Row(NamedTuple):
    """What a task costs at one size: microseconds each, and the peak of memory in MB."""

    size: int
    put: float
    known: float
    settled: float
    read: float  #: taken and settled after a new beginning
    peak: float


def images(numbers: range, hosts: int) -> list[Found]:
    detail, words = pack(ImageDetail()), Words(found_in="img@src", alt="a picture")
    urls = (f"http://h{n % hosts}.example.com/some/path/to/image-{n:09}.jpg" for n in numbers)
    return [Found(Kind.IMAGE, url, detail, words) for url in urls]


def batches(first: int, last: int) -> Iterator[range]:
    for start in range(first, last, BATCH):
        yield range(start, min(start + BATCH, last))


def put(broker: SqliteBroker, first: int, last: int, hosts: int) -> float:
    """Put images by their numbers, and return the microseconds for each."""
    spent = 0.0
    for numbers in batches(first, last):
        found = images(numbers, hosts)
        began = time.perf_counter()
        broker.put(found, 1)
        spent += time.perf_counter() - began
    return 1e6 * spent / max(last - first, 1)


def put_mostly_known(broker: SqliteBroker, size: int, hosts: int) -> float:
    """Put batches of which nine of ten are known already, spread over all; `size` are known."""
    spent, step, fresh = 0.0, max(size // MEASURED, 1), size
    for numbers in batches(0, MEASURED):
        known = [
            image for n in numbers if n % 10 for image in images(range(n * step % size, n * step % size + 1), hosts)
        ]
        fresh += BATCH // 10
        found = known + images(range(fresh - BATCH // 10, fresh), hosts)
        began = time.perf_counter()
        broker.put(found, 1)
        spent += time.perf_counter() - began
    return 1e6 * spent / MEASURED


def settle(broker: SqliteBroker, number: int) -> float:
    """Take and settle images, and return the microseconds for each."""
    tasks: list[Task] = []
    done = heard = 0
    began = time.perf_counter()
    while done < number:
        numbers = [task.number for task in tasks]
        stored = Stored(numbers, [12_000] * len(numbers), [RESULT] * len(numbers))
        reply = broker.exchange("bench", Report(stored=stored, room={Kind.IMAGE: 256}, heard=heard))
        heard, tasks = reply.serial, [task for task in reply.tasks if task.kind is Kind.IMAGE]
        done += len(numbers)
    return 1e6 * (time.perf_counter() - began) / done


def draw(rows: list[Row], hosts: int, path: Path) -> None:
    """Draw microseconds a task, and memory, over the number of tasks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    spent, memory = figure.subplots(1, 2)
    sizes = [row.size for row in rows]
    for name, values in {
        "put": [row.put for row in rows],
        "put, 90% known": [row.known for row in rows],
        "taken and settled": [row.settled for row in rows],
        "the same, from the state": [row.read for row in rows],
    }.items():
        spent.plot(sizes, values, marker="o", label=name)
    memory.plot(sizes, [row.peak for row in rows], marker="o")
    spent.set_title(f"microseconds a task, {hosts:,} hosts", loc="left", fontsize="medium")
    memory.set_title("peak memory of the broker, MB", loc="left", fontsize="medium")
    for axes in (spent, memory):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("tasks waiting")
    spent.legend()
    figure.savefig(path, metadata={"Date": None})


def begun(path: Path) -> SqliteBroker:
    broker = SqliteBroker(path)
    source = ("file:///list", SourceDetail(sort="list"))
    broker.begin(Spec(job="bench", sources=(source,), obey_robots=False, requests_per_host=512))
    return broker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 5, 6], help="powers of ten")
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="SVG that is drawn of it")
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queue.sqlite"
        broker = begun(path)
        size = 0
        print("tasks      put   put, 90% known   taken and settled   from the state   peak MB   (microseconds a task)")
        for power in args.sizes:
            fresh = put(broker, size, 10**power, args.hosts)
            size = 10**power
            known = put_mostly_known(broker, size, args.hosts)
            size += MEASURED // 10
            measured = min(MEASURED, 10**power // 2)
            settled = settle(broker, measured)
            broker.close()
            broker = begun(path)
            settle(broker, 1)  # gives nothing out until a lease is over, since somebody may hold it
            read = settle(broker, measured)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"10^{power} {fresh:9.1f} {known:16.1f} {settled:19.1f} {read:16.1f} {peak:9.0f}", flush=True)
            rows.append(Row(size, fresh, known, settled, read, peak))
        broker.close()
    if args.picture:
        draw(rows, args.hosts, args.picture)


if __name__ == "__main__":
    main()
