"""Lists of image URLs: text, CSV, TSV, JSON, JSON lines, Parquet; plain or gzip; read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from crawler.digests import NONE, read_digest
from crawler.errors import UsageError
from crawler.model import SourceDetail
from crawler.sources.documents import json_array, json_lines
from crawler.sources.formats import is_compressed, list_format
from crawler.sources.parquet import parquet_records

#: Names that a column of URLs is looked for under, when none is given.
URL_COLUMNS = ("url", "image_url", "image", "link", "src")
#: Longest value kept of another column, and of all columns of a row, in characters.
MAX_VALUE = 2000
MAX_ROW = 65_536
#: Characters of one field of CSV that are read; the standard library gives up at 131,072.
MAX_FIELD = 2**26


class Row(NamedTuple):
    """One row: its URL as written, its caption, its other columns, and the hash that it says the image has."""

    url: str
    caption: str
    columns: dict[str, str]
    digest: str = ""


class Reading(NamedTuple):
    """How a list is read: its format, and columns by name; `""` is none, or for URLs whichever is called so.

    `others` are the columns that are kept beside URL and caption, None is all.
    """

    url: str = ""
    caption: str = ""
    digest: str = ""
    digest_kind: str = ""
    others: tuple[str, ...] | None = None
    format: str = ""

    def chosen(self, columns: Sequence[str]) -> tuple[Reading, list[str]]:
        """Return how a table with these columns is read, and which of them are.

        Raises UsageError where one that was asked for is missing.
        """
        url = self.url or _url_column(columns)
        for column, flag in (
            (url or "url", "--url-column"),
            (self.caption, "--caption-column"),
            (self.digest, "--verify-hash"),
            *((column, "--columns") for column in self.others or ()),
        ):
            if column and column not in columns:
                raise UsageError(f"no column {column!r}; it has {', '.join(columns)}: name one with {flag}")
        read = {url, self.caption, self.digest, *(columns if self.others is None else self.others)}
        return self._replace(url=url), [column for column in columns if column in read]


_AS_IT_IS = Reading()


def reading_of(detail: SourceDetail) -> Reading:
    return Reading(
        url=detail.url_column, caption=detail.caption_column, digest=detail.hash_column, digest_kind=detail.hash_kind,
        others=detail.columns, format=detail.format,
    )  # fmt: skip


def read_list(path: Path, reading: Reading = _AS_IT_IS, start: int = 0) -> Iterator[Row]:
    """Yield the rows of the list at `path` after the first `start`.

    Raises UsageError where the format or a column is not there, OSError where it cannot be read.
    """
    kind = list_format(path, reading.format)
    if kind == "parquet":
        yield from _parquet(path, reading, start)
        return
    with _open(path, reading.format) as file:
        if kind == "txt":
            if reading.digest:
                raise UsageError(f"no column {reading.digest!r}: a list of lines has no columns (--verify-hash)")
            lines = (text for line in file if (text := line.strip()) and not text.startswith("#"))
            for text in islice(lines, start, None):
                yield Row(text, "", {})
        elif kind == "jsonl":
            if start:
                reading = _settled(json_lines(file), reading)
                file.seek(0)
            yield from _documents(json_lines(file, start), reading, is_settled=bool(start))
        elif kind == "json":
            yield from islice(_documents(json_array(file), reading), start, None)
        else:
            yield from _separated(file, "\t" if kind == "tsv" else ",", reading, start)


def _open(path: Path, format: str) -> TextIO:
    if is_compressed(path, format):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _separated(file: TextIO, separator: str, reading: Reading, start: int) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD)
    rows = csv.reader(file, delimiter=separator)
    try:
        names = next(rows, None)
        if names is None:
            return
        everything: Iterable[list[str]] = rows
        if not reading.url and any(cell.strip().startswith(("http://", "https://")) for cell in names):
            everything = chain([names], rows)
            at = next(place for place, cell in enumerate(names, 1) if cell.strip().startswith("http"))
            names, reading = [str(place) for place in range(1, len(names) + 1)], reading._replace(url=str(at))
        reading, _ = reading.chosen(names)
        for row in islice((row for row in everything if row), start, None):
            yield _row(dict(zip(names, row, strict=False)), reading)
    except csv.Error as error:
        raise UsageError(f"line {rows.line_num} is no row: {error}") from error


def _parquet(path: Path, reading: Reading, start: int) -> Iterator[Row]:
    chosen = reading

    def choose(columns: list[str]) -> list[str]:
        nonlocal chosen
        chosen, names = reading.chosen(columns)
        return names

    for record in parquet_records(path, choose, start):
        yield _row(record, chosen)


def _documents(records: Iterable[dict[str, Any] | str], reading: Reading, *, is_settled: bool = False) -> Iterator[Row]:
    """Yield rows; the first record decides which column has URLs, and must have hashes; any may lack the others."""
    for record in records:
        if isinstance(record, str):
            yield Row(_text(record)[:MAX_VALUE], "", {}, NONE if reading.digest else "")
            continue
        if not is_settled:
            reading, is_settled = _settled([record], reading), True
        yield _row(record, reading)


def _settled(records: Iterable[dict[str, Any] | str], reading: Reading) -> Reading:
    """Return how records are read of which these are the first."""
    first = next((record for record in records if isinstance(record, dict)), None)
    if first is None:
        return reading
    return reading._replace(url=Reading(reading.url, digest=reading.digest).chosen(list(first))[0].url)


def _row(record: dict[str, Any], reading: Reading) -> Row:
    caption = _text(record.get(reading.caption))[:MAX_VALUE] if reading.caption else ""
    digest = read_digest(_text(record.get(reading.digest)), reading.digest_kind) if reading.digest else ""
    return Row(_text(record.get(reading.url)), caption, _others(record, reading), digest)


def _others(record: dict[str, Any], reading: Reading) -> dict[str, str]:
    """Return the columns of a row beside URL and caption, cut where they are beyond all measure."""
    kept, left, wanted = dict[str, str](), MAX_ROW, reading.others
    for name, value in record.items():
        if name in (reading.url, reading.caption) or value is None or (wanted is not None and name not in wanted):
            continue
        text = _text(value)[:MAX_VALUE]
        left -= len(name) + len(text)
        if left < 0:
            break
        kept[_text(name)] = text
    return kept


def _url_column(columns: Sequence[str]) -> str:
    lower = {name.strip().lower(): name for name in columns}
    return next((lower[name] for name in URL_COLUMNS if name in lower), "")


def _text(value: object) -> str:
    """Return `value` as text that can be sent: JSON may hold lone surrogates. What holds others is JSON."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return _of_bytes(value)
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False, default=_text)
    return str(value).encode("utf-8", "replace").decode()


def _of_bytes(data: bytes) -> str:
    """Return bytes as the text that they are, or else in hexadecimal."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.hex()
