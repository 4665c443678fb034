"""Where an image is from: what the ledgers say of a URL, of a content, or of a stored file."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from crawler.account import LedgerRow
from crawler.errors import CrawlerError, UsageError
from crawler.ledger import Failure, Kept, failed_line, has_file, kept_line, stretches
from crawler.model import ImageResult, decode
from crawler.outcomes import KEPT
from crawler.reading import Reader, job_names, opened, place_of
from crawler.settings import StatusSettings
from crawler.shown import shown
from crawler.sighting import Sighting, also, tell
from crawler.targets import FEWEST_DIGITS, digits_of, in_shard, is_digits, is_there, is_url
from crawler.urls import normalise

#: Others with the same bytes that are shown.
MOST_OTHERS = 20
_READ_AT_ONCE = 2**20
#: Digits of a content that file names have.
_NAMED = 12


class Target(NamedTuple):
    """What is looked for: one of some URLs, or a content that begins with `digits`, or else the file at `path`."""

    urls: frozenset[str] = frozenset()
    digits: str = ""
    path: str = ""


class _Others:
    """Rows of the same bytes, the first few of them."""

    def __init__(self) -> None:
        self.shown: list[Sighting] = []
        self.total = 0

    def add(self, sighting: Sighting) -> None:
        self.total += 1
        if len(self.shown) < MOST_OTHERS:
            self.shown.append(sighting)


def look_up(settings: StatusSettings) -> int:
    """Tell what the ledgers say of the image that is asked for; return 1 where none knows it.

    All rows are read, of the broker or the state, and those rejected undecoded that do not have its digits or URL in
    them: 12 seconds for a million rows, twice that for a URL whose file is there, since its bytes are looked for then.
    """
    target = target_of(settings.image)
    others = _Others()
    found, worst = _found(settings, target, others)
    if target.urls and (contents := {at.sha256 for at in found} - {""}):
        others = _same_bytes(settings, contents, {(at.job, at.line.url) for at in found})
    told = [tell(sighting, target.digits) for sighting in found]
    told += [also(others.shown, others.total)] if others.total else []
    if told:
        print("\n\n".join("\n".join(map(shown, lines)) for lines in told))
    if not found:
        where = f"job {settings.job}" if settings.job else f"any job in {place_of(settings)}"
        print(shown(f"crawler: {settings.image} is not in the ledger of {where}"), file=sys.stderr)
    return worst or (0 if found else 1)


def target_of(text: str) -> Target:
    """Return what `text` names; raises UsageError where it is neither URL nor digits nor the name of a file."""
    if is_url(text):
        return Target(urls=frozenset({text, normalise(text) or text}))
    if is_there(text):
        path = Path(text).resolve()
        return Target(digits=_sha256(path), path=path.as_posix())
    if is_digits(text):
        return Target(digits=text.lower())
    if in_shard(text):
        return Target(path=Path(text).as_posix())
    if digits := digits_of(text):
        return Target(digits=digits, path=Path(text).as_posix())
    raise UsageError(
        f"{text[:200]!r} is no URL, no sha256 (or its first {FEWEST_DIGITS} digits or more), and no stored file's name"
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_AT_ONCE):
                digest.update(piece)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _found(settings: StatusSettings, target: Target, others: _Others) -> tuple[list[Sighting], int]:
    """Return the best match of each job, and the exit code of jobs that cannot be read; others are added to those."""
    found: list[Sighting] = []
    worst = 0
    for job in _jobs(settings):
        best: Sighting | None = None
        try:
            with opened(settings, job) as reader:
                for sighting in _matches(reader, job, target):
                    if best is None:
                        best = sighting
                    else:
                        best, other = sorted((best, sighting), key=lambda at: at.rank)
                        others.add(other)
                if best is not None:
                    found.append(best._replace(place=reader.spec().output))
        except CrawlerError as error:
            print(shown(f"{job}: cannot be read: {error}"))
            worst = max(worst, error.exit_code)
    return found, worst


def _jobs(settings: StatusSettings) -> list[str]:
    names = job_names(settings)
    if settings.job:
        if settings.job not in names:
            raise UsageError(f"no job {settings.job!r} in {place_of(settings)}")
        return [settings.job]
    return names


def _matches(reader: Reader, job: str, target: Target) -> Iterator[Sighting]:
    parts = {target.digits[:_NAMED], digits_of(target.path), in_shard(target.path)} - {""}
    for row in _rows_with(reader, [*target.urls, *parts], target.urls):
        sighting = _sighting(job, row)
        rank = _rank(sighting, target)
        if rank is not None:
            yield sighting._replace(rank=rank)


def _rows_with(reader: Reader, needles: Iterable[str], urls: frozenset[str] = frozenset()) -> Iterator[LedgerRow]:
    """Give the rows in whose encoded result one of `needles` is, or that have one of `urls`."""
    search = re.compile(b"|".join(re.escape(needle.encode("utf-8", "replace")) for needle in needles)).search
    with contextlib.closing(stretches(reader)) as pages:
        for row in chain.from_iterable(pages):
            if search(row.result if row.outcome in KEPT else row.kept) or row.url in urls:
                yield row


def _sighting(job: str, row: LedgerRow) -> Sighting:
    line: Kept | Failure
    if has_file(row):
        line = kept_line(row, decode(row.result if row.outcome in KEPT else row.kept, ImageResult), None)
    else:
        line = failed_line(row)
    return Sighting(job, line, row.gone)


def _rank(sighting: Sighting, target: Target) -> int | None:
    """Return how well a row is what is looked for, 0 the best; None where it is not."""
    line = sighting.line
    if line.url in target.urls:
        return 0
    if not isinstance(line, Kept):
        return None
    if line.final_url in target.urls:
        return 1
    is_named = bool(target.path) and _is_end(target.path, line.file_name)
    if target.digits and any(one.startswith(target.digits) for one in (line.sha256, line.stored_sha256)):
        return 0 if is_named else 1
    if is_named:
        return 2
    return 3 if target.digits and digits_of(line.previous or "").startswith(target.digits[:_NAMED]) else None


def _is_end(path: str, other: str) -> bool:
    """Tell whether one of two paths is the end of the other."""
    return bool(other) and (f"/{path}".endswith(f"/{other}") or f"/{other}".endswith(f"/{path}"))


def _same_bytes(settings: StatusSettings, contents: set[str], besides: set[tuple[str, str]]) -> _Others:
    """Return the rows that have these contents, but for those that are known."""
    others = _Others()
    for job in _jobs(settings):
        with contextlib.suppress(CrawlerError), opened(settings, job) as reader:  # it was told at the first look
            for row in _rows_with(reader, contents):
                sighting = _sighting(job, row)
                if (job, row.url) not in besides and sighting.sha256 in contents:
                    others.add(sighting)
    return others
