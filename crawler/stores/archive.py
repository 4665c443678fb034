"""Results that were written out of a Redis: parts in the job's folder, which all of its collectors see.

A part is there whole or not at all; what two collectors wrote twice has the same numbers, and is read once.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from crawler.contracts import Parcel
from crawler.errors import StoreError

DIRECTORY = ".ledger"
_PART = re.compile(r"(\d{15})-(\d{15})\.part")
_PARCELS = msgspec.msgpack.Decoder(list[Parcel])
_ENCODE = msgspec.msgpack.Encoder().encode


class _Part(NamedTuple):
    """A part by its name, and the number of its last result."""

    name: str
    last: int


class Archive(ABC):
    """Keeps the ResultArchive contract; those below it know where parts lie. One thread calls it."""

    def __init__(self) -> None:
        self._seen: dict[str, list[_Part]] = {}  #: by folder
        self._last_read: tuple[str, list[Parcel]] = "", []  # whoever reads on begins in the same part

    def write(self, job_id: str, partition: int, parcels: list[Parcel]) -> None:
        name = f"{parcels[0].first:015}-{parcels[-1].last:015}.part"
        self._put(_folder(job_id, partition), name, _ENCODE(parcels))

    def read(self, job_id: str, partition: int, after: int) -> Iterator[Parcel]:
        folder = _folder(job_id, partition)
        yield from self._in(folder, after, self._seen.get(folder, []))
        seen = max((part.last for part in self._seen.get(folder, [])), default=0)
        yield from self._in(folder, max(after, seen), self._look(folder))

    def _in(self, folder: str, after: int, parts: list[_Part]) -> Iterator[Parcel]:
        for part in parts:
            if part.last > after:
                yield from self._parcels(f"{folder}/{part.name}")

    def _look(self, folder: str) -> list[_Part]:
        """Look which parts there are now: none is ever removed."""
        found = filter(None, map(_PART.fullmatch, sorted(self._names(folder))))
        self._seen[folder] = [_Part(match[0], int(match[2])) for match in found]
        return self._seen[folder]

    def _parcels(self, path: str) -> list[Parcel]:
        if self._last_read[0] != path:
            try:
                self._last_read = path, _PARCELS.decode(self._get(path))
            except msgspec.MsgspecError as error:
                raise StoreError(f"the results in {path} cannot be read: {error}") from error
        return self._last_read[1]

    @abstractmethod
    def _put(self, folder: str, name: str, body: bytes) -> None:
        """Put a part into its place, where it may be already; raises StoreError."""

    @abstractmethod
    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder, none where it is not there; raises StoreError."""

    @abstractmethod
    def _get(self, path: str) -> bytes:
        """Return a part; raises StoreError."""


def _folder(job_id: str, partition: int) -> str:
    """Return where the parts of a partition are; another job that takes the output over has other ones."""
    return f"{DIRECTORY}/{job_id}/{partition:04}"
