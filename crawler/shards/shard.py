"""One shard as it is made: `00000.tar`, `00000.parquet` and `00000_stats.json` in a folder for drafts."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Collection
from io import BytesIO
from itertools import pairwise
from pathlib import Path

from crawler.shards.samples import NOT_FETCHED, NOT_TRANSFORMED, SUCCESS, Sample, Table, member
from crawler.shards.tar import TarWriter

#: The folder of shards in that of a job.
FOLDER = "shards"
#: Digits of a shard's number, at least, and of a sample's place in its shard.
SHARD_DIGITS, _PLACES = 5, 4
_SUFFIXES = (".tar", ".parquet", "_stats.json")


def names_of(number: int) -> list[str]:
    """Return the names of a shard's files in the folder of its job, the tar last: with it the shard is there."""
    return [f"{FOLDER}/{number:05d}{suffix}" for suffix in reversed(_SUFFIXES)]


def tar_of(file: str) -> str:
    """Return the name of the tar that a ledger's file is in, `""` where it is in none."""
    tar, _, member = file.rpartition("/")
    return tar if tar.startswith(f"{FOLDER}/") and tar.endswith(".tar") and member else ""


def number_of(file: str) -> int:
    """Return the number of the shard that a ledger's file is in, -1 where it is in none."""
    digits = tar_of(file).removeprefix(f"{FOLDER}/").removesuffix(".tar")
    return int(digits) if digits.isdecimal() and digits.isascii() else -1


class Shard:
    """A shard that is being made; its methods raise OSError where files cannot be written.

    A sample is three files one after the other: the image with `suffix`, `.json`, and `.txt` with the caption.
    """

    def __init__(self, folder: Path, number: int, most: int, suffix: str = "jpg") -> None:
        """`most` is how many rows it may have."""
        self.number = number
        self.began = time.time()
        self._folder = folder
        self._digits = max(_PLACES, len(str(most - 1)))
        self._suffix = suffix
        self.samples: list[Sample] = []  #: its rows
        self._begins: list[int] = []  #: where each is in the tar; where it is not, because it failed, the next is
        self._next = 0
        self._tar = TarWriter(self._draft(self.tar), int(self.began))

    def __len__(self) -> int:
        """Return how many rows it has."""
        return len(self.samples)

    @property
    def size(self) -> int:
        """Return the bytes of the tar."""
        return self._tar.size

    @property
    def has_samples(self) -> bool:
        """Tell whether an image came into it; without one it has no tar: to loaders an empty one is broken."""
        return self._tar.size > 0

    @property
    def tar(self) -> str:
        """Return the name of its tar in the job's folder."""
        return f"{FOLDER}/{self.number:05d}.tar"

    @property
    def table(self) -> str:
        """Return the name of its table in the job's folder."""
        return f"{FOLDER}/{self.number:05d}.parquet"

    @property
    def files(self) -> list[tuple[Path, str]]:
        """Return its drafts, each with the name that it is to have in the job's folder."""
        names = names_of(self.number)
        return [(self._draft(name), name) for name in (names if self.has_samples else names[:-1])]

    def add(self, sample: Sample, body: bytes) -> str:
        """Add an image, and return its name in the ledger."""
        key = self._take_key(sample)
        begin = self._tar.size
        self._tar.add(
            (f"{key}.{self._suffix}", body), (f"{key}.json", member(sample)), (f"{key}.txt", sample.caption.encode())
        )
        self._note(sample, begin)
        return f"{FOLDER}/{self.number:05d}.tar/{key}.{self._suffix}"

    def add_failure(self, sample: Sample) -> None:
        """Add the row of an image that failed."""
        self._take_key(sample)
        self._note(sample, self._tar.size)

    def finish(self) -> None:
        """Have the whole of it on the disk; raises Unstorable where a table cannot hold a row."""
        if self.has_samples:
            self._tar.finish()
        else:
            self._tar.abandon()
            self._draft(self.tar).unlink()
        self._write_beside()

    def drop(self, keys: Collection[str], tar: Path | None) -> None:
        """Make it anew, to the end, without the rows with these keys; `tar` is the one that it had, if any."""
        places = pairwise([*self._begins, self._tar.size])
        kept = [(sample, place) for sample, place in zip(self.samples, places, strict=True) if sample.key not in keys]
        self._tar = TarWriter(self._draft(self.tar), int(self.began))
        self.samples, self._begins = [], []
        with tar.open("rb") if tar is not None else BytesIO() as source:
            for sample, (begin, end) in kept:
                source.seek(begin)
                self._note(sample, self._tar.size)
                self._tar.append(source.read(end - begin))
        self.finish()

    def discard(self) -> None:
        """Remove what there is of it."""
        self._tar.abandon()
        for name in names_of(self.number):
            self._draft(name).unlink(missing_ok=True)

    def _note(self, sample: Sample, begin: int) -> None:
        self.samples.append(sample)
        self._begins.append(begin)

    def _take_key(self, sample: Sample) -> str:
        sample.key = f"{self.number:05d}{self._next:0{self._digits}d}"
        self._next += 1
        return sample.key

    def _draft(self, name: str) -> Path:
        return self._folder / name.rpartition("/")[2]

    def _write_beside(self) -> None:
        stats, table, *_ = (path for path, _ in self.files)
        rows = Table(table)
        rows.write(self.samples)
        rows.finish()
        with stats.open("w") as file:
            file.write(json.dumps(self._stats(), indent=4))
            file.flush()
            os.fsync(file.fileno())

    def _stats(self) -> dict[str, object]:
        """Return the numbers that img2dataset has beside a shard; times in seconds."""
        statuses = Counter(sample.status for sample in self.samples)
        ended = time.time()
        return {
            "count": len(self.samples),
            "successes": statuses[SUCCESS],
            "failed_to_download": statuses[NOT_FETCHED],
            "failed_to_resize": statuses[NOT_TRANSFORMED],
            "duration": ended - self.began,
            "start_time": self.began,
            "end_time": ended,
            "status_dict": dict(Counter(sample.outcome for sample in self.samples)),
        }
