"""A state that is filled from a ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from crawler.account import ShardRow
from crawler.brokers.parcels import Result
from crawler.brokers.records import Records, RunRow
from crawler.model import ImageDetail, ImageResult, Kind, encode, pack, task_id
from crawler.outcomes import Outcome
from crawler.shards.shard import number_of
from crawler.spec import Spec
from crawler.urls import address


class Adopted(msgspec.Struct, kw_only=True):
    """An image of a ledger; `result` is None where it has no file."""

    url: str
    site: str
    outcome: str
    message: str
    run: int
    time: float
    size: int
    gone: bool
    result: ImageResult | None


def known_job(path: Path) -> str:
    """Return the id of the job whose state this is, `""` where it has none yet."""
    if not path.exists():
        return ""
    records = Records(path)
    try:
        spec = records.meta("spec")
        return msgspec.msgpack.decode(spec, type=Spec).job_id if spec else ""
    finally:
        records.close()


def adopt(path: Path, spec: Spec, job_id: str, rows: Iterable[Adopted], shards: Iterable[ShardRow]) -> int:
    """Fill the state at `path`, which has no run, with a ledger; all or nothing. Returns how many images it has.

    `shards` are those that a manifest names; their numbers are not handed out again, nor those in the ledger.

    Pages are not in it: the next run reads them, and learns which images they name.
    """
    records = Records(path)
    try:
        records.start()
        for shard in shards:
            records.shards.restore(shard, records.worker_row(shard.worker))
        number, last = _fill(records, spec, rows)
        records.set_run(RunRow(max(last, 1), 0.0, 1.0, 0, 1))
        records.set_meta("clean", 1)  # nobody holds a task of it
        records.set_meta("spec", encode(replace(spec, job_id=job_id)))
        records.commit()
    finally:
        records.rollback()  # nothing, where all of it was committed
        records.close()
    return number


def _fill(records: Records, spec: Spec, rows: Iterable[Adopted]) -> tuple[int, int]:
    """Put all rows, and return how many they are, and the last run that they are of."""
    sources = _put_sources(records, spec)
    usual = next(iter(sources.values()), 0)
    worker, detail = records.worker_row("ledger"), encode(ImageDetail())
    number = last = 0
    gone: list[tuple[int, int]] = []
    for row in rows:
        origin = records.origins.of(address(row.url).origin if row.url.startswith("http") else "").number
        source = sources.get(row.site, usual)
        task = records.tasks.add(task_id(Kind.IMAGE, row.url), Kind.IMAGE, origin, source, row.url, detail)
        outcome = Outcome.SUCCESS if row.result is not None else row.outcome
        body = pack(row.result) if row.result is not None else Raw(b"\xc0")
        result = Result(task, int(Kind.IMAGE), outcome, row.message, row.size, body)
        records.results.add(row.run, worker, row.time, result)
        if row.result is not None and (shard := number_of(row.result.file)) >= 0:
            records.shards.restore(ShardRow(shard, row.run, "", row.time), worker)
        if row.gone:
            gone.append((row.run, task))
        number, last = number + 1, max(last, row.run)
        if number % 10_000 == 0:
            records.flush()
    records.flush()
    records.tasks.found_gone(gone)
    return number, last


def _put_sources(records: Records, spec: Spec) -> dict[str, int]:
    """Put the sources as such that an earlier run had, and return their numbers by name."""
    sources = {}
    for url, detail in spec.sources:
        identity = task_id(Kind.SOURCE, url)
        sources[detail.name] = records.tasks.add(identity, Kind.SOURCE, 0, 0, url, encode(detail))
        read = Result(sources[detail.name], int(Kind.SOURCE), Outcome.SUCCESS, "", 0, Raw(b"\xc0"))
        records.results.add(0, records.worker_row("ledger"), 0.0, read)
    return sources
