"""Lists of image URLs: text, CSV, TSV, JSON lines, Parquet; plain or gzip; read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from crawler.errors import UsageError

#: Names that a column of URLs is looked for under, when none is given.
URL_COLUMNS = ("url", "image_url", "image", "link", "src")
#: Longest value kept of another column, in characters.
MAX_VALUE = 2000


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
        yield from _records(_parquet(path), url_column, caption_column, path)
        return
    with _open(path) as file:
        if kind == "txt":
            for line in file:
                if (text := line.strip()) and not text.startswith("#"):
                    yield Row(text, "", {})
        elif kind == "jsonl":
            yield from _records(_json_lines(file, path), url_column, caption_column, path)
        else:
            yield from _separated(file, "\t" if kind == "tsv" else ",", url_column, caption_column, path)


def _open(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _separated(file: TextIO, separator: str, url_column: str, caption_column: str, path: Path) -> Iterator[Row]:
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
        yield from _records(records, url_column, caption_column, path)
    except csv.Error as error:
        raise UsageError(f"line {rows.line_num} is no row: {error}") from error


def _chained(first: list[str], rest: Iterable[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _json_lines(file: TextIO, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UsageError(f"line {number} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise UsageError(f"line {number} is no JSON object")
        yield value


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("Parquet lists need pyarrow: pip install 'distributed-image-crawler[parquet]'") from error
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=2000):
            yield from batch.to_pylist()


def _records(records: Iterable[dict[str, Any]], url_column: str, caption_column: str, path: Path) -> Iterator[Row]:
    for record in records:
        if not url_column:
            lower = {name.strip().lower(): name for name in record}
            url_column = next((lower[name] for name in URL_COLUMNS if name in lower), "")
        if url_column not in record:
            raise UsageError(
                f"no column {url_column or 'url'!r}; it has {', '.join(map(str, record))}: name one with --url-column"
            )
        if caption_column and caption_column not in record:
            raise UsageError(f"no column {caption_column!r}; it has {', '.join(map(str, record))}")
        others = {
            str(name): str(value)[:MAX_VALUE]
            for name, value in record.items()
            if name not in (url_column, caption_column) and value is not None
        }
        caption = record.get(caption_column) if caption_column else ""
        yield Row(str(record[url_column] or ""), str(caption or "")[:MAX_VALUE], others)
