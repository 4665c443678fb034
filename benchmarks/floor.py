"""The least that a recorded download takes in Python: what `bare.py` does, a queue on disk, structure, and a ledger.

Tasks are in SQLite before they are given out, and their results once they are reported, a batch in one transaction.
Each image is hashed and its structure checked; at the end there is a line for each. With `--tar` images go into a tar
for each process, with a member beside each that describes it. Nothing is leased, paced, guarded, bounded or tried
again: who promises more pays more.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import msgspec
import pycurl

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks.bare import PROCESSES, new_handle  # noqa: E402
from crawler.errors import BadImage  # noqa: E402
from crawler.images.verify import verify  # noqa: E402

BATCH, READ_AHEAD = 256, 4096
_BLOCK = 512

Keep = Callable[[str, bytes, "Result"], None]


class Task(msgspec.Struct, array_like=True):
    number: int
    url: str


class Result(msgspec.Struct, array_like=True):
    number: int
    outcome: str = "success"
    size: int = 0
    sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0


class Queue:
    """Tasks and results in SQLite."""

    def __init__(self, path: Path, urls: Path) -> None:
        self._lines = enumerate(urls.read_text().split(), 1)
        self._ready: Iterator[Task] = iter(())
        self._db = sqlite3.connect(path)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE task (number INTEGER PRIMARY KEY, id BLOB UNIQUE, url TEXT, result BLOB)"
        )

    def take(self) -> list[Task]:
        """Return the next tasks; none where all were given out."""
        if not (tasks := list(islice(self._ready, BATCH))) and (read := list(islice(self._lines, READ_AHEAD))):
            rows = [(number, hashlib.blake2b(url.encode(), digest_size=16).digest(), url) for number, url in read]
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO task (number, id, url) VALUES (?, ?, ?)", rows)
            self._ready = (Task(number, url) for number, url in read)
            tasks = list(islice(self._ready, BATCH))
        return tasks

    def settle(self, results: list[Result]) -> None:
        rows = [(msgspec.msgpack.encode(result), result.number) for result in results]
        if rows:
            with self._db:
                self._db.executemany("UPDATE task SET result = ? WHERE number = ?", rows)

    def write_ledger(self, path: Path) -> None:
        decode, encode = msgspec.msgpack.Decoder(Result).decode, msgspec.json.Encoder().encode
        with path.open("wb") as ledger:
            for url, packed in self._db.execute("SELECT url, result FROM task ORDER BY number"):
                fields = msgspec.structs.asdict(decode(packed))
                ledger.write(encode({"url": url, **fields}) + b"\n")


class Fetcher:
    """What one process does: tasks come through `link` in batches, results go there, images to `keep`."""

    def __init__(self, link: Connection, keep: Keep, connections: int) -> None:
        self._link, self._keep = link, keep
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._free = [new_handle() for _ in range(connections)]
        self._waiting: list[Task] = []
        self._results: list[Result] = []
        self._connections = connections
        self._asked = self._is_over = False
        self._decode = msgspec.msgpack.Decoder(list[Task]).decode

    def run(self) -> None:
        while not self._is_over or self._waiting or len(self._free) < self._connections:
            self._talk()
            self._begin()
            self._progress()
        self._tell()

    def _tell(self) -> None:
        self._link.send_bytes(msgspec.msgpack.encode(self._results))
        self._results, self._asked = [], True

    def _talk(self) -> None:
        if not self._asked and not self._is_over and len(self._waiting) < BATCH // 2:
            self._tell()
        is_idle = len(self._free) == self._connections and not self._waiting
        if self._asked and (is_idle or self._link.poll()):
            tasks = self._decode(self._link.recv_bytes())
            self._asked, self._is_over = False, not tasks
            self._waiting += reversed(tasks)

    def _begin(self) -> None:
        while self._free and self._waiting:
            curl, task = self._free.pop(), self._waiting.pop()
            curl.task, curl.body = task, BytesIO()
            curl.setopt(pycurl.URL, task.url)
            curl.setopt(pycurl.WRITEDATA, curl.body)
            self._multi.add_handle(curl)

    def _progress(self) -> None:
        self._multi.perform()
        _, succeeded, failed = self._multi.info_read(self._connections)
        for curl in succeeded:
            self._results.append(self._take(curl.task, curl.body.getvalue()))
        for curl, _, message in failed:
            self._results.append(Result(curl.task.number, message))
        for curl in [*succeeded, *(curl for curl, *_ in failed)]:
            self._multi.remove_handle(curl)
            self._free.append(curl)
        if not succeeded and len(self._free) < self._connections:
            self._multi.select(1.0)

    def _take(self, task: Task, body: bytes) -> Result:
        try:
            format, width, height, _ = verify(body)
        except BadImage as error:
            return Result(task.number, str(error))
        sha256 = hashlib.sha256(body).hexdigest()
        result = Result(task.number, "success", len(body), sha256, format, width, height)
        self._keep(task.url.rpartition("/")[2], body, result)
        return result


def keep_file(directory: int, name: str, body: bytes, result: Result) -> None:
    draft = name + ".part"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=directory)
    os.write(file, body)
    os.close(file)
    os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)


def keep_sample(tar: int, name: str, body: bytes, result: Result) -> None:
    stem = name.rpartition(".")[0]
    said = msgspec.json.encode(msgspec.structs.asdict(result))
    os.writev(
        tar, [_header(name, len(body)), body, _padding(body), _header(stem + ".json", len(said)), said, _padding(said)]
    )


def _header(name: str, size: int) -> bytes:
    """Return the header of a tar's member (POSIX.1-1988, ustar)."""
    start = b"%-100b0000644\x000000000\x000000000\x00%011o\x0000000000000\x00" % (name.encode().ljust(100, b"\0"), size)
    end = (b"0" + bytes(100) + b"ustar\x0000").ljust(_BLOCK - len(start) - 8, b"\0")
    return start + b"%06o\0 " % (sum(start) + sum(end) + 8 * 32) + end


