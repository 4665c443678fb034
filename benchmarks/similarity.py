"""How well near-duplicates are found: precision, recall, time and memory over a job of 200,000 images.

Every image is made, encoded and hashed as a crawl would: layered noise that falls off as in photographs, drawings of
shapes, pages of text, and icons of a few shapes on white; 160 x 120 pixels, icons 96 x 96. Some are made anew from one
of the others: in another size, encoded worse, or cropped. Rows of a file are then grouped, in a process of its own.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import io
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from crawler.similarity.groups import DISTANCE, Row, groups
from crawler.similarity.hashing import BITS, perceptual_hash

_WORDS = "light sea harbour morning old new garden river stone bridge winter field house street market night".split()
_SIZE = (160, 120)
_ICON = (96, 96)
_UNLIKE_PAIRS = 200_000


# The pictures


def _photograph(chance: random.Random) -> Image.Image:
    """Noise of each octave half as strong as of the coarser one, in three colours that go together."""
    channels = []
    layers = [(columns, columns * 3 // 4) for columns in (4, 8, 16, 32, 80, 160)]
    common = _layers(chance, layers)
    for _ in range(3):
        channels.append(Image.blend(common, _layers(chance, layers[:2]), chance.uniform(0, 0.5)))
    return Image.merge("RGB", channels)


def _layers(chance: random.Random, grids: Sequence[tuple[int, int]]) -> Image.Image:
    picture: Image.Image | None = None
    for grid in reversed(grids):
        noise = Image.frombytes("L", grid, chance.randbytes(grid[0] * grid[1])).resize(_SIZE, Image.Resampling.BICUBIC)
        picture = noise if picture is None else Image.blend(picture, noise, 0.5)
    assert picture is not None
    return picture


def _drawing(chance: random.Random) -> Image.Image:
    return _shapes(chance, _SIZE, _colour(chance), chance.randint(5, 15))


def _icon(chance: random.Random) -> Image.Image:
    return _shapes(chance, _ICON, (255, 255, 255), chance.randint(3, 6))


def _shapes(chance: random.Random, size: tuple[int, int], ground: tuple[int, int, int], count: int) -> Image.Image:
    picture = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(picture)
    for _ in range(count):
        points = [(chance.uniform(0, size[0]), chance.uniform(0, size[1])) for _ in range(chance.randint(2, 5))]
        (left, right), (top, bottom) = (sorted(axis) for axis in zip(*points[:2], strict=True))
        shape = chance.randrange(4)
        if shape == 0:
            draw.ellipse((left, top, right, bottom), fill=_colour(chance))
        elif shape == 1:
            draw.rectangle((left, top, right, bottom), fill=_colour(chance))
        elif shape == 2 and len(points) > 2:
            draw.polygon(points, fill=_colour(chance))
        else:
            draw.line(points, fill=_colour(chance), width=chance.randint(1, 8))
    return picture


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _text(chance: random.Random) -> Image.Image:
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    size = chance.choice((9, 11, 14))
    for top in range(4, _SIZE[1] - size, round(size * 1.3)):
        if chance.random() < 0.85:
            line = " ".join(chance.choices(_WORDS, k=chance.randint(1, 5)))
            draw.text((4, top), line, fill="black", font=_font(size))
    return picture


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


_KINDS: dict[str, Callable[[random.Random], Image.Image]] = {
    "photograph": _photograph,
    "drawing": _drawing,
    "text": _text,
    "icon": _icon,
}
_SHARES = (45, 25, 15, 15)


def _picture(number: int) -> tuple[str, Image.Image]:
    chance = random.Random(number)
    (kind,) = chance.choices(list(_KINDS), _SHARES)
    return kind, _KINDS[kind](chance)


# What is done to them


def _resized(factor: float) -> Callable[[Image.Image, random.Random], bytes]:
    def change(picture: Image.Image, chance: random.Random) -> bytes:
        size = (round(picture.width * factor), round(picture.height * factor))
        return _encoded(picture.resize(size, Image.Resampling.LANCZOS))

    return change


def _again(format: str, quality: int) -> Callable[[Image.Image, random.Random], bytes]:
    return lambda picture, chance: _encoded(picture, format, quality)


def _cropped(least: float, most: float) -> Callable[[Image.Image, random.Random], bytes]:
    def change(picture: Image.Image, chance: random.Random) -> bytes:
        left, top, right, bottom = (chance.uniform(least, most) for _ in range(4))
        width, height = picture.size
        box = (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
        return _encoded(picture.crop(box), quality=80)

    return change


def _encoded(picture: Image.Image, format: str = "JPEG", quality: int = 90) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, quality=quality)
    return file.getvalue()


_CHANGES = {
    "50% of its size": _resized(0.5),
    "75% of its size": _resized(0.75),
    "150% of its size": _resized(1.5),
    "JPEG, quality 50": _again("JPEG", 50),
    "JPEG, quality 70": _again("JPEG", 70),
    "JPEG, quality 85": _again("JPEG", 85),
    "WebP, quality 70": _again("WEBP", 70),
    "2% cropped, each side": _cropped(0.02, 0.02),
    "5% cropped, each side": _cropped(0.05, 0.05),
    "2 to 5% cropped": _cropped(0.02, 0.05),
}


class Made(NamedTuple):
    """An image; `source` is the number of the picture that it shows, `change` what was done to it, if anything."""

    number: int
    kind: str
    source: int
    change: str
    hash: str
    pixels: int
    size: int


def _made(task: tuple[int, int, str]) -> Made:
    number, source, change = task
    kind, picture = _picture(source)
    body = _CHANGES[change](picture, random.Random(f"change {number}")) if change else _encoded(picture)
    with Image.open(io.BytesIO(body)) as image:
        pixels = image.width * image.height
    return Made(number, kind, source, change, perceptual_hash(body), pixels, len(body))


def _tasks(images: int, known: int) -> Iterator[tuple[int, int, str]]:
    """Yield what to make: the known near-duplicates are the last, each of another picture."""
    distinct = images - known
    yield from ((number, number, "") for number in range(distinct))
    sources = random.Random(0).sample(range(distinct), known)
    names = list(_CHANGES)
    yield from ((distinct + at, source, names[at % len(names)]) for at, source in enumerate(sources))


# What is found


class Found(NamedTuple):
    """What was dropped for which, and what the process took that found it."""

    dropped: dict[int, int]
    seconds: float
    before: int
    peak: int


def _find(path: str, distance: int) -> Found:
    before = _peak()
    began = time.monotonic()
    with open(path) as file:  # noqa: PTH123
        dropped = groups(_rows(file), distance)
    seconds = time.monotonic() - began
    return Found(dict(dropped), seconds, before, _peak())


def _peak() -> int:
    """Return the largest resident size of this process so far, in kB; getrusage would tell of the one it came from."""
    size = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(size[1]) if size else 0


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        number, pixels, size, hash = line.rstrip("\n").split(" ")
        yield Row(int(number), hash, int(pixels), int(size))


def _measured(images: Sequence[Made], distance: int) -> Found:
    """Group in a process that has nothing else in its memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        path.write_text("".join(f"{made.number} {made.pixels} {made.size} {made.hash}\n" for made in images))
        fresh = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=fresh) as pool:
            return pool.submit(_find, str(path), distance).result()


