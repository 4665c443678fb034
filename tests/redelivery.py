"""Kill workers between exchange and report, and time how late others get their tasks: `python tests/redelivery.py`.

Prints the longest time from a kill to the moment at which the last task of that worker was given to another one;
exits with 1 where a task came later than five seconds after the lease, twice, or not at all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.local import STOP_SIGNAL, socket_path
from crawler.brokers.process import run_broker
from crawler.model import Found, ImageDetail, Kind, Report, Settlement, SourceDetail, Verb, pack
from crawler.outcomes import Outcome
from crawler.spec import Spec

KEY = b"0" * 64
EACH = 10
AT_ONCE = 10
SPARE = 5.0


def victim(path: Path, name: str, told: Connection) -> None:
    """Take tasks, tell which, and never report."""
    broker = ManagerBroker(ServerAddress(path=str(path)), KEY)
    tasks = broker.exchange(name, Report(settlements=[], held=[], room={Kind.IMAGE: EACH}, heard=0)).tasks
    told.send([task.number for task in tasks])
    time.sleep(600)


def kill_some(path: Path, round_number: int) -> dict[int, float]:
    """Start workers, kill them while they hold tasks; return when each task lost its holder."""
    started = []
    for number in range(AT_ONCE):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        name = f"victim-{round_number}-{number}"
        process = multiprocessing.get_context("spawn").Process(target=victim, args=(path, name, theirs))
        process.start()
        started.append((ours, process))
    killed: dict[int, float] = {}
    for pipe, process in started:
        numbers = pipe.recv()
        process.kill()
        process.join()
        assert len(numbers) == EACH, f"{len(numbers)} tasks came to a worker"
        killed |= dict.fromkeys(numbers, time.monotonic())
    return killed


class Survivor:
    """The worker that gets what the others held."""

    def __init__(self, broker: ManagerBroker) -> None:
        self._broker = broker
        self._heard = 0
        self._seen: set[int] = set()
        self.longest = 0.0
        self.twice = 0

    def take(self, killed: dict[int, float], seconds: float) -> int:
        """Take and settle what comes, for `seconds` at most; return how many tasks did not come."""
        settlements: list[Settlement] = []
        missing, until = set(killed), time.monotonic() + seconds
        while (missing or settlements) and time.monotonic() < until:
            room = {Kind.IMAGE: 1000} if missing else {}
            reply = self._broker.exchange(
                "survivor", Report(settlements=settlements, held=[], room=room, heard=self._heard)
            )
            self._heard, now = reply.serial, time.monotonic()
            numbers = {task.number for task in reply.tasks}
            self.twice += len(numbers & self._seen)
            self._seen |= numbers
            self.longest = max([self.longest, *(now - killed[number] for number in numbers)])
            missing -= numbers
            settlements = [Settlement(number=n, verb=Verb.DONE, outcome=Outcome.http(410)) for n in numbers]
            time.sleep(0.02)
        return len(missing)


def kill_all(broker: ManagerBroker, path: Path, kills: int, lease: float) -> tuple[Survivor, int]:
    survivor, missing = Survivor(broker), 0
    for round_number in range(kills // AT_ONCE):
        first = round_number * AT_ONCE * EACH
        urls = [f"http://h{n}.example/{n}.png" for n in range(first, first + AT_ONCE * EACH)]
        broker.put([Found(Kind.IMAGE, url, pack(ImageDetail())) for url in urls], 1)
        missing += survivor.take(kill_some(path, round_number), lease + 4 * SPARE)
    return survivor, missing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--lease", type=float, default=3.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=run_broker, args=(directory, None, KEY, True, theirs)
        )
        process.start()
        ours.recv()
        path = socket_path(directory)
        broker = ManagerBroker(ServerAddress(path=str(path)), KEY)
        sources = (("file:///list", SourceDetail(sort="list")),)
        broker.begin(Spec(job="j", sources=sources, obey_robots=False, lease=args.lease))
        survivor, missing = kill_all(broker, path, args.kills, args.lease)
        broker.close()
        assert process.pid is not None
        os.kill(process.pid, STOP_SIGNAL)
        process.join()
    print(
        f"{args.kills} workers killed with {EACH} tasks each: the last task came back {survivor.longest:.1f} s after "
        f"the kill (lease {args.lease:g} s), {missing} did not come, {survivor.twice} came twice"
    )
    return int(missing > 0 or survivor.twice > 0 or survivor.longest > args.lease + SPARE)


if __name__ == "__main__":
    sys.exit(main())
