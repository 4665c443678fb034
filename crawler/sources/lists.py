"""Lists of image URLs: text, CSV, TSV, JSON lines, Parquet; plain or gzip; read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from crawler.errors import UsageError

#: Names that a column of URLs is looked for under, when none is given.
URL_COLUMNS = ("url", "image_url", "image", "link", "src")
#: Longest value kept of another column, and of all columns of a row, in characters.
MAX_VALUE = 2000
MAX_ROW = 65_536
#: Characters of one field of CSV that are read; the standard library gives up at 131,072.
MAX_FIELD = 2**26


class Row(NamedTuple):
    """One row: its URL as written, its caption, and its other columns."""

    url: str
    caption: str
    columns: dict[str, str]


def list_format(path: Path) -> str:
    """Return `txt`, `csv`, `tsv`, `jsonl` or `parquet`, by the name.

    Raises UsageError for another.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower().lstrip(".")
    formats = {"txt": "txt", "": "txt", "lst": "txt", "csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "ndjson": "jsonl"}
    if suffix == "parquet":
        return suffix
    if suffix not in formats:
        raise UsageError(f"{path} is no list that can be read: use .txt, .csv, .tsv, .jsonl or .parquet (and .gz)")
    return formats[suffix]


def read_list(path: Path, url_column: str = "", caption_column: str = "") -> Iterator[Row]:
    """Yield the rows of the list at `path`.

    Raises UsageError where the format or a column is not there, OSError where it cannot be read.
    """
    kind = list_format(path)
    if kind == "parquet":
        yield from _parquet(path, url_column, caption_column)
        return
    with _open(path) as file:
        if kind == "txt":
            for line in file:
                if (text := line.strip()) and not text.startswith("#"):
                    yield Row(text, "", {})
        elif kind == "jsonl":
            yield from _records(_json_lines(file), url_column, caption_column, None)
        else:
            yield from _separated(file, "\t" if kind == "tsv" else ",", url_column, caption_column, path)


def _open(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _separated(file: TextIO, separator: str, url_column: str, caption_column: str, path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD)
    rows = csv.reader(file, delimiter=separator)
    try:
        header = next(rows, None)
        if header is None:
            return
        if not url_column and any(cell.strip().startswith(("http://", "https://")) for cell in header):
            names = [str(number) for number in range(1, len(header) + 1)]
            at = next(i for i, cell in enumerate(header) if cell.strip().startswith("http"))
            url_column, everything = names[at], _chained(header, rows)
        else:
            names, everything = header, rows
        records = (dict(zip(names, row, strict=False)) for row in everything if row)
        columns = _checked(names, url_column, caption_column)
        yield from _records(records, url_column, caption_column, columns)
    except csv.Error as error:
        raise UsageError(f"line {rows.line_num} is no row: {error}") from error


def _chained(first: list[str], rest: Iterable[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _json_lines(file: TextIO) -> Iterator[dict[str, Any] | str]:
    """Yield the object of each line, or the line itself where it is none."""
    for line in file:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield value if isinstance(value, dict) else line.strip()


def _parquet(path: Path, url_column: str, caption_column: str) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("Parquet lists need pyarrow: pip install 'distributed-image-crawler[parquet]'") from error
    with parquet.ParquetFile(path) as file:
        columns = _checked(list(file.schema_arrow.names), url_column, caption_column)
        records = (record for batch in file.iter_batches(batch_size=2000) for record in batch.to_pylist())
        yield from _records(records, url_column, caption_column, columns)


def _records(
    records: Iterable[dict[str, Any] | str], url_column: str, caption_column: str, columns: Sequence[str] | None
) -> Iterator[Row]:
    """Yield rows; without `columns` those of the first record are taken, and others may lack the caption."""
    for record in records:
        if isinstance(record, str):
            yield Row(_text(record)[:MAX_VALUE], "", {})
            continue
        if columns is None or not url_column:
            url_column = url_column or _url_column(columns or list(record))
            _require(url_column or "url", columns or list(record))
            columns = columns or [url_column, caption_column]
        caption = _text(record.get(caption_column) or "")[:MAX_VALUE] if caption_column else ""
        yield Row(_text(record.get(url_column) or ""), caption, _others(record, (url_column, caption_column)))


def _others(record: dict[str, Any], besides: tuple[str, str]) -> dict[str, str]:
    """Return the columns of a row beside URL and caption, cut where they are beyond all measure."""
    kept, left = dict[str, str](), MAX_ROW
    for name, value in record.items():
        if name not in besides and value is not None:
            text = _text(value)[:MAX_VALUE]
            left -= len(name) + len(text)
            if left < 0:
                break
            kept[_text(name)] = text
    return kept


def _checked(columns: list[str], url_column: str, caption_column: str) -> list[str]:
    """Return the columns of a table; raises UsageError where one that was asked for is missing."""
    _require(url_column or _url_column(columns) or "url", columns)
    if caption_column:
        _require(caption_column, columns)
    return columns


def _require(column: str, columns: Sequence[str]) -> None:
    if column not in columns:
        raise UsageError(f"no column {column!r}; it has {', '.join(columns)}: name one with --url-column")


def _url_column(columns: Sequence[str]) -> str:
    lower = {name.strip().lower(): name for name in columns}
    return next((lower[name] for name in URL_COLUMNS if name in lower), "")


def _text(value: object) -> str:
    """Return `value` as text that can be sent: JSON may hold lone surrogates."""
    return str(value).encode("utf-8", "replace").decode()
