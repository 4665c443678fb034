"""A list into shards, beside others: `python benchmarks/shards.py --peer PYTHON`, whole commands by turns.

JPEGs of 12 kB from nginx on loopback: by this crawler into WebDataset shards with their tables, and into files; by curl
into files; by `floor.py` into tars; and by img2dataset, where `--peer` names the Python of an environment that has it,
into its WebDataset with nothing encoded again. Every image is compared with its source by sha256, in tars too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks import servers  # noqa: E402
from benchmarks.datasets import SMALL, DataSet, default_directory, images  # noqa: E402
from benchmarks.measure import Cost, measure  # noqa: E402
from benchmarks.rounds import spread  # noqa: E402

CONNECTIONS, PROCESSES = 64, 2
LIMIT = 900.0

Command = Callable[[Path, Path], list[str]]


def ours(store: str, urls: Path, folder: Path) -> list[str]:
    return [
        *[sys.executable, "-m", "crawler", "--urls", str(urls), "--job", "bench", "--quiet", "--store", store],
        *["--output", str(folder / "out"), "--state", str(folder / "state"), "--allow-net", "127.0.0.0/8"],
        *["--ignore-robots", "--requests-per-host", str(CONNECTIONS), "--processes", str(PROCESSES)],
        *["--connections", str(CONNECTIONS // PROCESSES)],
    ]


def curl(urls: Path, folder: Path) -> list[str]:
    config = folder / "curl.conf"
    names = ((url, url.rpartition("/")[2]) for url in urls.read_text().split())
    config.write_text("".join(f'url = "{url}"\noutput = "{folder}/out/{name}"\n' for url, name in names))
    quiet = ["curl", "-q", "--no-progress-meter", "--create-dirs"]
    return [*quiet, "--parallel", "--parallel-max", str(CONNECTIONS), "--config", str(config)]


def floor(urls: Path, folder: Path) -> list[str]:
    program = str(Path(__file__).with_name("floor.py"))
    return [sys.executable, program, str(urls), str(folder / "out"), "--tar", "--connections", str(CONNECTIONS)]


def img2dataset(python: str, count: int, urls: Path, folder: Path) -> list[str]:
    return [
        *["env", "NO_ALBUMENTATIONS_UPDATE=1", str(Path(python).with_name("img2dataset")), str(urls)],
        *["--input_format=txt", "--output_format=webdataset", f"--output_folder={folder / 'out'}"],
        *["--extract_exif=False", "--resize_mode=no", "--disable_all_reencoding=True"],
        *[f"--number_sample_per_shard={-(-count // PROCESSES)}", f"--processes_count={PROCESSES}"],
        f"--thread_count={CONNECTIONS}",
    ]


def stored(folder: Path) -> Iterator[bytes]:
    """Give the images below a folder, in files and in tars."""
    for path in folder.rglob("*.jp*g"):
        yield path.read_bytes()
    for path in folder.rglob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    file = tar.extractfile(member)
                    yield file.read() if file is not None else b""


def run(name: str, command: Command, urls: Path, data: DataSet, work: Path) -> Cost:
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=work))
    os.sync()  # what the run before left to be written is not this one's
    cost = measure(command(urls, folder), LIMIT)
    found = sorted(hashlib.sha256(body).hexdigest() for body in stored(folder / "out"))
    if found != sorted(data.digests.values()):
        sys.exit(f"{name} stored {len(found)} images, not the {len(data.digests)} of the server: {cost.output}")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=SMALL.default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=default_directory())
    parser.add_argument("--work", type=Path, default=None, help="where images are stored while it runs")
    parser.add_argument("--peer", default="", help="the Python of an environment with img2dataset")
    settings = parser.parse_args()
    servers.check(late=False)
    data = images(settings.data, SMALL, settings.images).first(settings.images)
    tools: dict[str, Command] = {"shards": partial(ours, "shards"), "files": partial(ours, "files"), "curl": curl}
    tools["floor"] = floor
    if settings.peer:
        tools["img2dataset"] = partial(img2dataset, settings.peer, settings.images)
    costs: dict[str, list[Cost]] = {name: [] for name in tools}
    with servers.serve(data.root, settings.images) as url, tempfile.TemporaryDirectory(dir=settings.work) as there:
        work = Path(there)
        spread(work)
        urls = work / "urls.txt"
        urls.write_text("".join(f"{url}/{path}\n" for path in data.digests))
        for _ in range(settings.rounds):
            for name, command in random.sample(list(tools.items()), len(tools)):
                costs[name].append(run(name, command, urls, data, work))
                print(f"{name}: {settings.images / costs[name][-1].seconds:,.0f} images/s", flush=True)
    rates = {name: settings.images / statistics.median(cost.seconds for cost in of) for name, of in costs.items()}
    for name, of in costs.items():
        cpu = statistics.median(cost.cpu_seconds for cost in of) / settings.images * 10_000
        ratio = rates["shards"] / rates[name]
        print(f"{name}: median {rates[name]:,.0f} images/s, {cpu:.2f} CPU s per 10,000; shards {ratio:.2f} times")


if __name__ == "__main__":
    main()
