"""What a broker over Redis takes: `python benchmarks/redis_broker.py --tasks 200000 --clients 4`.

A redis-server of its own, on loopback, with every change in its file (`--fsync always|everysec`). Images are put as a
list has them, with URLs of 90 bytes; then clients take and settle them. Prints tasks a second, microseconds of the
server and of the clients for a task, and bytes of the server's memory: of a waiting task, with its result and without.

`--idle 1000` measures something else: what so many workers cost the server while a run is open and there is no work.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import socket
import subprocess
import tempfile
import time
from multiprocessing.queues import SimpleQueue
from typing import Any, NamedTuple

import redis

from benchmarks.broker import RESULT
from crawler.brokers.redis.broker import RedisBroker
from crawler.brokers.redis.server import Server
from crawler.model import (
    Found,
    ImageDetail,
    Kind,
    PageResult,
    Report,
    Settlement,
    SourceDetail,
    State,
    Stored,
    Verb,
    Words,
    pack,
)
from crawler.spec import Spec

JOB = "bench"
BATCH = 2000
#: Seconds after which a client gives up.
PATIENCE = 300.0
#: Seconds until idle workers rest as long as they will, and seconds that are measured then.
SETTLING, MEASURED = 15.0, 20.0


class Told(NamedTuple):
    """What a client did, and what it took."""

    done: int
    cpu: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def images(first: int, last: int, hosts: int) -> list[Found]:
    detail, words = pack(ImageDetail()), Words(found_in="list")
    urls = (
        f"http://h{n % hosts:05}.example.com/some/path/to/an/image/of/ninety/by/{n:025}.jpg" for n in range(first, last)
    )
    return [Found(Kind.IMAGE, url, detail, words) for url in urls]


def work(url: str, name: str, room: int, told: SimpleQueue[Told]) -> None:
    """Take and settle until the run is finished."""
    broker, heard, done = RedisBroker(Server(url), JOB), 0, 0
    numbers: list[int] = []
    began, until = time.process_time(), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        stored = Stored(numbers, [12_000] * len(numbers), [RESULT] * len(numbers))
        reply = broker.exchange(name, Report(stored=stored, room={Kind.IMAGE: room}, heard=heard))
        heard, done, numbers = reply.serial, done + len(numbers), [task.number for task in reply.tasks]
        if reply.state is State.FINISHED:
            break
        if not numbers:
            time.sleep(reply.retry_in)
    told.put(Told(done, time.process_time() - began))


class Meter:
    """The server's own figures."""

    def __init__(self, port: int) -> None:
        self.client = redis.Redis(port=port)

    def cpu(self) -> float:
        found: dict[str, Any] = self.client.info("cpu")
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])

    def memory(self) -> int:
        return int(self.client.info("memory")["used_memory"])


def put(broker: RedisBroker, source: int, args: argparse.Namespace) -> None:
    for first in range(0, args.tasks, BATCH):
        broker.put(images(first, min(first + BATCH, args.tasks), args.hosts), source)


def settle(url: str, args: argparse.Namespace) -> list[Told]:
    told: SimpleQueue[Told] = multiprocessing.SimpleQueue()
    clients = [
        multiprocessing.Process(target=work, args=(url, f"client-{number}", args.room, told))
        for number in range(args.clients)
    ]
    for client in clients:
        client.start()
    said = [told.get() for _ in clients]
    for client in clients:
        client.join()
    return said


