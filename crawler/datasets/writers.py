"""How a dataset is laid out: WebDataset shards, or the folder of images that Hugging Face calls imagefolder."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from crawler.errors import FetchError
from crawler.ledger import Kept
from crawler.mentions import TEXTS
from crawler.outcomes import Outcome
from crawler.shards.exif import NO_EXIF
from crawler.shards.samples import NOT_FETCHED, NOT_TRANSFORMED, Sample
from crawler.shards.shard import FOLDER, Shard
from crawler.transforms.imaging import Transformed

#: Images in one folder of an imagefolder.
IN_A_FOLDER = 1000
METADATA, FAILURES = "metadata.jsonl", "failures.jsonl"
_SUFFIXES = {"jpeg": "jpg"}
_encode_lines = msgspec.json.Encoder().encode_lines
_read = msgspec.json.Decoder(dict[str, object]).decode


class Item(NamedTuple):
    """An image of a dataset as it came out, or why it did not."""

    line: Kept
    caption: str
    exif: str
    image: Transformed | FetchError


class Part(NamedTuple):
    """A part of a dataset that is whole: its files, each with its name in the dataset, and its rows."""

    files: list[tuple[Path, str]]
    images: int
    failures: int


class Writer(Protocol):
    """Makes a dataset in a folder of drafts, part by part; raises OSError where it cannot."""

    def write(self, number: int, items: Iterator[Item]) -> Part:
        """Make part `number` (from 0) of as many of `items` as belong into it."""

    def finish(self, parts: int) -> list[tuple[Path, str]]:
        """Make what tells of all parts, once they are made."""


class Shards:
    """Tars with their tables, `00000.tar` and so on."""

    def __init__(self, folder: Path, samples: int, size: int, suffix: str) -> None:
        self._folder = folder
        self._samples = samples
        self._size = size
        self._suffix = suffix

    def write(self, number: int, items: Iterator[Item]) -> Part:
        shard = Shard(self._folder, number, self._samples, self._suffix)
        failures = 0
        for item in items:
            if isinstance(item.image, FetchError):
                shard.add_failure(_failed(item, item.image))
                failures += 1
            else:
                shard.add(_sample(item, item.image), item.image.body)
            if len(shard) >= self._samples or shard.size >= self._size:
                break
        shard.finish()
        files = [(path, name.removeprefix(f"{FOLDER}/")) for path, name in shard.files]
        return Part(files, len(shard) - failures, failures)

    def finish(self, parts: int) -> list[tuple[Path, str]]:
        return []


class ImageFolder:
    """Images in folders of a thousand, and `metadata.jsonl` with a line for each and for nothing else."""

    def __init__(self, folder: Path, parts: Path) -> None:
        """`parts` is where the lines of a part are kept until the end."""
        self._folder = folder
        self._parts = parts

    def write(self, number: int, items: Iterator[Item]) -> Part:
        folder = self._folder / f"images/{number:04d}"
        folder.mkdir(parents=True)
        files, rows, failures = list[tuple[Path, str]](), list[object](), list[object]()
        for item in items:
            if isinstance(item.image, FetchError):
                failures.append({"url": item.line.url, "outcome": item.image.outcome, "message": str(item.image)})
            else:
                place = number * IN_A_FOLDER + len(rows) + len(failures)
                name = f"images/{number:04d}/{place:08d}.{_SUFFIXES.get(item.image.format, item.image.format)}"
                (self._folder / name).write_bytes(item.image.body)
                files.append((self._folder / name, name))
                rows.append({"file_name": name, **_told(item, item.image)})
            if len(rows) + len(failures) >= IN_A_FOLDER:
                break
        self._keep(number, METADATA, rows)
        self._keep(number, FAILURES, failures)
        return Part(files, len(rows), len(failures))

    def finish(self, parts: int) -> list[tuple[Path, str]]:
        made = []
        for name in (METADATA, FAILURES):
            path = self._folder / name
            with path.open("wb") as whole:
                for number in range(parts):
                    whole.write(self._lines(number, name).read_bytes())
            if path.stat().st_size or name == METADATA:
                made.append((path, name))
            else:
                path.unlink()
        return made

    def _keep(self, number: int, name: str, rows: Sequence[object]) -> None:
        path = self._lines(number, name)
        with path.open("wb") as file:
            file.write(_encode_lines(rows))
            file.flush()
            os.fsync(file.fileno())

    def _lines(self, number: int, name: str) -> Path:
        return self._parts / f"{number:04d}-{name}"


def _told(item: Item, image: Transformed) -> dict[str, object]:
    """Return the columns of an image, all of them texts and numbers: a loader takes their types from the first."""
    line = item.line
    mention = _read(line.mentions[0]) if line.mentions else {}
    return {
        "url": line.url,
        "caption": item.caption,
        "width": image.width,
        "height": image.height,
        "original_width": image.original_width,
        "original_height": image.original_height,
        "format": image.format,
        "size": len(image.body),
        "sha256": line.sha256,
        "site": line.site,
        **{name: mention.get(name) or "" for name in TEXTS if name not in ("caption", "found_in")},
    }


def _sample(item: Item, image: Transformed) -> Sample:
    line = item.line
    return Sample(
        url=line.url, caption=item.caption, width=image.width, height=image.height,
        original_width=image.original_width, original_height=image.original_height, exif=item.exif or NO_EXIF,
        sha256=line.sha256,
        outcome=line.outcome, format=image.format, size=len(image.body), final_url=line.final_url,
        http_status=line.status, etag=line.etag, last_modified=line.last_modified,
        time=_seconds(line), mentions=line.mentions, phash=line.phash,
    )  # fmt: skip


def _failed(item: Item, error: FetchError) -> Sample:
    is_read = error.outcome != Outcome.UNREADABLE
    return Sample(
        url=item.line.url, caption=item.caption, status=NOT_TRANSFORMED if is_read else NOT_FETCHED,
        error_message=str(error), sha256=item.line.sha256, outcome=error.outcome, time=_seconds(item.line),
        mentions=item.line.mentions,
    )  # fmt: skip


def _seconds(line: Kept) -> float:
    return datetime.datetime.fromisoformat(line.time.replace("Z", "+00:00")).timestamp()
