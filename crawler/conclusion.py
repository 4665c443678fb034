"""The conclusion of a run: what it came to is looked back at, written, and compared with the run before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol, TypeVar

from crawler.account import LedgerRow
from crawler.contracts import Broker
from crawler.errors import StoreError
from crawler.keeper import Keeper
from crawler.ledger import Kept
from crawler.progress import Ended, attention
from crawler.report import Comparison, Record, changes, shrunk
from crawler.spec import Spec

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Patiently(Protocol):
    """Asks a broker, and again where it is gone for a while."""

    def __call__(self, ask: Callable[[], _T], /) -> _T: ...


def conclude(
    broker: Broker, patiently: Patiently, spec: Spec, keeper: Keeper, pruned: Callable[[], tuple[int, str]]
) -> tuple[Ended, Record | None]:
    """Look back at a finished run, write its ledger, its record and its report, and let the next one begin.

    `pruned` removes files, and tells how many, or why none. Returns how it ended and its record, None where that could
    not be written.
    """
    cursor = patiently(partial(broker.review, ""))
    while cursor:
        cursor = patiently(partial(broker.review, cursor))
    counts = patiently(broker.counts)
    number, refused = _removed(pruned)
    told = attention(counts) + shrunk(counts, keeper.latest(spec.job, counts.run))
    ended = Ended("finished", [*told, refused] if refused else told, pruned=number)
    record = None

    def written() -> Record:
        comparison = Comparison(counts.run)
        if spec.store == "shards":
            _write_with_failures(broker, keeper, spec, comparison)
        else:
            keeper.write(broker, comparison.see)
        return comparison.record(spec.job, counts, ended.attention)

    try:
        record = patiently(written)
        keeper.keep(record, spec.keep_runs)
        ended = ended._replace(changes=changes(record) if record.run > 1 else "")
    except StoreError as error:
        record = None
        log.error("%s; write it again with --export", error)
    if record is not None:
        ended = ended._replace(is_reported=_report(keeper, record))
    patiently(broker.conclude)
    return ended, record


def _write_with_failures(broker: Broker, keeper: Keeper, spec: Spec, comparison: Comparison) -> None:
    """Write the ledger of a job that stores shards, with what stands beside them."""

    def see(rows: Iterable[tuple[LedgerRow, Kept | None]]) -> None:
        rows = list(rows)
        comparison.see(rows)
        failures.see(rows)

    with keeper.failures(spec.caption_from) as failures:
        keeper.write(broker, see)
        failures.place()
    keeper.conclude_shards(broker)


def _removed(pruned: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    try:
        return pruned()
    except StoreError as error:
        return 0, f"{error}; the next run tries again"


def _report(keeper: Keeper, record: Record) -> bool:
    """Write the report, and tell whether it is there."""
    try:
        keeper.report(record)
    except StoreError as error:
        log.error("%s", error)
        return False
    return True
