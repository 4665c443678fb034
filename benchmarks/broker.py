"""Tasks a second that one client takes and settles through the manager, durably: `python benchmarks/broker.py`.

The broker runs in its own process over a UNIX socket, state on disk with synchronous FULL; the client asks for 256
tasks an exchange and settles each in the next with a result as long as a download worker's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import STOP_SIGNAL, socket_path
from crawler.brokers.process import run_broker
from crawler.model import Found, ImageDetail, ImageResult, Kind, Report, SourceDetail, State, Stored, Task, Words, pack
from crawler.spec import Spec

KEY = b"0" * 64
#: What a download worker says of an image that it stored; making it is that worker's work, not the broker's.
RESULT = pack(
    ImageResult(
        file="example.com/some/path/to/image-0123456789ab.jpeg", sha256="0" * 64, format="jpeg", width=640, height=480,
        status=200, etag='"5f1-6a"', last_modified="Sat, 21 Nov 2026 00:00:00 GMT",
    )
)  # fmt: skip


def fill(broker: ManagerBroker, tasks: int, hosts: int) -> float:
    """Put `tasks` images over `hosts` hosts, and return how many a second."""
    detail, words = pack(ImageDetail()), Words(found_in="img@src", alt="a picture")
    began = time.perf_counter()
    for start in range(0, tasks, 1000):
        stretch = range(start, min(start + 1000, tasks))
        urls = (f"http://h{n % hosts}.example.com/some/path/to/image-{n:09}.jpg" for n in stretch)
        broker.put([Found(Kind.IMAGE, url, detail, words) for url in urls], 1)
    return tasks / (time.perf_counter() - began)


def drain(broker: ManagerBroker, batch: int) -> float:
    """Take and settle everything, and return how many tasks a second."""
    heard = count = 0
    tasks: list[Task] = []
    began = time.perf_counter()
    while True:
        numbers = [task.number for task in tasks]
        stored = Stored(numbers, [12_000] * len(numbers), [RESULT] * len(numbers))
        reply = broker.exchange("bench", Report(stored=stored, room={Kind.IMAGE: batch, Kind.SOURCE: 1}, heard=heard))
        heard, tasks = reply.serial, reply.tasks
        count += len(tasks)
        if reply.state is State.FINISHED:
            return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000, help="as many as a source lets wait")
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    for run in range(args.runs):
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            ours, theirs = multiprocessing.Pipe(duplex=False)
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=run_broker, args=(directory, None, KEY, True, theirs))
            process.start()
            ours.recv()
            broker = ManagerBroker(ServerAddress(path=str(socket_path(directory))), KEY)
            source = ("file:///list", SourceDetail(sort="list"))
            broker.begin(Spec(job="bench", sources=(source,), obey_robots=False, requests_per_host=256))
            put = fill(broker, args.tasks, args.hosts)
            settled = drain(broker, args.batch)
            print(f"run {run + 1}: put {put:,.0f}/s, taken and settled {settled:,.0f}/s", flush=True)
            broker.close()
            assert process.pid is not None
            os.kill(process.pid, STOP_SIGNAL)
            process.join()


if __name__ == "__main__":
    main()
