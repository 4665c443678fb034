"""A process with servers that send a byte a second, each at a port of its own, and with one that sends images.

python dripping.py DRIPS LATENCY
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from pathlib import Path
from types import TracebackType

BODY_BYTES = 12_000


class Dripping:
    """Runs the process; `drips` are the URLs of the one sort, `good` gives those of the other."""

    def __init__(self, drips: int, latency: float) -> None:
        self._command = [sys.executable, __file__, str(drips), str(latency)]

    def __enter__(self) -> Dripping:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
        )
        assert self._process.stdout is not None
        first, *others = self._process.stdout.readline().split()
        self._good = f"http://127.0.0.1:{first}"
        self.drips = [f"http://127.0.0.1:{port}/drip.jpg" for port in others]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def good(self, number: int) -> list[str]:
        return [f"{self._good}/{n}.jpg" for n in range(number)]


async def _serve_good(latency: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    from servers.pictures import jpeg

    body = jpeg(1, BODY_BYTES)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    while await reader.readline():
        while (await reader.readline()).strip():
            continue
        await asyncio.sleep(latency)
        writer.write(answer)


async def _serve_drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n")
    try:
        while True:
            writer.write(b"\xff")
            await writer.drain()
            await asyncio.sleep(1.0)
    except ConnectionError:
        writer.close()


async def _main(drips: int, latency: float) -> None:
    good = await asyncio.start_server(functools.partial(_serve_good, latency), "127.0.0.1", 0, backlog=1024)
    servers = [good, *[await asyncio.start_server(_serve_drip, "127.0.0.1", 0) for _ in range(drips)]]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
