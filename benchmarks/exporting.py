"""What a dataset of what is there costs: `python benchmarks/exporting.py --images 200000`.

JPEGs of 12 kB from nginx on loopback are bound into shards by a crawl; then all of them are exported, shuffled, as
WebDataset and as a folder of images. Tells seconds, and the most memory of all processes together.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks import servers  # noqa: E402
from benchmarks.datasets import SMALL, default_directory, images  # noqa: E402
from benchmarks.measure import measure  # noqa: E402

LIMIT = 1800.0


def run(name: str, command: list[str]) -> None:
    """Run one of our doors, and tell what it cost; ends the program where it does not end well."""
    cost = measure([sys.executable, "-m", *command, "--quiet"], LIMIT)
    if cost.code:
        sys.exit(cost.output)
    print(f"{name}: {cost.seconds:.1f} s, {cost.cpu_seconds:.1f} CPU s, {cost.peak_bytes / 1e6:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--data", type=Path, default=default_directory())
    parser.add_argument("--work", type=Path, default=None, help="where all is stored while it runs")
    settings = parser.parse_args()
    servers.check(late=False)
    data = images(settings.data, SMALL, SMALL.default)
    paths = list(data.digests)
    with servers.serve(data.root, len(paths)) as url, tempfile.TemporaryDirectory(dir=settings.work) as name:
        folder = Path(name)
        named = (f"{url}/{paths[number % len(paths)]}?{number}\n" for number in range(settings.images))
        (folder / "urls.txt").write_text("".join(named))
        job = ["--job", "exporting", "--state", str(folder / "state")]
        crawl = [
            "crawler",
            "--urls",
            str(folder / "urls.txt"),
            *job,
            "--output",
            str(folder / "out"),
            "--store",
            "shards",
        ]
        run(
            "crawled into shards",
            [*crawl, "--allow-net", "127.0.0.0/8", "--ignore-robots", "--requests-per-host", "64"],
        )
        for kind in ("webdataset", "imagefolder"):
            run(kind, ["crawler.export", *job, "--format", kind, str(folder / kind), "--shuffle", "1"])


if __name__ == "__main__":
    main()
