"""What the shards of a job come to at the end of a run: their manifest, and the failures that are in none of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from crawler.account import LedgerRow, ShardRow
from crawler.captions import caption
from crawler.contracts import Broker, JobFolder
from crawler.errors import StoreError, UsageError
from crawler.ledger import Kept
from crawler.mentions import shown_mentions
from crawler.model import ImageResult, Words, decode
from crawler.outcomes import Outcome
from crawler.shards.samples import NOT_FETCHED, Sample, Table
from crawler.shards.shard import FOLDER, names_of
from crawler.shards.tar import is_whole
from crawler.stores.files import draft_of

MANIFEST, FAILURES = f"{FOLDER}/manifest.json", f"{FOLDER}/failures.parquet"


def conclude_shards(broker: Broker, folder: JobFolder, directory: Path) -> None:
    """Remove the files of shards that were never settled, and write what is in MANIFEST.

    `directory` is where files of the folder are made on this machine. Raises StoreError.
    """
    rows = broker.shards()
    gaps = [row for row in rows if not row.settled]
    folder.remove([name for row in gaps for name in names_of(row.number)])
    _placed(folder, directory, MANIFEST, lambda path: _write_manifest(rows, folder, path))


class _Shard(msgspec.Struct):
    """A line of a manifest; of a gap only the first three are there."""

    number: int
    run: int
    worker: str
    settled: float = 0.0
    samples: int = 0
    failures: int = 0
    bytes: int = 0


class _Manifest(msgspec.Struct):
    shards: list[_Shard]
    gaps: list[_Shard]


def read_manifest(folder: JobFolder, into: Path) -> list[ShardRow]:
    """Return the shards of MANIFEST and its gaps, none where it is not there; `into` is a directory of this machine.

    Raises UsageError where it is something else, and StoreError.
    """
    path = folder.fetched(MANIFEST, into)
    if path is None:
        return []
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except (msgspec.MsgspecError, OSError) as error:
        raise UsageError(f"{folder}/{MANIFEST} cannot be read: {error}") from error
    return [ShardRow(*msgspec.structs.astuple(row)) for row in (*manifest.shards, *manifest.gaps)]


def _placed(folder: JobFolder, directory: Path, name: str, write: Callable[[Path], None]) -> None:
    draft = directory / draft_of(name.rpartition("/")[2])
    with _told(folder, name):
        try:
            draft.unlink(missing_ok=True)
            write(draft)
            folder.place(draft, name)
        finally:
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(folder: JobFolder, name: str) -> Iterator[None]:
    """Let an OSError say what cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{folder}/{name} cannot be written: {error.strerror or error}") from error


def _write_manifest(rows: list[ShardRow], folder: JobFolder, path: Path) -> None:
    """Write which shards there are, and which numbers were handed out for nothing: their workers died."""
    shards = [
        {"number": row.number, "tar": f"{row.number:05d}.tar" if _has_tar(row, folder) else None,
         "samples": row.samples, "failures": row.failures,
         "bytes": row.bytes, "run": row.run, "worker": row.worker, "settled": row.settled}
        for row in rows if row.settled
    ]  # fmt: skip
    gaps = [{"number": row.number, "run": row.run, "worker": row.worker} for row in rows if not row.settled]
    path.write_text(json.dumps({"shards": shards, "gaps": gaps}, indent=1) + "\n")


def _has_tar(row: ShardRow, folder: JobFolder) -> bool:
    """Tell whether a shard has its tar: some image came into it, and it was not cut off here since."""
    if not row.samples or folder.path is None:
        return bool(row.samples)
    try:
        return is_whole(folder.path / names_of(row.number)[-1])
    except OSError:
        return True  # workers may keep theirs on their own machines


class FailureTable:
    """Writes what is in FAILURES, from the rows of the ledger that it sees; without any failure there is no such file.

    It has a draft in `directory` until it is left. Raises StoreError.
    """

    def __init__(self, folder: JobFolder, directory: Path, order: Sequence[str]) -> None:
        """`order` is that of the kinds of words for captions."""
        self._folder = folder
        self._draft = directory / draft_of(FAILURES.rpartition("/")[2])
        self._order = order
        self._table: Table | None = None

    def __enter__(self) -> FailureTable:
        with _told(self._folder, FAILURES):
            self._draft.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        with _told(self._folder, FAILURES):
            self._draft.unlink(missing_ok=True)

    def see(self, rows: Iterable[tuple[LedgerRow, Kept | None]]) -> None:
        """Take rows, each with its line where it has a file."""
        failed = [_failure(row, self._order) for row, line in rows if line is None and _is_in_no_shard(row)]
        if failed:
            with _told(self._folder, FAILURES):
                self._table = self._table or Table(self._draft)
                self._table.write(failed)

    def place(self) -> None:
        """Put the table into its place, or remove the one of an earlier run."""
        if self._table is None:
            self._folder.remove([FAILURES])
            return
        with _told(self._folder, FAILURES):
            self._table.finish()
            self._folder.place(self._draft, FAILURES)


def _is_in_no_shard(row: LedgerRow) -> bool:
    """Tell whether an image failed without a worker's last word: the broker gave it up, or its host."""
    if row.outcome in (Outcome.REPORTED, Outcome.PRUNED, Outcome.FORGOTTEN):
        return False
    return row.result == msgspec.Raw(b"\xc0") or not decode(row.result, ImageResult).file


def _failure(row: LedgerRow, order: Sequence[str]) -> Sample:
    words: Iterator[Words] = (decode(packed, Words) for _, packed in row.mentions)
    return Sample(
        url=row.url, caption=caption(words, order), status=NOT_FETCHED, error_message=row.message or row.outcome,
        outcome=row.outcome, time=row.time, mentions=shown_mentions(row.mentions),
    )  # fmt: skip
