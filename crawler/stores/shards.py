"""Shards in the folder of a job: made among the drafts of a worker, then put into their places."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from crawler.contracts import JobFolder
from crawler.errors import StoreError
from crawler.shards.shard import Shard, names_of, tar_of
from crawler.shards.tar import is_whole
from crawler.stores.files import INCOMING, FileStore


class Shards:
    """Keeps the ShardStore contract for a worker; its drafts are in a directory of this machine."""

    def __init__(self, folder: JobFolder, drafts: Path, worker: str, suffix: str = "jpg") -> None:
        self._folder = folder
        self._store = FileStore(drafts, worker)  # makes the folder of the drafts, and removes it
        self._drafts = drafts / INCOMING / worker
        self._suffix = suffix
        self._whole: dict[Path, tuple[int, int]] = {}  #: with time and size, of those that were seen to be

    def begin(self, number: int, most: int) -> Shard:
        try:
            self._make_drafts()
            return Shard(self._drafts, number, most, self._suffix)
        except OSError as error:
            raise StoreError(f"shard {number} cannot be begun in {self._drafts}: {error.strerror}") from error

    def place(self, shard: Shard) -> None:
        for path, name in shard.files:
            self._folder.place(path, name)

    def drop(self, shard: Shard, keys: Collection[str]) -> None:
        if not shard.has_samples:
            self._make_drafts()
            shard.drop(keys, None)
            return
        tar = self._folder.fetched(shard.tar, self._drafts)
        if tar is None:
            raise StoreError(f"{self._folder}/{shard.tar} is gone")
        self._make_drafts()
        shard.drop(keys, tar)
        if self._drafts in tar.parents:
            tar.unlink()
            tar.parent.rmdir()
        if not shard.has_samples:
            self._folder.remove([shard.tar])

    def remove(self, shard: Shard) -> None:
        self._folder.remove(names_of(shard.number))

    def holds(self, name: str, size: int) -> bool:
        path, tar = self._folder.path, tar_of(name)
        if path is None:
            return True
        with contextlib.suppress(OSError, ValueError):
            return bool(tar) and self._is_whole(path / tar)
        return False

    def _is_whole(self, tar: Path) -> bool:
        """Tell whether a shard was not cut off since it was placed; raises OSError where it is gone."""
        there = tar.stat()
        seen = (there.st_mtime_ns, there.st_size)
        if self._whole.get(tar) != seen:
            self._whole.pop(tar, None)
            if not is_whole(tar):
                return False
            self._whole[tar] = seen
        return True

    def probe(self, done: Callable[[Exception | None], None]) -> None:
        self._store.probe(done)

    def close(self) -> None:
        self._store.close()

    def _make_drafts(self) -> None:
        """Make the folder of drafts again where someone swept it who took us for gone."""
        self._drafts.mkdir(parents=True, exist_ok=True)
