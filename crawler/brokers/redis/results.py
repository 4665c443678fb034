"""The ledger of a job, read from the partitions one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from crawler.account import LedgerPage, LedgerRow
from crawler.brokers.redis.job import Job
from crawler.brokers.redis.partitions import LOCAL_BITS, Partitions
from crawler.brokers.redis.rows import (
    Body,
    Head,
    Item,
    Known,
    Row,
    binary,
    read_items,
    read_row,
    text,
)
from crawler.brokers.words import LEDGER_PAGE_BYTES, mentions_shown, shown_of
from crawler.contracts import Parcel, ResultArchive
from crawler.errors import StateError, UsageError
from crawler.model import Kind, decode, encode
from crawler.urls import address

_CURSOR = msgspec.json.Decoder(list[int])
#: Parcels read at a time.
_PARCELS = 8
#: Seconds for which results stay in Redis at least: what it may still forget (`everysec`: up to two seconds), and count
#: anew under the same numbers, must not be in the archive.
_FORGETS_WITHIN = 3.0
#: Parcels in one part of the archive.
_PARCELS_IN_PART = 256


class Result(NamedTuple):
    """One result as it lies in a partition; `seq` is of that partition."""

    seq: int
    head: Head
    item: Item
    row: Row


class ResultReader:
    """Reads results; a cursor is how far each partition was read."""

    def __init__(self, partitions: Partitions, job: Job, archive: ResultArchive | None) -> None:
        self._partitions = partitions
        self._job = job
        self._archive = archive
        self._last: dict[int, int] = defaultdict(int)  #: number of the last result by partition, as last heard

    def page(self, cursor: str, limit: int, *, mentions: bool) -> LedgerPage:
        """Return up to `limit` results of images after `cursor`."""
        read = self._positions(cursor)
        found: list[tuple[int, Result]] = []
        size = 0
        for partition in self._with_news(read):
            for result in self._after(partition, read[partition]):
                if len(found) == limit or size > LEDGER_PAGE_BYTES:
                    break
                read[partition] = result.seq
                if result.row.kind is Kind.IMAGE:
                    found.append((partition, result))
                    size += len(result.item.result) + len(result.item.row)
            if len(found) == limit or size > LEDGER_PAGE_BYTES:
                break
        known = self._known(found)
        extra = self._extra(found, known) if mentions else {}
        rows = [
            self._row(place, partition, result, known[place], extra.get(place, [])) if mentions
            else self._row(place, partition, result, known[place], None)
            for place, (partition, result) in enumerate(found)
        ]  # fmt: skip
        return LedgerPage(rows, msgspec.json.encode(read).decode())

    def _with_news(self, read: list[int]) -> list[int]:
        """Return the partitions that have results after what was read."""
        keys = [self._partitions.key(partition, "numbers") for partition in self._partitions.all]
        last = self._partitions.ask(*(("HGET", key, "seq") for key in keys))
        self._last.update({at: int(number or 0) for at, number in enumerate(last)})
        return [at for at in self._partitions.all if self._last[at] > read[at]]

    def _positions(self, cursor: str) -> list[int]:
        """Return what a cursor says; raises UsageError where it was never one of ours."""
        count = len(self._partitions.all)
        if not cursor:
            return [0] * count
        try:
            read = _CURSOR.decode(cursor)
        except (msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise UsageError(f"{cursor[:40]!r} is no place in the results") from error
        if len(read) != count or min(read, default=0) < 0:
            raise UsageError(f"{cursor[:40]!r} is no place in the results")
        return read

    def _after(self, partition: int, seq: int) -> Iterator[Result]:
        """Give the results after number `seq`, from the archive what the partition has no more."""
        for parcel in self._parcels(partition, seq):
            if parcel.last > seq:
                yield from _results(parcel, seq)
                seq = parcel.last

    def _parcels(self, partition: int, seq: int) -> Iterator[Parcel]:
        for parcel in self._in_stream(partition, seq):
            if parcel.first > seq + 1:  # what lay between was written out
                for kept in self._archived(partition, seq):
                    yield kept
                    seq = max(seq, kept.last)
                self._check(parcel.first - 1, seq)
            yield parcel
            seq = max(seq, parcel.last)
        if self._last[partition] > seq:
            for kept in self._archived(partition, seq):
                yield kept
                seq = max(seq, kept.last)
            self._check(self._last[partition], seq)

    def _check(self, wanted: int, seq: int) -> None:
        if seq < wanted:
            raise StateError(
                f"{wanted - seq} results of job {self._job.name} are not in the folder of this collector: give all "
                "collectors of a job the same --output"
            )

    def _archived(self, partition: int, seq: int) -> Iterator[Parcel]:
        if self._archive is None:
            raise StateError(
                f"results of job {self._job.name} were written into its folder; start a collector that sees it"
            )
        return self._archive.read(self._job.spec.job_id, partition, seq)

    def _in_stream(self, partition: int, seq: int) -> Iterator[Parcel]:
        key = self._partitions.key(partition, "results")
        (before,) = self._partitions.ask(("XREVRANGE", key, f"{seq + 1}-1", "-", "COUNT", 1))
        start = before[0][0] if before else b"-"
        while True:
            (found,) = self._partitions.ask(("XRANGE", key, start, "+", "COUNT", _PARCELS))
            for name, fields in found:
                yield _parcel(name, fields)
            if len(found) < _PARCELS:
                return
            start = b"(" + found[-1][0]

    def write_out(self, least: int) -> int:
        """Put the results of partitions that have `least` or more into the archive, and let the partitions forget them.

        Returns how many these were.
        """
        if self._archive is None:
            return 0
        written = 0
        keys = [self._partitions.key(partition, "numbers") for partition in self._partitions.all]
        counters = self._partitions.ask(*(("HMGET", key, "seq", "trimmed") for key in keys))
        for partition, (seq, trimmed) in enumerate(counters):
            if int(seq or 0) - int(trimmed or 0) >= least:
                written += self._write_out(partition, int(trimmed or 0), least)
        return written

    def _write_out(self, partition: int, trimmed: int, least: int) -> int:
        assert self._archive is not None
        safe = self._partitions.now() - _FORGETS_WITHIN
        stream = islice(self._in_stream(partition, trimmed), _PARCELS_IN_PART)
        parcels = list(takewhile(lambda parcel: decode(parcel.head, Head).time <= safe, stream))
        if not parcels or (parcels[-1].last - trimmed < least and len(parcels) < _PARCELS_IN_PART):
            return 0
        self._archive.write(self._job.spec.job_id, partition, parcels)
        last = parcels[-1].last
        self._partitions.call("trim", {partition: {"last": last}})
        return last - trimmed

    def _known(self, found: list[tuple[int, Result]]) -> list[Known | None]:
        places: dict[int, list[int]] = {}
        for place, (partition, _) in enumerate(found):
            places.setdefault(partition, []).append(place)
        calls = {at: {"ids": [binary(found[place][1].row.identity) for place in of]} for at, of in places.items()}
        answers = self._partitions.call("known", calls)
        known: list[Known | None] = [None] * len(found)
        for at, of in places.items():
            for place, answer in zip(of, answers[at], strict=True):
                if answer:
                    known[place] = Known(int(answer[0]), bool(answer[1]))
        return known

    def _extra(self, found: list[tuple[int, Result]], known: list[Known | None]) -> dict[int, list[tuple[str, Raw]]]:
        """Return the mentions beside the first, by place."""
        places = [place for place, one in enumerate(known) if one is not None and one.more]
        commands = [
            (
                "HVALS",
                self._partitions.key(found[place][0], "mentions:").encode() + _number(known[place]).to_bytes(6, "big"),
            )
            for place in places
        ]
        answers = self._partitions.ask(*commands) if commands else []
        return {place: [_mention(value) for value in values] for place, values in zip(places, answers, strict=True)}

    def _row(
        self, place: int, partition: int, result: Result, known: Known | None, extra: list[tuple[str, Raw]] | None
    ) -> LedgerRow:
        head, item, body = result.head, result.item, result.row.body
        row = LedgerRow(
            seq=(partition << LOCAL_BITS) + result.seq, run=head.run, url=body.url, outcome=head.outcome,
            message=item.message, size=item.size, time=head.time, worker=head.worker, result=Raw(item.result),
            current=known is not None and known.number == result.row.number,
        )  # fmt: skip
        row.site = self._job.site_names.get(self._source(result.row), "")
        if extra is not None:
            all_mentions = [self._mention(result.row), *extra] if bytes(body.words) != b"\xc0" else extra
            shown = [(page or self._source(result.row), words) for page, words in all_mentions]
            row.mentions = shown_of(shown, mentions_shown(self._job.spec))
            row.mentions_total = len(shown)
        return row

    def _mention(self, row: Row) -> tuple[str, Raw]:
        return row.body.page, row.body.words

    def _source(self, row: Row) -> str:
        return self._job.run.sources.get(row.source, "")

    # Reopening

    def reopening(self, seqs: list[int]) -> dict[int, list[dict[str, Any]]]:
        """Return what partitions are told to make tasks again of the results with these numbers."""
        calls: dict[int, list[dict[str, Any]]] = {}
        self._with_news([0] * len(self._partitions.all))
        for seq in seqs:
            partition, local = seq >> LOCAL_BITS, seq & ((1 << LOCAL_BITS) - 1)
            if partition not in self._partitions.all:
                continue
            result = next(self._after(partition, local - 1), None)
            if result is not None and result.seq == local and result.row.kind is Kind.IMAGE:
                calls.setdefault(partition, []).append(_reopened(result))
        return calls


def _reopened(result: Result) -> dict[str, Any]:
    row, body = result.row, result.row.body
    origin = address(body.url).origin
    return {
        "verb": "reopen", "id": binary(row.identity), "number": row.number, "kind": int(row.kind), "source": row.source,
        "first": 0, "origin": text(origin), "at": text(result.item.origin), "outcome": result.head.outcome,
        "size": result.item.size, "run": result.head.run,
        "body": binary(encode(Body(body.url, "", body.detail, 0, 0, body.page, body.words))),
    }  # fmt: skip


def _parcel(name: bytes, fields: dict[bytes, bytes] | list[bytes]) -> Parcel:
    parts = dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else fields
    first = int(name.partition(b"-")[0])
    return Parcel(first, first + int(parts[b"n"]) - 1, parts[b"h"], parts[b"b"])


def _results(parcel: Parcel, after: int) -> Iterator[Result]:
    head, first = decode(parcel.head, Head), max(parcel.first, after + 1)
    for seq, item in enumerate(read_items(parcel.body, first - parcel.first), first):
        yield Result(seq, head, item, read_row(item.row))


def _mention(value: bytes) -> tuple[str, Raw]:
    """Return page and words of a mention; of one beyond those that are shown nothing is kept."""
    if not value:
        return "", Raw(b"\xc0")
    body = decode(value, Body)
    return body.page, body.words


def _number(known: Known | None) -> int:
    assert known is not None
    return known.number
