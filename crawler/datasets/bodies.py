"""The bytes of images that a job has, wherever they are: in files, in shards, on this machine or in a bucket."""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from crawler.contracts import JobFolder
from crawler.errors import FetchError
from crawler.ledger import Kept
from crawler.outcomes import Outcome
from crawler.shards.shard import SHARD_DIGITS, tar_of
from crawler.shards.tar import members

#: Shards of a bucket of which copies are kept.
_MOST_COPIES = 4


class _Tar(NamedTuple):
    """Where the images of a shard begin and how long they are, by their places in it; 0 where there is none."""

    begins: array[int]
    sizes: array[int]


class Bodies:
    """Reads images of a job, for any thread; what a bucket has is kept in the directory `copies` for a while."""

    def __init__(self, folder: JobFolder, copies: Path) -> None:
        self._folder = folder
        self._copies = copies
        self.is_far = folder.path is None  #: each takes a request
        self._one_at_a_time = threading.Lock()
        self._tars: dict[str, _Tar] = {}
        self._latest: OrderedDict[str, Path] = OrderedDict()

    def read(self, line: Kept) -> bytes:
        """Return the bytes of an image; raises FetchError where they are gone or not what the ledger says."""
        tar = tar_of(line.file_name)
        try:
            body = self._member(tar, line.file_name) if tar else self._file(line.file_name)
        except (OSError, ValueError) as error:
            raise FetchError(Outcome.UNREADABLE, f"{line.file_name}: {error}") from error
        if hashlib.sha256(body).hexdigest() != (line.stored_sha256 or line.sha256):
            raise FetchError(Outcome.UNREADABLE, f"{line.file_name} is not what was stored")
        return body

    def _file(self, name: str) -> bytes:
        path = self._fetched(name)
        body = path.read_bytes()
        if self._copies in path.parents:
            path.unlink()
        return body

    def _member(self, tar: str, name: str) -> bytes:
        with self._one_at_a_time:
            path = self._shard(tar)
            found = self._tars.get(tar)
            if found is None:
                found = self._tars[tar] = _listed(path)
            place = _place(name)
            if place >= len(found.sizes) or not found.begins[place]:
                raise FileNotFoundError(f"it is not in {tar}")
            with path.open("rb") as file:
                file.seek(found.begins[place])
                return file.read(found.sizes[place])

    def _shard(self, tar: str) -> Path:
        """Return where a shard is on this machine; of a bucket's only the latest are kept."""
        path = self._latest.pop(tar, None) or self._fetched(tar)
        self._latest[tar] = path
        if len(self._latest) > _MOST_COPIES:
            _, oldest = self._latest.popitem(last=False)
            if self._copies in oldest.parents:
                oldest.unlink(missing_ok=True)
        return path

    def _fetched(self, name: str) -> Path:
        path = self._folder.fetched(name, self._copies)
        if path is None:
            raise FileNotFoundError("it is gone")
        return path


def _listed(path: Path) -> _Tar:
    found = _Tar(array("Q"), array("Q"))
    for name, begin, size in members(path):
        if not name.endswith((".json", ".txt")):
            missing = _place(name) + 1 - len(found.sizes)
            found.begins.extend([0] * missing)
            found.sizes.extend([0] * missing)
            found.begins[-1], found.sizes[-1] = begin, size
    return found


def _place(name: str) -> int:
    """Return the place of an image in its shard, by its name."""
    return int(name.rpartition("/")[2].partition(".")[0][SHARD_DIGITS:])
