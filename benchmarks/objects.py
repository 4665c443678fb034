"""Images a second of one worker into an object store, beside what the store's server takes from a plain client.

    python benchmarks/objects.py [--images 2000] [--rounds 5]
    python benchmarks/objects.py --endpoint http://127.0.0.1:9000 --bucket images      # a server that runs already

By turns on the same server: obstore's puts alone, as many at a time, and the whole command from a list to its end. The
server is moto's unless another is named; credentials and region of that are the environment's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import obstore

from benchmarks.datasets import SMALL, DataSet, default_directory, images
from benchmarks.measure import measure
from benchmarks.servers import ServerMissing, serve
from crawler.outputs import parse_output
from crawler.stores.objects import connect

START_SECONDS = 30.0
AT_ONCE = 64


@contextlib.contextmanager
def moto(bucket: str) -> Iterator[str]:
    """Serve the S3 protocol from a process of its own, and give its URL."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_REGION": "us-east-1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT"), timeout=5).close()
                break
            except urllib.error.URLError:
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit("moto's server does not start: pip install 'moto[server]'")
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def plain(endpoint: str, bucket: str, name: str, data: DataSet) -> float:
    """Return how many of the images a second the server takes from a client that does nothing else."""
    remote = connect(parse_output(f"s3://{bucket}"), name, endpoint)
    bodies = [(path, (data.root / path).read_bytes()) for path in data.digests]

    async def put() -> None:
        waiting = iter(bodies)

        async def one_after_another() -> None:
            for path, body in waiting:
                await obstore.put_async(remote, path, body, mode="create")

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    began = time.perf_counter()
    asyncio.run(put())
    return len(bodies) / (time.perf_counter() - began)


def worker(endpoint: str, bucket: str, name: str, data: DataSet, site: str) -> float:
    """Return how many of the images a second one worker process fetches and puts, start and end in it."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "urls.txt"
        listed.write_text("".join(f"{site}/{path}\n" for path in data.digests))
        command = [
            sys.executable, "-m", "crawler", "--urls", str(listed), "--job", name, "--output", f"s3://{bucket}",
            "--store-endpoint", endpoint, "--state", f"{folder}/state", "--processes", "1",
            "--connections", str(AT_ONCE), "--requests-per-host", str(AT_ONCE), "--ignore-robots", "--quiet",
            "--allow-net", "127.0.0.0/8",
        ]  # fmt: skip
        cost = measure(command, 600.0)
    if cost.code or f"{len(data.digests):,} success" not in cost.output:
        sys.exit(cost.output)
    return len(data.digests) / cost.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--endpoint", default="", help="of a server that runs already; moto's is started without it")
    parser.add_argument("--bucket", default="benchmark", help="in which objects are left (%(default)s)")
    parser.add_argument("--data", type=Path, default=default_directory(), help="where data sets are (%(default)s)")
    settings = parser.parse_args()
    data = images(settings.data, SMALL, settings.images).first(settings.images)
    server = contextlib.nullcontext(settings.endpoint) if settings.endpoint else moto(settings.bucket)
    rates: list[tuple[float, float]] = []
    tag = os.urandom(4).hex()
    with server as endpoint, serve(data.root, len(data.digests)) as site:
        print("| round | the server alone, images/s | one worker, images/s | ratio |\n|---|---|---|---|")
        for number in range(1, settings.rounds + 1):
            alone = plain(endpoint, settings.bucket, f"plain-{tag}-{number}", data)
            ours = worker(endpoint, settings.bucket, f"worker-{tag}-{number}", data, site)
            rates.append((alone, ours))
            print(f"| {number} | {alone:,.0f} | {ours:,.0f} | {ours / alone:.2f} |", flush=True)
    alone, ours = (statistics.median(each) for each in zip(*rates, strict=True))
    print(f"| median | {alone:,.0f} | {ours:,.0f} | {statistics.median(b / a for a, b in rates):.2f} |")


if __name__ == "__main__":
    try:
        main()
    except ServerMissing as missing:
        sys.exit(str(missing))