def _differing(one: str, other: str) -> int:
    """Return the bits that differ, of both wholes or of one whole and the other's middle."""
    digits = len(one) // 2
    pairs = ((one[:digits], other[:digits]), (one[digits:], other[:digits]), (one[:digits], other[digits:]))
    return min((int(a, 16) ^ int(b, 16)).bit_count() for a, b in pairs)


def _tell(images: Sequence[Made], found: Found) -> None:
    kept = {made.number: found.dropped.get(made.number, made.number) for made in images}
    right = sum(images[number].source == images[other].source for number, other in found.dropped.items())
    print(f"\n{len(found.dropped):,} dropped, {right:,} rightly: precision {right / max(len(found.dropped), 1):.4f}")
    wrong = Counter(
        " for ".join((images[number].kind, images[other].kind))
        for number, other in found.dropped.items()
        if images[number].source != images[other].source
    )
    for pair, count in wrong.most_common():
        print(f"    wrongly: {pair}: {count}")
    known = [made for made in images if made.change]
    alike = [made for made in known if kept[made.number] == kept[made.source]]
    print(f"{len(alike):,} of {len(known):,} known ones found: recall {len(alike) / max(len(known), 1):.4f}")
    _by("kind", images, known, alike, lambda made: made.kind)
    _by("change", images, known, alike, lambda made: made.change)


def _by(
    name: str, images: Sequence[Made], known: Sequence[Made], alike: Sequence[Made], key: Callable[[Made], str]
) -> None:
    distances = defaultdict(list)
    for made in known:
        other = images[made.source].hash
        distances[key(made)].append(_differing(made.hash, other) if made.hash and other else BITS)
    found = Counter(map(key, alike))
    print(f"\n| {name} | known | recall | bits that differ: median | 90% | 99% |\n|---|---|---|---|---|---|")
    for value, bits in distances.items():
        cuts = statistics.quantiles(bits, n=100, method="inclusive") if len(bits) > 1 else bits * 99
        shown = " | ".join(f"{cuts[at - 1]:.0f}" for at in (50, 90, 99))
        print(f"| {value} | {len(bits):,} | {found[value] / len(bits):.3f} | {shown} |")


def _tell_unlike(images: Sequence[Made], count: int) -> None:
    chance = random.Random(0)
    hashed = [made for made in images if made.hash and not made.change]
    pairs = (chance.sample(hashed, 2) for _ in range(count))
    bits = sorted(_differing(one.hash, other.hash) for one, other in pairs)
    print(
        f"\n{count:,} pairs of different pictures differ in at least {bits[0]} bits, "
        f"all but a thousandth in {bits[count // 1000]}, half in {bits[count // 2]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--known", type=int, default=2_000, help="of these, near-duplicates (%(default)s)")
    parser.add_argument("--distance", type=int, default=DISTANCE)
    parser.add_argument("--processes", type=int, default=2, help="that make and hash them (%(default)s)")
    args = parser.parse_args()
    if not 0 < 2 * args.known <= args.images:
        sys.exit("--known: at least one, and half of --images at most")
    began = time.monotonic()
    with multiprocessing.Pool(args.processes) as pool:
        images = pool.map(_made, _tasks(args.images, args.known), chunksize=500)
    made = ", ".join(f"{count:,} {kind}" for kind, count in Counter(made.kind for made in images).most_common())
    print(f"{len(images):,} images made and hashed in {time.monotonic() - began:.0f} s: {made}")
    print(f"{sum(not made.hash for made in images):,} have too little detail for a hash")
    found = _measured(images, args.distance)
    grown = (found.peak - found.before) / 1024
    print(
        f"grouped in {found.seconds:.1f} s; the process took {found.peak / 1024:.0f} MB, {grown:.0f} of them for this"
    )
    _tell(images, found)
    _tell_unlike(images, _UNLIKE_PAIRS)


if __name__ == "__main__":
    main()
