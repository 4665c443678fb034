"""The bytes of images that a job has, wherever they are: in files, in shards, on this machine or in a bucket."""

from __future__ import annotations

import hashlib
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from crawler.contracts import JobFolder
from crawler.errors import FetchError
from crawler.ledger import Kept
from crawler.outcomes import Outcome
from crawler.shards.shard import tar_of

#: Shards whose lists of members are kept: each takes about two megabytes.
_MOST_TARS = 16


class _Tar(NamedTuple):
    path: Path
    members: dict[str, tuple[int, int]]  #: first byte and size, by name


class Bodies:
    """Reads images of a job; what a bucket has is kept in the directory `copies` for a while."""

    def __init__(self, folder: JobFolder, copies: Path) -> None:
        self._folder = folder
        self._copies = copies
        self._tars: OrderedDict[str, _Tar] = OrderedDict()

    def read(self, line: Kept) -> bytes:
        """Return the bytes of an image; raises FetchError where they are gone or not what the ledger says."""
        tar = tar_of(line.file_name)
        try:
            body = self._member(tar, line.file_name) if tar else self._file(line.file_name)
        except (OSError, tarfile.TarError) as error:
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
        found = self._tars.pop(tar, None) or self._opened(tar)
        self._tars[tar] = found
        if len(self._tars) > _MOST_TARS:
            _, oldest = self._tars.popitem(last=False)
            if self._copies in oldest.path.parents:
                oldest.path.unlink(missing_ok=True)
        place = found.members.get(name.rpartition("/")[2])
        if place is None:
            raise FileNotFoundError(f"it is not in {tar}")
        with found.path.open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])

    def _opened(self, name: str) -> _Tar:
        path = self._fetched(name)
        with tarfile.open(path) as tar:
            images = (member for member in tar if not member.name.endswith((".json", ".txt")))
            return _Tar(path, {member.name: (member.offset_data, member.size) for member in images})

    def _fetched(self, name: str) -> Path:
        path = self._folder.fetched(name, self._copies)
        if path is None:
            raise FileNotFoundError("it is gone")
        return path
