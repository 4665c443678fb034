"""The design that this project began from: a manager's queue, one task a call, `requests`, two worker processes."""

from __future__ import annotations

import argparse
import multiprocessing
import queue
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import requests

PROCESSES = 2
_KEY = b"naive"
_TASKS: queue.Queue[str] = queue.Queue()
_RESULTS: queue.Queue[str] = queue.Queue()


class Manager(BaseManager):
    """Shares the two queues of the process that it starts."""


def _tasks() -> queue.Queue[str]:
    return _TASKS


def _results() -> queue.Queue[str]:
    return _RESULTS


Manager.register("tasks", _tasks)
Manager.register("results", _results)


def work(address: Any, output: Path) -> None:
    """Take tasks and fetch them until an empty one comes."""
    manager: Any = Manager(address, _KEY)
    manager.connect()
    tasks, results = manager.tasks(), manager.results()
    session = requests.Session()
    while url := tasks.get():
        try:
            answer = session.get(url, timeout=60)
            answer.raise_for_status()
            (output / url.rpartition("/")[2]).write_bytes(answer.content)
            results.put(f"{url}--->success")
        except requests.RequestException as error:
            results.put(f"{url}--->{error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", type=Path, help="file with one URL a line")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    urls = args.urls.read_text().split()
    with Manager(("127.0.0.1", 0), _KEY) as manager:
        processes = [
            multiprocessing.Process(target=work, args=(manager.address, args.output)) for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        shared: Any = manager
        tasks, results = shared.tasks(), shared.results()
        for url in [*urls, *[""] * PROCESSES]:
            tasks.put(url)
        for _ in urls:
            results.get()
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
