"""The files that benchmarks fetch, made once and kept: `python benchmarks/datasets.py small large pages`.

JPEGs are copies of a few dozen real ones of noise, each made distinct by a comment with its number, so that bytes tell
whether a file arrived and 200,000 of them take seconds. Pages link each other, all within two hops of index.html.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

PER_DIRECTORY = 1000
_PATTERNS = 24
_WORDS = "light sea harbour morning old new garden river stone bridge winter field house street market night".split()
_PAGE_LINKS = 200
_PAGE_IMAGES = 30
#: Pages that index.html links, and further ones that each page links: with both, 2,000 pages are two hops away.
_FIRST_PAGES = 200
_NEXT_PAGES = 10


class PillowMissing(Exception):
    """Images cannot be made; the message says how to install what makes them."""


@dataclass(frozen=True)
class Kind:
    """Images of one size: about `target` bytes each at `pixels`; `default` is how many there are."""

    name: str
    target: int
    pixels: tuple[int, int]
    default: int


@dataclass(frozen=True)
class DataSet:
    """The first files of a kind: `digests` maps each path below `root` to the sha256 of the file."""

    root: Path
    digests: dict[str, str]

    @property
    def size(self) -> int:
        return sum((self.root / path).stat().st_size for path in self.digests)

    def first(self, count: int) -> DataSet:
        return DataSet(self.root, dict(islice(self.digests.items(), count)))


SMALL = Kind("small", 12_000, (320, 240), 20_000)
LARGE = Kind("large", 110_000, (1024, 768), 4_000)
PAGES, PAGES_DEFAULT = "pages", 2_000


def default_directory() -> Path:
    """Return where data sets are kept when nothing else is said."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "distributed-image-crawler-benchmarks"


def images(directory: Path, kind: Kind, count: int) -> DataSet:
    """Return the first `count` images of a kind, made as far as they are not there yet."""
    root = directory / kind.name
    root.mkdir(parents=True, exist_ok=True)
    known = _index(root)
    if len(known) < count:
        _add_images(root, kind, len(known), count)
        known = _index(root)
    return DataSet(root, known).first(count)


def pages(directory: Path, count: int = PAGES_DEFAULT) -> DataSet:
    """Return the site of `count` pages, made if it is not there yet."""
    root = directory / PAGES
    root.mkdir(parents=True, exist_ok=True)
    known = _index(root)
    if len(known) != count + 1:
        (root / _INDEX).unlink(missing_ok=True)
        _record(root, [("index.html", _front_page())])
        _record(root, [(page_path(number), page(number, count, partial(_figures, number))) for number in range(count)])
        known = _index(root)
    return DataSet(root, known)


#: One line for each file that is whole: its sha256 and its path. Written after the files that it names.
_INDEX = "index.txt"


def _index(root: Path) -> dict[str, str]:
    path = root / _INDEX
    if not path.exists():
        return {}
    lines = (line.split("  ", 1) for line in path.read_text().splitlines())
    return {name: digest for digest, name in lines}


def _record(root: Path, files: list[tuple[str, bytes]]) -> None:
    """Write files, then say so in the index."""
    for folder in {name.rpartition("/")[0] for name, _ in files}:
        (root / folder).mkdir(exist_ok=True)
    for name, content in files:
        (root / name).write_bytes(content)
    with (root / _INDEX).open("a") as index:
        index.writelines(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files)


def _add_images(root: Path, kind: Kind, first: int, end: int) -> None:
    patterns = list(_patterns(kind))
    for start in range(first, end, PER_DIRECTORY):
        numbers = range(start, min(start + PER_DIRECTORY, end))
        _record(root, [(_image_path(number), _numbered(patterns[number % _PATTERNS], number)) for number in numbers])


def _image_path(number: int) -> str:
    return f"{number // PER_DIRECTORY:03}/{number:07}.jpg"


