"""How soon a command is at work: `python benchmarks/starting.py --runs 5`, medians of whole commands in seconds.

Help, the first byte that is asked of a server, and all of a site and of a list of 30 images, on nginx and loopback; and
which packages `download --help` imports.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.datasets import SMALL, default_directory, images
from benchmarks.servers import serve

IMAGES = 30
_TIME = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\w+)")


def site(folder: Path) -> None:
    """Make a page that names 30 images of 12 kB."""
    data = images(default_directory(), SMALL, SMALL.default)
    names = [f"{number}.jpg" for number in range(IMAGES)]
    for name, source in zip(names, sorted(data.root.rglob("*.jpg")), strict=False):
        shutil.copy(source, folder / name)
    (folder / "index.html").write_text("".join(f'<img src="{name}">' for name in names))


def helped(door: str) -> float:
    return timed([sys.executable, "-m", f"crawler.{door}", "--help"])


def first_byte() -> float:
    """Return the seconds from a command to its first request."""
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as work:
        urls = Path(work, "list.txt")
        urls.write_text(f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg\n")
        began = time.monotonic()
        process = subprocess.Popen(crawl(Path(work), "--urls", str(urls)), stderr=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            connection.recv(1)
            return time.monotonic() - began
        finally:
            process.terminate()
            process.wait()
            connection.close()


def whole(*source: str) -> float:
    """Return the seconds that a crawl takes from nothing; raises RuntimeError where it saves other than 30 images."""
    with tempfile.TemporaryDirectory() as work:
        seconds = timed(crawl(Path(work), *source))
        saved = len(list(Path(work).rglob("*.jpeg")))
        if saved != IMAGES:
            raise RuntimeError(f"{saved} of {IMAGES} images were saved")
        return seconds


def crawl(work: Path, *source: str) -> list[str]:
    return [
        *[sys.executable, "-m", "crawler", *source, "--quiet", "--job", "bench", "--allow-net", "127.0.0.0/8"],
        *["--output", str(work / "out"), "--state", str(work / "state"), "--requests-per-host", "64"],
    ]


def timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def imported() -> list[str]:
    """Return the packages outside the standard library that `download --help` imports."""
    command = [sys.executable, "-X", "importtime", "-m", "crawler.download", "--help"]
    said = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
    return sorted({name for name in _TIME.findall(said) if name not in sys.stdlib_module_names and name[0] != "_"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        site(root)
        with serve(root, 100) as url:
            urls = root / "list.txt"
            urls.write_text("".join(f"{url}/{number}.jpg\n" for number in range(IMAGES)))
            measured: dict[str, Callable[[], float]] = {
                "python -m crawler.download --help": lambda: helped("download"),
                "python -m crawler.collect --help": lambda: helped("collect"),
                "first byte asked for": first_byte,
                f"a list of {IMAGES} images": lambda: whole("--urls", str(urls), "--ignore-robots"),
                f"a site of {IMAGES} images": lambda: whole(url + "/"),
            }
            for what, measure in measured.items():
                seconds = [measure() for _ in range(args.runs)]
                print(
                    f"{what}: {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})", flush=True
                )
    print("download --help imports", ", ".join(imported()))


if __name__ == "__main__":
    main()
