"""What Python can do with libcurl and nothing around it: two processes with half of a list each.

A file is hashed, written beside and renamed. Nothing is queued, recorded, checked or tried again.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pycurl

PROCESSES = 2


def fetch(urls: list[str], output: Path, connections: int) -> None:
    """Fetch every URL into `output`, named by the last part of its path."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, connections)
    waiting = iter(urls)
    running = sum(_start(multi, new_handle(), waiting) for _ in range(connections))
    while running:
        multi.perform()
        _, succeeded, failed = multi.info_read(connections)
        for curl in succeeded:
            _keep(output / curl.url.rpartition("/")[2], curl.body.getvalue())
        for curl in [*succeeded, *(curl for curl, *_ in failed)]:
            multi.remove_handle(curl)
            running += _start(multi, curl, waiting) - 1
        if not succeeded:
            multi.select(1.0)


def new_handle() -> Any:
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.FAILONERROR, 1)
    curl.setopt(pycurl.BUFFERSIZE, 256 * 1024)
    return curl


def _start(multi: Any, curl: Any, waiting: Iterator[str]) -> bool:
    """Begin with the next URL; false when there is none."""
    url = next(waiting, None)
    if url is None:
        return False
    curl.url, curl.body = url, BytesIO()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEDATA, curl.body)
    multi.add_handle(curl)
    return True


def _keep(path: Path, body: bytes) -> None:
    hashlib.sha256(body).hexdigest()
    draft = path.with_suffix(".part")
    draft.write_bytes(body)
    draft.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", type=Path, help="file with one URL a line")
    parser.add_argument("output", type=Path)
    parser.add_argument("--connections", type=int, default=64, help="of all processes together (%(default)s)")
    args = parser.parse_args()
    urls = args.urls.read_text().split()
    args.output.mkdir(parents=True, exist_ok=True)
    parts = [(urls[n::PROCESSES], args.output, args.connections // PROCESSES) for n in range(PROCESSES)]
    processes = [multiprocessing.Process(target=fetch, args=part) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
