"""A job's ledger as one file, at any time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from crawler.errors import StoreError, UsageError
from crawler.ledger import Results, failed_line, with_lines
from crawler.outcomes import chosen
from crawler.paths import absolute
from crawler.progress import counted
from crawler.reading import Reader, check_job, job_names, opened, place_of
from crawler.settings import ExportSettings
from crawler.shown import shown
from crawler.stores.files import draft_of
from crawler.tables import Line, Sink, open_table

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def export(settings: ExportSettings) -> int:
    """Write the table that is asked for, and return the exit code; raises UsageError, StateError, StoreError."""
    wanted = _wanted(settings.outcome)
    is_table = settings.format not in ("imagefolder", "webdataset")
    path = _checked(str(settings.output)) if settings.output and is_table else None
    format = _format(settings.format, path)
    if not settings.job:
        jobs = ", ".join(job_names(settings)) or "none"
        raise UsageError(f"the job is missing: name it with --job; in {place_of(settings)}: {jobs}")
    check_job(settings, settings.job)
    with opened(settings, settings.job) as reader:
        if not is_table:
            from crawler.assembly import make_dataset

            return make_dataset(settings, reader, lines_of(reader, wanted))
        write = partial(_write, settings, reader, wanted)
        if path is None:
            _print_table(write, format)
            return 0
        with placed(path) as file:
            rows = write(file, format)
    if not settings.quiet:
        print(f"{counted(rows, 'row')} of job {shown(settings.job)}: {shown(str(path))}", file=sys.stderr)
    return 0


def write_table(reader: Results, file: Sink, format: str, wanted: Callable[[str], bool]) -> int:
    """Write the rows with the outcomes that are wanted, as they stand when they are read; return how many."""
    with contextlib.closing(lines_of(reader, wanted)) as stretches:
        return write_lines(stretches, file, format)


def write_lines(stretches: Iterable[Sequence[Line]], file: Sink, format: str) -> int:
    """Write rows, many at a time; return how many."""
    table = open_table(format, file)
    rows = 0
    try:
        for lines in stretches:
            table.write(lines)
            rows += len(lines)
        table.finish()
    finally:
        table.abandon()
    return rows


def lines_of(reader: Results, wanted: Callable[[str], bool]) -> Generator[list[Line], None, None]:
    """Yield the lines of a ledger with the outcomes that are wanted, many at a time."""
    with contextlib.closing(with_lines(reader)) as stretches:
        for stretch in stretches:
            if lines := [line or failed_line(row) for row, line in stretch if wanted(row.outcome)]:
                yield lines


def _write(settings: ExportSettings, reader: Reader, wanted: Callable[[str], bool], file: Sink, format: str) -> int:
    if not settings.where and settings.dedupe == "no" and settings.shuffle is None:
        return write_table(reader, file, format, wanted)
    from crawler.assembly import chosen_lines

    with chosen_lines(settings, reader, lines_of(reader, wanted)) as stretches:
        return write_lines(stretches, file, format)


def _wanted(outcomes: str) -> Callable[[str], bool]:
    if not outcomes:
        return lambda outcome: True
    try:
        return chosen(outcomes)
    except ValueError as error:
        raise UsageError(f"--outcome: {error}") from error


def _format(format: str, path: Path | None) -> str:
    if format == "auto":
        format = _FORMATS.get(path.suffix.lower(), "") if path is not None else "jsonl"
        if not format:
            raise UsageError(f"--output: the name {shown(str(path))} tells no format; give one with --format")
    if format == "parquet" and path is None:
        raise UsageError("Parquet is no text for standard output; name a file with --output FILE")
    return format


def _checked(output: str) -> Path:
    """Return where the file is to be, be it at the end of links."""
    if "://" in output:
        raise UsageError(f"--output: a table is written into a file of this machine, and {shown(output)} is none")
    path = absolute(Path(output), "--output")
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise UsageError(f"--output: {shown(str(path))} is no file; leave it away to write to standard output")
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--output: {shown(output)} cannot be looked at: {error}") from error
    return path


@contextlib.contextmanager
def placed(path: Path) -> Iterator[BinaryIO]:
    """Have a file that is at `path` once the block has ended well, and not before; raises StoreError."""
    draft = path.with_name(draft_of(path.name))
    try:
        try:
            draft.unlink(missing_ok=True)
            with draft.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _print_table(write: Callable[[Sink, str], int], format: str) -> None:
    if sys.stdout is None:
        raise UsageError("standard output is closed; name a file with --output FILE")
    try:
        # A buffer of its own: the one of `python -u` takes a part of what it is given, and says so to nobody.
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            write(_Screen(file) if file.isatty() else file, format)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"standard output cannot be written: {error.strerror}") from error


class _Screen:
    """A terminal, which nothing of a table steers: what would is escaped there, and nowhere else."""

    def __init__(self, file: Sink) -> None:
        self._file = file

    def write(self, data: bytes, /) -> None:
        lines = data.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        self._file.write("".join(f"{shown(line)}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        self._file.flush()
