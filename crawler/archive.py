"""Results that were written out of a Redis: parts in the job's directory, which all of its collectors see.

A part is written beside, where leftovers are swept, synced and renamed, so it is there whole or not at all; what two
collectors wrote twice has the same numbers, and is read once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from crawler.contracts import Parcel
from crawler.errors import StoreError
from crawler.stores.files import draft_of

DIRECTORY = ".ledger"
_PART = re.compile(r"(\d{15})-(\d{15})\.part")
_PARCELS = msgspec.msgpack.Decoder(list[Parcel])
_ENCODE = msgspec.msgpack.Encoder().encode


class Archive:
    """The parts below a job's directory."""

    def __init__(self, root: Path) -> None:
        self._root = root / DIRECTORY
        self._last_read: tuple[Path, list[Parcel]] = Path(), []  # whoever reads on begins in the same part

    def write(self, partition: int, parcels: list[Parcel]) -> None:
        """Keep parcels that follow each other; durable when it returns.

        Raises StoreError.
        """
        directory = self._directory(partition)
        name = f"{parcels[0].first:015}-{parcels[-1].last:015}.part"
        draft = self._root.parent / draft_of(f"{partition:04}-{name}")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(_ENCODE(parcels))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(directory / name)
            for folder in (directory, self._root, self._root.parent):
                _sync(folder)
        except OSError as error:
            raise StoreError(f"the results in {directory} cannot be written: {error.strerror}") from error

    def read(self, partition: int, after: int) -> Iterator[Parcel]:
        """Give the parcels with results after number `after`, in their order; some may come twice.

        Raises StoreError where a part cannot be read.
        """
        directory = self._directory(partition)
        try:
            names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
            for match in filter(None, map(_PART.fullmatch, names)):
                if int(match[2]) > after:
                    yield from self._part(directory / match[0])
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(f"the results in {directory} cannot be read: {error}") from error

    def _part(self, path: Path) -> list[Parcel]:
        if self._last_read[0] != path:
            self._last_read = path, _PARCELS.decode(path.read_bytes())
        return self._last_read[1]

    def _directory(self, partition: int) -> Path:
        return self._root / f"{partition:04}"


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
