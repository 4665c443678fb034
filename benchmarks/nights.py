"""A site that is crawled night after night: `python benchmarks/nights.py --nights 3`.

Its pages have 60 to 100 kB, 200 links and four images of 12 kB; nginx serves it, with its own validators. After the
first night nothing changes; before each later one 1% of the images are changed, 1% added, 1% removed with what shows
them, and 0.5% renamed. Each night tells its time, what the server sent, the size of the state and the memory of all
processes, and whether the record of the run names exactly what was done to the site.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(_ROOT), str(_ROOT / "tests")]  # whose `servers` are not those of this folder

from benchmarks.datasets import figure, page, page_path  # noqa: E402
from benchmarks.measure import Cost, measure  # noqa: E402
from servers.nginx import Nginx  # noqa: E402
from servers.pictures import jpeg  # noqa: E402

IMAGES_OF_PAGE = 4
SIZE = 12_000


@dataclass
class Motion:
    """What was done to a site in a day, by the paths of images.

    `renamed` has the old path of each new one, `first` the path that its picture had at first.
    """

    changed: set[str] = field(default_factory=set)
    added: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)


class Site:
    """Files of a site; every image that is written is another one, at another second."""

    def __init__(self, root: Path, pages: int) -> None:
        self.root = root
        self._chance = random.Random(pages)
        self._written = 0
        self._first: dict[str, str] = {}
        self.shown: dict[int, list[str]] = {
            number: [self._write_image() for _ in range(IMAGES_OF_PAGE)] for number in range(pages)
        }
        for number in self.shown:
            self._write_page(number)
        links = "".join(f'<a href="/{page_path(number)}">{number}</a>' for number in range(min(pages, 200)))
        self._write("index.html", f"<!doctype html><title>index</title>{links}".encode())

    @property
    def images(self) -> list[tuple[int, str]]:
        return [(number, path) for number, paths in self.shown.items() for path in paths]

    def move(self) -> Motion:
        """Live for a day."""
        motion, pages = Motion(), list(self.shown)
        some = len(self.images) // 100
        chosen = self._chance.sample(self.images, 2 * some + some // 2)
        for _, path in chosen[:some]:
            self._write_image(path)
            motion.changed.add(path)
        for number, path in chosen[some : 2 * some]:
            self.shown[number].remove(path)
            (self.root / path[1:]).unlink()
            motion.removed.add(path)
        for number, path in chosen[2 * some :]:
            new = f"/i/renamed-{self._written}.jpg"
            self._written += 1
            (self.root / path[1:]).rename(self.root / new[1:])
            self.shown[number][self.shown[number].index(path)] = new
            motion.renamed[new] = path
            motion.first[new] = self._first[new] = self._first.pop(path, path)
        for number in self._chance.choices(pages, k=some):
            self.shown[number].append(self._write_image())
            motion.added.add(self.shown[number][-1])
        for number in pages:
            if any(path in motion.added or path in motion.renamed for path in self.shown[number]):
                self._write_page(number)
        for number, path in chosen[some : 2 * some]:
            if path in motion.removed:
                self._write_page(number)
        return motion

    def _write_image(self, path: str = "") -> str:
        path = path or f"/i/{self._written // 1000}/{self._written}.jpg"
        self._first.pop(path, None)
        self._write(path[1:], jpeg(self._written, SIZE))
        return path

    def _write_page(self, number: int) -> None:
        self._write(page_path(number), page(number, len(self.shown), partial(self._figures, number)))

    def _figures(self, number: int, chance: random.Random) -> list[str]:
        return [figure(chance, path.removesuffix(".jpg")) for path in self.shown[number]]

    def _write(self, name: str, body: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        self._written += 1
        os.utime(path, (1_600_000_000 + self._written, 1_600_000_000 + self._written))


class Crawl:
    """A job whose state and images are in a folder."""

    def __init__(self, folder: Path, server: Nginx) -> None:
        self.folder = folder
        self._server = server
        self._command = [
            sys.executable, "-m", "crawler", f"{server.url}/index.html", "--job", "site", "--quiet",
            *["--output", str(folder / "out"), "--state", str(folder / "state"), "--allow-net", "127.0.0.0/8"],
            *["--max-alike", "0", "--requests-per-host", "64"],
        ]  # fmt: skip

    def night(self) -> Cost:
        """Return what a run takes; ends the program where it does not end well."""
        cost = measure(self._command, 900.0)
        if cost.code:
            sys.exit(cost.output)
        return cost

    def sent(self) -> tuple[int, int]:
        """Return the bytes of bodies that the server has sent since the last time: of images, and in all."""
        assert self._server.access_log is not None
        images = everything = 0
        for line in self._server.access_log.read_text().splitlines():
            path, size = line.split('"')[1].split()[1], int(line.split('"')[2].split()[1])
            everything += size
            images += size if path.startswith("/i/") else 0
        os.truncate(self._server.access_log, 0)
        return images, everything

    def state(self) -> int:
        return sum(file.stat().st_size for file in (self.folder / "state").rglob("*") if file.is_file())

    def record(self) -> dict[str, Any]:
        latest: dict[str, Any] = json.loads(max((self.folder / "out" / "site" / "runs").glob("*.json")).read_text())
        return latest

    def is_exact(self, motion: Motion) -> bool:
        """Tell whether the latest record names just what was done to the site."""
        named = self.record()["named"]
        paths = {change: {_path(image["url"]) for image in images} for change, images in named.items()}
        same = {_path(image["url"]): image.get("same_as", "") for image in named.get("new", [])}
        expected = {
            "new": motion.added | motion.renamed.keys(),
            "changed": motion.changed,
            "gone": motion.removed | set(motion.renamed.values()),
        }
        stems = {new: Path(first).stem for new, first in motion.first.items()}
        return paths == {change: found for change, found in expected.items() if found} and all(
            (f"/{stems[path]}-" in file) if path in stems else not file for path, file in same.items()
        )


def _path(url: str) -> str:
    return re.sub(r"\Ahttp://[^/]*", "", url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=5000)
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="where all is kept while it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder / "site", args.pages)
        with Nginx(site.root, folder / "nginx", access_log=True) as server:
            crawl = Crawl(folder, server)
            for night in range(args.nights):
                motion = site.move() if night > 1 else Motion()
                cost = crawl.night()
                images, everything = crawl.sent()
                exact = "" if not night else ", exact" if crawl.is_exact(motion) else ", NOT EXACT"
                print(
                    f"night {night + 1}: {cost.seconds:.1f} s, {cost.cpu_seconds:.1f} CPU s, "
                    f"{images / 1e6:.1f} MB of images, {everything / 1e6:.1f} MB in all, "
                    f"state {crawl.state() / 1e6:.1f} MB, memory {cost.peak_bytes / 1e6:.0f} MB; "
                    f"{crawl.record()['images']}{exact}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
