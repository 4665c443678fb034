"""A site of distinct JPEGs in a process of its own, which records every request; on several hosts if it is to.

python gallery.py GALLERY RECORD
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO

_SECONDS_TO_START = 10.0


@dataclass(frozen=True)
class Gallery:
    """What there is: pages on the first host, named by its first page, and their images on all hosts by turns."""

    hosts: tuple[str, ...]
    pages: int
    images: int
    size: int = 3000
    latency: float = 0.0
    port: int = 80

    @property
    def url(self) -> str:
        return f"http://{self.authority(0)}/"

    def authority(self, number: int) -> str:
        host = self.hosts[number % len(self.hosts)]
        return host if self.port == 80 else f"{host}:{self.port}"

    def image(self, number: int) -> str:
        return f"http://{self.authority(number)}/i/{number}.jpg"

    def body(self, number: int) -> bytes:
        from servers.pictures import jpeg

        return jpeg(number, self.size)

    def digests(self) -> dict[str, str]:
        """Return the sha256 of each image by its URL."""
        return {self.image(number): hashlib.sha256(self.body(number)).hexdigest() for number in range(self.images)}

    def answer(self, path: str) -> tuple[str, bytes]:
        """Return the type and the body of what is at a path; of no type is what is not there."""
        folder, _, name = path[1:].partition("/")
        number, _, ending = name.partition(".")
        if path == "/":
            return "text/html", "".join(f'<a href="/p/{page}.html">{page}</a>' for page in range(self.pages)).encode()
        if folder == "p" and ending == "html" and int(number) < self.pages:
            images = range(int(number), self.images, self.pages)
            return "text/html", "".join(f'<img src="{self.image(image)}" alt="{image}">' for image in images).encode()
        if folder == "i" and ending == "jpg" and int(number) < self.images:
            return "image/jpeg", self.body(int(number))
        return "", b""


class GallerySite:
    """Runs the process; `prefix` is a command that runs it on another machine."""

    def __init__(self, gallery: Gallery, record: Path, prefix: tuple[str, ...] = ()) -> None:
        self.gallery = gallery
        self.record = record
        self._command = [*prefix, sys.executable, __file__, json.dumps(asdict(gallery)), str(record)]

    def __enter__(self) -> GallerySite:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop; the record is whole then."""
        self._process.terminate()
        self._process.communicate(timeout=_SECONDS_TO_START)


@dataclass(eq=False)
class _Open:
    """A request under way."""

    path: str
    start: float
    status: int = 0
    body: bytes = b""


class _Talk(asyncio.Protocol):
    """One connection; `under_way` is what all connections are asked for."""

    def __init__(self, gallery: Gallery, record: IO[str], under_way: set[_Talk]) -> None:
        self._gallery = gallery
        self._record = record
        self._under_way = under_way
        self._received = b""
        self._open: _Open | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host = transport.get_extra_info("sockname")[0]
        self._client = transport.get_extra_info("peername")[0]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end:
            self._received = rest
            # In the next turn: connections whose end came together with this are over by then.
            asyncio.get_running_loop().call_soon(self._begin, head.split(b" ", 2)[1].decode())

    def connection_lost(self, error: Exception | None) -> None:
        self.end()

    def _begin(self, path: str) -> None:
        if self._transport.is_closing():
            return
        self._open = _Open(path, time.monotonic())
        self._under_way.add(self)
        if self._gallery.latency:
            asyncio.get_running_loop().call_later(self._gallery.latency, self._answer, self._open)
        else:
            self._answer(self._open)

    def _answer(self, asked: _Open) -> None:
        if asked is not self._open:
            return
        kind, body = self._gallery.answer(asked.path)
        asked.status = 200 if kind else 404
        head = (
            f"HTTP/1.1 {asked.status} -\r\nContent-Type: {kind or 'text/plain'}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.end()  # before the client can know, or its next request would look like a second one
        self._transport.write(head.encode() + body)

    def end(self) -> None:
        """Record what is under way as over."""
        if self._open is not None:
            asked, self._open = self._open, None
            self._under_way.discard(self)
            row = (asked.start, time.monotonic(), self._host, self._client, asked.status, asked.path)
            self._record.write("\t".join(map(str, row)) + "\n")


async def _serve(gallery: Gallery, record: IO[str]) -> None:
    loop, under_way = asyncio.get_running_loop(), set[_Talk]()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    talk = partial(_Talk, gallery, record, under_way)
    servers = [await loop.create_server(talk, host, gallery.port, backlog=1024) for host in gallery.hosts]
    print("ready", flush=True)
    await stopped.wait()
    for server in servers:
        server.close()
    for open_one in list(under_way):
        open_one.end()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    with Path(sys.argv[2]).open("a", buffering=1) as lines:
        asyncio.run(_serve(Gallery(**json.loads(sys.argv[1])), lines))
