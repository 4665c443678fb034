"""What the shards of a job come to at the end of a run: their manifest, and the failures that are in none of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from crawler.account import LedgerRow, ShardRow
from crawler.captions import caption
from crawler.contracts import Broker, JobFolder
from crawler.errors import StoreError, UsageError
from crawler.ledger import has_file, stretches
from crawler.mentions import shown_mention
from crawler.model import ImageResult, Words, decode
from crawler.outcomes import Outcome
from crawler.shards.samples import NOT_FETCHED, Sample, Table
from crawler.shards.shard import FOLDER, names_of
from crawler.stores.files import draft_of

MANIFEST, FAILURES = f"{FOLDER}/manifest.json", f"{FOLDER}/failures.parquet"


def conclude_shards(broker: Broker, folder: JobFolder, directory: Path) -> None:
    """Remove the files of shards that were never settled, and write what is in FAILURES and in MANIFEST.

    `directory` is where files of the folder are made on this machine. Raises StoreError.
    """
    rows = broker.shards()
    gaps = [row for row in rows if not row.settled]
    folder.remove([name for row in gaps for name in names_of(row.number)])
    _conclude_failures(broker, folder, directory)
    _placed(folder, directory, MANIFEST, lambda path: _write_manifest(rows, path))


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
    try:
        draft.unlink(missing_ok=True)
        write(draft)
        folder.place(draft, name)
    except OSError as error:
        raise StoreError(f"{folder}/{name} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _write_manifest(rows: list[ShardRow], path: Path) -> None:
    """Write which shards there are, and which numbers were handed out for nothing: their workers died."""
    shards = [
        {"number": row.number, "tar": f"{row.number:05d}.tar", "samples": row.samples, "failures": row.failures,
         "bytes": row.bytes, "run": row.run, "worker": row.worker, "settled": row.settled}
        for row in rows if row.settled
    ]  # fmt: skip
    gaps = [{"number": row.number, "run": row.run, "worker": row.worker} for row in rows if not row.settled]
    path.write_text(json.dumps({"shards": shards, "gaps": gaps}, indent=1) + "\n")


def _conclude_failures(broker: Broker, folder: JobFolder, directory: Path) -> None:
    """Write the failures that are in no shard; without any there is no such file."""
    stretches_of_failures = _failures(broker)
    first = next(stretches_of_failures, None)
    if first is None:
        folder.remove([FAILURES])
        return

    def write(path: Path) -> None:
        table = Table(path)
        for samples in chain([first], stretches_of_failures):
            table.write(samples)
        table.finish()

    _placed(folder, directory, FAILURES, write)


def _failures(broker: Broker) -> Iterator[list[Sample]]:
    order = broker.spec().caption_from
    for rows in stretches(broker):
        if failed := [_failure(row, order) for row in rows if _is_in_no_shard(row)]:
            yield failed


def _is_in_no_shard(row: LedgerRow) -> bool:
    """Tell whether an image failed without a worker's last word: the broker gave it up, or its host."""
    if has_file(row) or row.outcome in (Outcome.REPORTED, Outcome.PRUNED, Outcome.FORGOTTEN):
        return False
    return row.result == msgspec.Raw(b"\xc0") or not decode(row.result, ImageResult).file


def _failure(row: LedgerRow, order: Sequence[str]) -> Sample:
    words: Iterator[Words] = (decode(packed, Words) for _, packed in row.mentions)
    return Sample(
        url=row.url, caption=caption(words, order), status=NOT_FETCHED, error_message=row.message or row.outcome,
        outcome=row.outcome, time=row.time, mentions=[shown_mention(page, packed) for page, packed in row.mentions],
    )  # fmt: skip
