"""Microseconds that an image of 12 kB takes in each stage, each alone: `python benchmarks/stages.py`.

CPU time of one process, the best of some rounds, so that other work on the machine counts little. What runs at the same
time on another core (nginx, the broker beside workers) makes each of them slower in a run.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.datasets import SMALL, default_directory, images
from benchmarks.growth import put, settle
from benchmarks.servers import serve
from crawler.brokers.sqlite import SqliteBroker
from crawler.guard import Guard
from crawler.images.engine import Engine
from crawler.images.verify import verify
from crawler.ledger import write_ledger
from crawler.model import ImageDetail, Kind, SourceDetail, Task, pack
from crawler.spec import Spec
from crawler.stores.files import FileStore
from crawler.stores.names import file_name

CONNECTIONS = 32
SHA256 = "0123456789abcdef" * 4


def each(rounds: int, work: Callable[[], object], count: int) -> float:
    """Return the least microseconds of CPU that `work` took for each of `count`."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return 1e6 * min(spent) / count


def fetch(urls: Sequence[str]) -> None:
    """Fetch all with one engine, and throw the bodies away."""
    engine = Engine(CONNECTIONS, Spec(job="bench"), Guard(("127.0.0.0/8",)))
    waiting = iter([Task(number, Kind.IMAGE, url, url, pack(ImageDetail())) for number, url in enumerate(urls)])
    left = len(urls)
    while left:
        for task in itertools.islice(waiting, engine.free):
            engine.start(task, "")
        left -= len(engine.wait(1.0))
    engine.close()


def store(folder: Path, bodies: Sequence[bytes]) -> None:
    files = FileStore(folder, "host-1-2")
    for number, body in enumerate(bodies):
        files.put(f"a/{number // 1000}/{number % 1000}.jpeg", body, lambda _: None)
    files.close()


class Broker:
    """A broker on disk that keeps what it has between stages."""

    def __init__(self, folder: Path) -> None:
        self.sqlite = SqliteBroker(folder / "queue.sqlite")
        source = ("file:///list", SourceDetail(sort="list"))
        self.sqlite.begin(Spec(job="bench", sources=(source,), obey_robots=False, requests_per_host=512))

    def stages(self, count: int, folder: Path) -> dict[str, float]:
        """Return what a task costs as it is put, taken and settled, and told in the ledger; each is done once."""
        return {
            "broker: put": each(1, lambda: put(self.sqlite, 0, count, 1), count),
            "broker: take and settle": each(1, lambda: settle(self.sqlite, count), count),
            "ledger: read from the broker and written": each(3, lambda: write_ledger(self.sqlite, folder), count),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=None, help="where files and state are made (/tmp)")
    args = parser.parse_args()
    data = images(default_directory(), SMALL, args.images)
    paths = sorted(data.root.rglob("*.jpg"))[: args.images]
    bodies = [path.read_bytes() for path in paths]
    names = [str(path.relative_to(data.root)) for path in paths]
    count = len(bodies)
    with serve(data.root, count) as url, tempfile.TemporaryDirectory(dir=args.work) as work:
        urls = [f"{url}/{name}" for name in names]
        folders = (Path(work, str(number)) for number in itertools.count())
        measured = {
            "libcurl: ask and receive": each(args.rounds, lambda: fetch(urls), count),
            "structure": each(args.rounds, lambda: [verify(body) for body in bodies], count),
            "sha256": each(args.rounds, lambda: [hashlib.sha256(body).hexdigest() for body in bodies], count),
            "name": each(args.rounds, lambda: [file_name(url, SHA256, "jpeg") for url in urls], count),
            "file: written and renamed": each(args.rounds, lambda: store(next(folders), bodies), count),
            **Broker(Path(work)).stages(count, Path(work)),
        }
    print(f"| stage | µs an image of {sum(map(len, bodies)) / count / 1000:.1f} kB |\n|---|---|")
    for stage, spent in measured.items():
        print(f"| {stage} | {spent:.1f} |")


if __name__ == "__main__":
    main()