def _numbered(jpeg: bytes, number: int) -> bytes:
    """Return a JPEG with its number in a comment right after the marker that begins it."""
    text = f"image {number:07}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def number_of(jpeg: bytes) -> str:
    """Return the number in an image's comment, which is kept when it is encoded again; empty where there is none."""
    comment = re.search(rb"\xff\xfe\x00.image (\d{7})", jpeg, re.DOTALL)
    return comment[1].decode() if comment else ""


def _patterns(kind: Kind) -> Iterator[bytes]:
    """Make JPEGs of smoothed noise, of 70 to 130 percent of the size that is aimed at."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise PillowMissing("images are made with Pillow: pip install --editable '.[bench]'") from error
    width, height = kind.pixels
    for seed in range(_PATTERNS):
        chance = random.Random(seed)
        noise = Image.frombytes("RGB", (width // 4, height // 4), chance.randbytes(width // 4 * (height // 4) * 3))
        picture = noise.resize(kind.pixels, Image.Resampling.BICUBIC)
        yield _encoded(picture, round(kind.target * chance.uniform(0.7, 1.3)))


def _encoded(picture: Image.Image, target: int) -> bytes:
    """Return a picture as the JPEG whose size is nearest to `target`, by halving the range of qualities."""
    low, high, best = 1, 95, b""
    while low <= high:
        quality = (low + high) // 2
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        made = file.getvalue()
        best = min(best or made, made, key=lambda content: abs(len(content) - target))
        low, high = (quality + 1, high) if len(made) < target else (low, quality - 1)
    return best


def page_path(number: int) -> str:
    return f"{number // PER_DIRECTORY:03}/page-{number:05}.html"


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _front_page() -> bytes:
    chance = random.Random("index")
    entries = "".join(f'<li><a href="/{page_path(n)}">{_text(chance, 3)}</a></li>' for n in range(_FIRST_PAGES))
    return f"<!doctype html><title>{_text(chance, 3)}</title><ul>{entries}</ul>".encode()


def page(number: int, count: int, figures: Callable[[random.Random], list[str]]) -> bytes:
    """Return a page of 60 to 100 kB: links to its next pages and to others, figures, and text between them."""
    chance = random.Random(number)
    start = _FIRST_PAGES + number * _NEXT_PAGES
    linked = [n for n in range(start, start + _NEXT_PAGES) if n < count]
    linked += chance.choices(range(count), k=_PAGE_LINKS - len(linked))
    parts = [f'<li><a class="teaser" href="/{page_path(n)}">{_text(chance, 4)}</a></li>' for n in linked]
    parts += figures(chance)
    chance.shuffle(parts)
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(chance, 6)}</title></head><body>'
    filling = chance.randrange(60_000, 98_000) - sum(map(len, parts))
    between = "".join(f"<p>{_text(chance, 40)}</p>" for _ in range(filling // 250))
    return f"{head}<ul>{''.join(parts)}</ul>{between}</body></html>".encode()


def _figures(page: int, chance: random.Random) -> list[str]:
    return [figure(chance, f"/images/{page:05}-{number:02}") for number in range(_PAGE_IMAGES)]


def figure(chance: random.Random, base: str) -> str:
    """Return how a page shows the image that is at `base`, but for its suffix."""
    return (
        f'<figure><img loading="lazy" src="{base}.jpg" srcset="{base}-320.jpg 320w, {base}.jpg 1280w" '
        f'alt="{_text(chance, 5)}" width="640" height="480"><figcaption>{_text(chance, 8)}</figcaption></figure>'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=[SMALL.name, LARGE.name, PAGES])
    parser.add_argument("--data", type=Path, default=default_directory(), help="where they go (%(default)s)")
    parser.add_argument("--images", type=int, help="how many, where 20,000 small and 4,000 large ones are not meant")
    args = parser.parse_args()
    for name in args.sets:
        kind = {SMALL.name: SMALL, LARGE.name: LARGE}.get(name)
        try:
            made = images(args.data, kind, args.images or kind.default) if kind else pages(args.data)
        except PillowMissing as missing:
            sys.exit(str(missing))
        print(f"{made.root}: {len(made.digests):,} files, {made.size / len(made.digests) / 1000:.1f} kB each")


if __name__ == "__main__":
    main()
