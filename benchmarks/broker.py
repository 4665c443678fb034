"""Tasks a second that one client takes and settles through the manager, durably: `python benchmarks/broker.py`.

The broker runs in its own process over a UNIX socket, state on disk with synchronous FULL; the client asks for 256
tasks an exchange and settles each with a result as a download worker would.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import STOP_SIGNAL, socket_path
from crawler.brokers.process import run_broker
from crawler.model import (
    Found,
    ImageDetail,
    ImageResult,
    Kind,
    Report,
    SourceDetail,
    Spec,
    State,
    Stored,
    Task,
    Words,
    pack,
)

KEY = b"0" * 64


def fill(broker: ManagerBroker, tasks: int, hosts: int) -> float:
    """Put `tasks` images over `hosts` hosts, and return how many a second."""
    detail, words = pack(ImageDetail()), Words(found_in="img@src", alt="a picture")
    began = time.perf_counter()
    for start in range(0, tasks, 1000):
        stretch = range(start, min(start + 1000, tasks))
        urls = (f"http://h{n % hosts}.example.com/some/path/to/image-{n:09}.jpg" for n in stretch)
        broker.put([Found(Kind.IMAGE, url, detail, words) for url in urls], 1)
    return tasks / (time.perf_counter() - began)


def stored_of(tasks: list[Task]) -> Stored:
    """Return what a download worker says of images that it stored."""
    stored = Stored()
    for task in tasks:
        result = ImageResult(
            file="example.com/some/path/to/image-0123456789ab.jpeg", sha256="0" * 64, format="jpeg", width=640,
            height=480, status=200, etag='"5f1-6a"',
            last_modified="Sat, 21 Nov 2026 00:00:00 GMT",
        )  # fmt: skip
        stored.add(task.number, 12000, pack(result))
    return stored


def drain(broker: ManagerBroker, batch: int) -> float:
    """Take and settle everything, and return how many tasks a second.

    As in a worker, a thread exchanges while the next report is made.
    """
    heard = count = 0
    tasks: list[Task] = []
    stored = Stored()
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as courier:
        while True:
            held = [task.number for task in tasks]
            report = Report(stored=stored, held=held, room={Kind.IMAGE: batch, Kind.SOURCE: 1}, heard=heard)
            answer = courier.submit(broker.exchange, "bench", report)
            stored = stored_of(tasks)
            reply = answer.result()
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
    sys.setswitchinterval(0.0001)  # the thread that exchanges need not wait for the one that makes reports
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