def _padding(data: bytes) -> bytes:
    return bytes(-len(data) % _BLOCK)


def _fetch(link: Connection, output: Path, number: int, connections: int, tar: bool) -> None:
    keep: Any = keep_file
    place = os.open(output, os.O_RDONLY)
    if tar:
        keep, place = keep_sample, os.open(f"{number}.tar", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=place)
    Fetcher(link, partial(keep, place), connections).run()
    if tar:
        os.write(place, bytes(2 * _BLOCK))


def serve(queue: Queue, links: list[Connection]) -> None:
    """Give tasks out and take results until all is settled; who is told that there are none tells the last ones."""
    told: set[Connection] = set()
    while links:
        for link in wait(links):
            assert isinstance(link, Connection)
            queue.settle(msgspec.msgpack.decode(link.recv_bytes(), type=list[Result]))
            if link in told:
                links.remove(link)
                continue
            tasks = queue.take()
            link.send_bytes(msgspec.msgpack.encode(tasks))
            if not tasks:
                told.add(link)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", type=Path, help="file with one URL a line")
    parser.add_argument("output", type=Path)
    parser.add_argument("--connections", type=int, default=64, help="of all processes together (%(default)s)")
    parser.add_argument("--tar", action="store_true", help="into tars, not files")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    links = []
    for number in range(PROCESSES):
        ours, theirs = multiprocessing.Pipe()
        fetched = (theirs, args.output, number, args.connections // PROCESSES, args.tar)
        multiprocessing.Process(target=_fetch, args=fetched).start()
        links.append(ours)
    queue = Queue(args.output.with_name("queue.sqlite"), args.urls)
    serve(queue, links)
    queue.write_ledger(args.output.with_name("metadata.jsonl"))


if __name__ == "__main__":
    main()
