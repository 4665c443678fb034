"""Parquet lists, batch by batch: only the columns that are wanted, from any row on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from crawler.errors import UsageError

#: Rows decoded at a time, and about as many bytes of them.
_ROWS, _BYTES = 2000, 8 * 2**20
#: Bytes of a column that are read from the file at a time: row groups may be of any size, and are not read as a whole.
_BUFFER = 2**18

#: Given all columns, returns those that are to be read.
Choose = Callable[[list[str]], Sequence[str]]


def parquet_records(path: Path, choose: Choose, start: int) -> Iterator[dict[str, Any]]:
    """Give the rows after the first `start`; row groups that lie before are not touched.

    Raises UsageError where it is no Parquet that can be read.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Parquet lists need pyarrow: pip install 'distributed-image-crawler[parquet]'") from error
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            columns = list(choose(list(file.schema_arrow.names)))
            groups, skip = _groups_after(file.metadata, start)
            for batch in file.iter_batches(_rows_at_once(file.metadata, groups), groups, columns, use_threads=False):
                if skip < batch.num_rows:
                    yield from _plain(pyarrow, batch.slice(skip))
                skip = max(0, skip - batch.num_rows)
    except pyarrow.ArrowException as error:
        raise UsageError(f"it is no whole Parquet: {error}") from error


def _groups_after(metadata: Any, start: int) -> tuple[list[int], int]:
    """Return the row groups that have rows after the first `start`, and how many of those are in the first of them."""
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if start < rows:
            return list(range(group, metadata.num_row_groups)), start
        start -= rows
    return [], 0


def _rows_at_once(metadata: Any, groups: list[int]) -> int:
    """Return how many rows are decoded at a time: fewer where they are long."""
    longest = 1.0
    for group in groups:
        about = metadata.row_group(group)
        longest = max(longest, about.total_byte_size / max(about.num_rows, 1))
    return max(1, min(_ROWS, int(_BYTES / longest)))


def _plain(arrow: Any, batch: Any) -> Iterator[dict[str, Any]]:
    columns = [_values(arrow, column) for column in batch.columns]
    names = batch.schema.names
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _values(arrow: Any, column: Any) -> list[Any]:
    """Return the values of a column; times as text, for they may be finer than those of Python, and dates later."""
    if arrow.types.is_temporal(column.type):
        column = _as_text(arrow, column)
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:  # what calls itself a text need not be UTF-8
        data = column.cast(arrow.large_binary()).to_pylist()
        values = [None if value is None else value.decode("utf-8", "replace") for value in data]
    except (OverflowError, ValueError):  # within others there may be times, too
        values = [_value(each) for each in column]
    return values


def _as_text(arrow: Any, column: Any) -> Any:
    try:
        return column.cast(arrow.string())
    except arrow.ArrowException:  # in a time zone that is none that is known
        return column.cast(arrow.int64()).cast(arrow.string())


def _value(scalar: Any) -> Any:
    """Return a value, None where Python has none for it."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return None
