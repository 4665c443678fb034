"""The contracts between the rooms: what a broker and a store promise. Doors choose who keeps them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from crawler.account import Begun, Counts, LedgerPage, ShardRow
from crawler.model import Found, Reply, Report
from crawler.shards.shard import Shard
from crawler.spec import Spec


class Broker(Protocol):
    """Where tasks wait, politeness is kept and results are recorded.

    Whatever a call reports is durable when it returns.
    """

    def spec(self) -> Spec:
        """Return the settings of the job."""

    def begin(self, spec: Spec) -> Begun:
        """Resume the run of `spec.job` that is not concluded, or open the next one.

        Raises UsageError when the job was made from other sources.
        """

    def take_up(self, spec: Spec) -> Begun:
        """Let the last run, which is finished, go on with the images that are reopened, and with nothing else.

        Raises UsageError when there is none, when it is not finished, or when the job was made from other sources.
        """

    def put(self, found: list[Found], parent: int = 0) -> int:
        """Add images, and pages of a job that reads pages, named by task `parent`; return how many tasks are new.

        A known task gains the mention; an image that failed in an earlier run waits again.
        """

    def exchange(self, worker: str, report: Report) -> Reply:
        """Take a worker's settlements and give it tasks and grants; never waits."""

    def robots(self, digest: str) -> str:
        """Return the robots.txt that has this digest."""

    def results(self, cursor: str, limit: int) -> LedgerPage:
        """Return up to `limit` results of images after `cursor` (`""`: the first), in the order of their coming."""

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        """Return up to `limit` results of images after `cursor` (`""`: the first), what is current among them.

        They are in an order that stays, with the first 20 distinct mentions of each and how many there are; with the
        first 10,000, and 4 MiB of them, where rows of a list are samples of their own.
        """

    def counts(self) -> Counts:
        """Return the numbers of the run, from counters."""

    def reopen(self, seqs: list[int]) -> int:
        """Make tasks again of the images whose current results these are, and return how many."""

    def review(self, cursor: str) -> str:
        """Look at a part of what a finished run came to: what is gone, what need not be remembered.

        Returns the cursor of the next part, `""` after the last; a part may be reviewed again.
        """

    def prune(self, seqs: list[int]) -> int:
        """Note that the files of images that are gone were removed, whose current results these are.

        Returns how many they are.
        """

    def shards(self) -> list[ShardRow]:
        """Return the numbers that were handed out for shards, in their order, whatever run they are of."""

    def conclude(self) -> None:
        """Let the next `begin` open the next run: the ledger of this one, which is finished, is written."""

    def workers(self) -> list[str]:
        """Return the ids of the workers that reported within the lease time."""


class BrokerClient(Broker, Protocol):
    """A broker that is somewhere else."""

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it was found: numeric addresses, each with its port."""

    def close(self) -> None:
        """End the connection; the next call makes another."""


class Parcel(msgspec.Struct, array_like=True, gc=False):
    """Results of a partition that lie together, as its broker packed them; their numbers are from `first` to `last`."""

    first: int
    last: int
    head: bytes
    body: bytes


class ResultArchive(Protocol):
    """Where results are kept that a broker need not keep any more; several may write the same ones."""

    def write(self, job_id: str, partition: int, parcels: list[Parcel]) -> None:
        """Keep parcels that follow each other; durable when it returns. Raises StoreError."""

    def read(self, job_id: str, partition: int, after: int) -> Iterator[Parcel]:
        """Give the parcels with results after number `after`, in their order; some may come twice.

        Raises StoreError where a part cannot be read.
        """


class Store(Protocol):
    """Where images come to rest."""

    def put(self, name: str, body: bytes, done: Callable[[Exception | None], None]) -> None:
        """Store `body` under `name`, wholly or not at all, and call `done` with None or the StoreError.

        Storing the same twice is harmless. `done` may be called before `put` returns, and by another thread.
        """

    def put_now(self, name: str, body: bytes) -> bool:
        """Store `body` as `put` does, before this returns, or do nothing where it takes long: False.

        Raises StoreError.
        """

    def holds(self, name: str, size: int) -> bool:
        """Tell whether a file of so many bytes has this name; where that takes long, it is taken to be there."""

    def probe(self, done: Callable[[Exception | None], None]) -> None:
        """Try after a StoreError whether images are taken again, and call `done` as `put` does."""

    def close(self) -> None:
        """Finish what is under way and remove what is unfinished."""


class ShardStore(Protocol):
    """Where shards are made by a worker, and where they come to rest. All but `probe` may raise StoreError."""

    def begin(self, number: int, most: int) -> Shard:
        """Begin the shard with this number, of so many rows at most."""

    def place(self, shard: Shard) -> None:
        """Put the files of a finished shard into their places, in place of what has their names; durable."""

    def drop(self, shard: Shard, keys: Collection[str]) -> None:
        """Make a shard that is in its place anew without the rows with these keys; it is to be placed again."""

    def remove(self, shard: Shard) -> None:
        """Remove the files of a shard from their places."""

    def holds(self, name: str, size: int) -> bool:
        """Tell whether the shard is there that has this file; where that takes long, it is taken to be there."""

    def probe(self, done: Callable[[Exception | None], None]) -> None:
        """Try after a StoreError whether files can be written again, and call `done` as a Store does."""

    def close(self) -> None:
        """Remove what is unfinished."""


class JobFolder(Protocol):
    """The folder of a job in its output, as doors see it: a directory, or what names in a bucket begin with.

    As text it is what a person writes for it. All but `file_name` raise StoreError.
    """

    @property
    def path(self) -> Path | None:
        """The directory on this machine, None where there is none."""

    def file_name(self, url: str, sha256: str, format: str) -> str:
        """Return the name in this folder of an image."""

    def is_marked(self) -> bool:
        """Tell whether a job has this folder."""

    def job_id(self) -> str:
        """Return the id of the job whose folder this is, `""` where it is nobody's."""

    def fetched(self, name: str, into: Path) -> Path | None:
        """Return a file of this machine with what has this name, written `into` a folder where it is elsewhere.

        None where nothing has the name.
        """

    def is_empty(self) -> bool:
        """Tell whether nothing is in it."""

    def check_free(self) -> None:
        """Raise NotShared where a job has this folder."""

    def mark(self, job_id: str) -> None:
        """Let the job have this folder; raises NotShared where another has it."""

    def check_mark(self, job_id: str) -> None:
        """Raise NotShared where it is not this job that has the folder."""

    def open_store(self, worker: str, *, slow: bool = False) -> Store:
        """Return the store of a worker; with `slow`, writing a file may take long."""

    def open_shards(self, worker: str, suffix: str = "jpg") -> ShardStore:
        """Return where a worker makes shards; `suffix` is that of the names of their images."""

    def place(self, file: Path, name: str) -> None:
        """Move a file of this machine into the folder under `name`, in place of what has it; durable."""

    def open_archive(self) -> ResultArchive:
        """Return where the job's results are kept, for one thread; nothing is looked at yet."""

    def versions(self, urls: Iterable[str]) -> list[str]:
        """Return the names of all files of these images, whatever content they had."""

    def with_content(self, sha256: str) -> list[str]:
        """Return the names of all files that have this content; looks at all names."""

    def remove(self, names: list[str]) -> int:
        """Remove files, and folders that are empty then, and return how many files were there."""

    def upload(self, file: Path, name: str) -> None:
        """Put a file of this machine into the folder under `name`, in place of what has it."""

    def sweep(self, living: frozenset[str] = frozenset(), *, finished: bool = False) -> None:
        """Remove what workers that are gone left unfinished."""