def run(port: int, args: argparse.Namespace) -> None:
    url, meter = f"redis://127.0.0.1:{port}/0", Meter(port)
    broker = RedisBroker(Server(url), JOB)
    source = (("file:///list", SourceDetail(sort="list", path="/list")),)
    broker.begin(Spec(job=JOB, sources=source, obey_robots=False, requests_per_host=512))
    (task,) = broker.exchange("collector", Report(room={Kind.SOURCE: 1})).tasks
    empty, cpu, began = meter.memory(), meter.cpu(), time.monotonic()
    put(broker, task.number, args)
    took, spent = time.monotonic() - began, meter.cpu() - cpu
    print(f"put: {args.tasks / took:,.0f} tasks/s, server {1e6 * spent / args.tasks:.1f} µs a task")
    print(f"waiting: {(meter.memory() - empty) / args.tasks:.0f} bytes a task")
    done = Settlement(number=task.number, verb=Verb.DONE, outcome="success", result=pack(PageResult()))
    broker.exchange("collector", Report(settlements=[done]))
    cpu, began = meter.cpu(), time.monotonic()
    told = settle(url, args)
    took, spent = time.monotonic() - began, meter.cpu() - cpu
    number = sum(each.done for each in told)
    print(
        f"taken and settled: {number / took:,.0f} tasks/s over {args.clients} clients, "
        f"server {1e6 * spent / number:.1f} µs a task, clients {1e6 * sum(each.cpu for each in told) / number:.1f}"
    )
    print(f"with results: {(meter.memory() - empty) / args.tasks:.0f} bytes a task")
    for key in list(meter.client.scan_iter("*results", count=1000)):
        meter.client.delete(key)
    print(f"known, results written out: {(meter.memory() - empty) / args.tasks:.0f} bytes a task")


class Idler:
    """A worker that asks whenever it is told to."""

    def __init__(self, server: Server, name: str) -> None:
        self._broker, self._name, self._heard = RedisBroker(server, JOB), name, 0

    def ask(self) -> float:
        """Return the seconds until it may ask again."""
        room = {Kind.IMAGE: 512, Kind.ROBOTS: 64}
        reply = self._broker.exchange(self._name, Report(room=room, heard=self._heard))
        self._heard = reply.serial
        return reply.retry_in


def idle(port: int, workers: int) -> None:
    """Print what `workers` cost that find no work, in a run that stays open while a collector holds its source."""
    server, meter = Server(f"redis://127.0.0.1:{port}/0"), Meter(port)
    collector = RedisBroker(server, JOB)
    source = (("file:///list", SourceDetail(sort="list", path="/list")),)
    collector.begin(Spec(job=JOB, sources=source, obey_robots=False))
    reply = collector.exchange("collector", Report(room={Kind.SOURCE: 1}))
    (task,), heard = reply.tasks, reply.serial
    fleet = [Idler(server, f"worker-{number}") for number in range(workers)]
    began = time.monotonic()
    due = [(began + number / workers, number) for number in range(workers)]
    measured, cpu, asked = 0.0, 0.0, 0
    spoken = began
    while not measured or time.monotonic() < measured + MEASURED:
        if not measured and time.monotonic() > began + SETTLING:
            measured, cpu, asked = time.monotonic(), meter.cpu(), 0
        if time.monotonic() > spoken + 3.0:
            heard = collector.exchange("collector", Report(held=[task.number], heard=heard)).serial
            spoken = time.monotonic()
        when, number = heapq.heappop(due)
        time.sleep(min(max(when - time.monotonic(), 0.0), 1.0))
        heapq.heappush(due, (time.monotonic() + fleet[number].ask(), number))
        asked += 1
    took, spent = time.monotonic() - measured, meter.cpu() - cpu
    print(f"{workers:,} idle workers: {asked / took:,.0f} requests/s, {100 * spent / took:.1f}% of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--room", type=int, default=1000, help="tasks asked for in one exchange")
    parser.add_argument("--fsync", choices=["always", "everysec"], default="everysec")
    parser.add_argument("--work", help="where the server writes its file")
    parser.add_argument("--idle", type=int, help="workers that find no work")
    args = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        flags = ["--port", str(port), "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", args.fsync]
        server = subprocess.Popen(["redis-server", *flags], stdout=subprocess.DEVNULL)
        try:
            while True:
                try:
                    redis.Redis(port=port).ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            if args.idle:
                idle(port, args.idle)
            else:
                run(port, args)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
