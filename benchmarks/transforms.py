"""Images that are resized in a second of CPU, beside img2dataset's resizer: `border`, JPEG of quality 95.

    python benchmarks/transforms.py [--images 600] [--rounds 5] [--image-size 256] [--peer PYTHON]

Files are those of the set `large` (110 kB). By turns: ours in a loop, ours through a pool of processes (their start and
what handing images over costs are in it), and, where `--peer` names the Python of an environment with img2dataset, its
resizer in a loop. Then what came out of both is compared: PSNR over all pixels, border included.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image, ImageChops, ImageStat

from benchmarks.datasets import LARGE, default_directory, images
from crawler.transforms.imaging import Transformed, transformed
from crawler.transforms.pool import TransformPool
from crawler.transforms.transform import Transform

MOST_PIXELS = 100_000_000
PEER = Path(__file__).with_name("img2dataset_resize.py")


def in_a_loop(bodies: Sequence[bytes], transform: Transform) -> float:
    """Return images per CPU second in this process."""
    began = time.process_time()
    for body in bodies:
        transformed(body, transform, MOST_PIXELS)
    return len(bodies) / (time.process_time() - began)


def through_a_pool(bodies: Sequence[bytes], transform: Transform) -> float:
    """Return images per CPU second of this process and its children, from their start to their end."""
    began = _spent()
    pool = TransformPool(transform, MOST_PIXELS, os.cpu_count() or 1)
    for _, answer in pool.map(bodies, bytes):
        if not isinstance(answer, Transformed):
            raise answer
    pool.close()
    return len(bodies) / (_spent() - began)


def _spent() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peers(python: str, listed: Path, count: int, size: int, output: str = "") -> float:
    """Return images per CPU second of img2dataset's resizer; its images go to `output`."""
    command = [python, str(PEER), str(listed), str(size), *([output] if output else [])]
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{python} cannot run img2dataset's resizer: {done.stdout or 'its message is above'}")
    return count / float(done.stdout)


def psnr(one: bytes, other: bytes) -> float:
    """Return the peak signal-to-noise ratio of two images, in dB."""
    pictures = [Image.open(io.BytesIO(body)).convert("RGB") for body in (one, other)]
    squares = ImageStat.Stat(ImageChops.difference(*pictures)).sum2
    error = sum(squares) / (len(squares) * pictures[0].width * pictures[0].height)
    return 10 * math.log10(255**2 / error) if error else math.inf


def compare(python: str, listed: Path, bodies: Sequence[bytes], transform: Transform) -> None:
    with tempfile.TemporaryDirectory() as output:
        peers(python, listed, len(bodies), transform.image_size, output)
        found = [
            psnr(transformed(body, transform, MOST_PIXELS).body, Path(output, f"{number}.jpg").read_bytes())
            for number, body in enumerate(bodies)
        ]
    print(f"\nPSNR to img2dataset's images: median {statistics.median(found):.1f} dB, worst {min(found):.1f} dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=256, help="pixels; 1024 are in the files (%(default)s)")
    parser.add_argument("--peer", default="", help="the Python of an environment with img2dataset")
    parser.add_argument("--data", type=Path, default=default_directory(), help="where data sets are (%(default)s)")
    args = parser.parse_args()
    data = images(args.data, LARGE, args.images)
    paths = [data.root / path for path in data.digests]
    bodies = [path.read_bytes() for path in paths]
    transform = Transform(resize="border", image_size=args.image_size, encode="jpg", encode_quality=95)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{path}\n" for path in paths))
        file.flush()
        listed = Path(file.name)
        in_a_loop(bodies[:1], transform)
        rates: dict[str, list[float]] = {"ours": [], "ours, through a pool": []}
        for _ in range(args.rounds):
            rates["ours"].append(in_a_loop(bodies, transform))
            rates["ours, through a pool"].append(through_a_pool(bodies, transform))
            if args.peer:
                rates.setdefault("img2dataset's resizer", []).append(
                    peers(args.peer, listed, len(bodies), args.image_size)
                )
        base = statistics.median([*rates.values()][-1])
        print("| | images per CPU second | ratio |\n|---|---|---|")
        for name, measured in rates.items():
            rate = statistics.median(measured)
            print(f"| {name} | {rate:.0f} | {rate / base:.2f} |")
        if args.peer:
            compare(args.peer, listed, bodies, transform)


if __name__ == "__main__":
    main()
