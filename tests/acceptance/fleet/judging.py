"""Ledger, files and the site's own record, held against each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from acceptance.fleet.shards import read_shards
from servers.manners import Asked, Stopped, apart, at_once, gaps

#: What is in a job's directory beside the images that its ledger names.
_OWN = frozenset({"metadata.jsonl", "failures.jsonl", "report.html", ".job"})
#: Results that were written out of a Redis, and records of runs.
_PARTS = (".ledger/*/*/*.part", "runs/*.json")


@dataclass(frozen=True)
class Found:
    """How many images are in no row, in several, not as the site has them, or failed; how many files are no image's."""

    lost: int
    double: int
    partial: int
    left_over: int
    failed: int


def judge(directory: Path, digests: dict[str, str]) -> Found:
    """Hold the ledger of the job in `directory` and its files against the images of the site."""
    rows = _rows(directory / "metadata.jsonl")
    failures = _rows(directory / "failures.jsonl")
    urls = [row["url"] for row in rows + failures]
    if (directory / "shards").exists():
        return _judge_shards(directory, digests, rows, failures)
    parts = {str(path.relative_to(directory)) for parts in _PARTS for path in directory.glob(parts)}
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file() or _is_empty(path)}
    return Found(
        lost=len(digests.keys() - set(urls)),
        double=len(urls) - len(set(urls)),
        partial=sum(_digest(directory / row["file_name"]) != digests.get(row["url"]) for row in rows),
        left_over=len(there - {row["file_name"] for row in rows} - _OWN - parts),
        failed=len(failures),
    )


def _judge_shards(
    directory: Path, digests: dict[str, str], rows: list[dict[str, str]], failures: list[dict[str, str]]
) -> Found:
    """Hold shards against the ledger and the site: each URL is in one row of all tables, and each tar is whole."""
    shards = read_shards(directory)
    urls = [row["url"] for row in rows + failures]
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file() or _is_empty(path)}
    parts = {str(path.relative_to(directory)) for parts in _PARTS for path in directory.glob(parts)}
    unnamed = shards.samples.keys() - {row["file_name"] for row in rows}
    return Found(
        lost=len(digests.keys() - set(urls)) + len(digests.keys() - shards.rows.keys()),
        double=len(urls) - len(set(urls)) + shards.rows.total() - len(shards.rows),
        partial=sum(shards.samples.get(row["file_name"], "") != digests.get(row["url"]) for row in rows)
        + len(shards.torn),
        left_over=len(there - shards.names - _OWN - parts) + len(unnamed),
        failed=len(failures),
    )


def _rows(ledger: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


@dataclass(frozen=True)
class Manners:
    """How the site was asked by processes that ran; `too_many` and `too_close` count the requests that broke a rule."""

    requests: int
    apart: int  #: of processes that were stopped meanwhile
    most_at_once: int
    too_many: int
    least_gap: float
    too_close: int


def manners(asked: Iterable[Asked], stops: Sequence[Stopped], most: int, delay: float = 0.0) -> Manners:
    """Hold the site's record against `--requests-per-host` and `--delay`."""
    running, stopped = apart(asked, stops)
    counts, pauses = at_once(running), gaps(running)
    return Manners(
        requests=len(running),
        apart=len(stopped),
        most_at_once=max(counts, default=0),
        too_many=sum(count > most for count in counts),
        least_gap=min(pauses, default=delay),
        too_close=sum(pause < delay for pause in pauses) if delay else 0,
    )
