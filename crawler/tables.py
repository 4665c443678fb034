"""The ledger as one table, a row for every image: JSON lines, CSV or Parquet, written as it streams by."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol, TypeAlias

import msgspec

from crawler.errors import StoreError, UsageError
from crawler.ledger import Failure, Kept, json_lines

#: All columns, in their order; a row without a file has null where it would tell of one.
COLUMNS = Kept.__struct_fields__
#: Of its mentions a row of CSV has the first one's.
MENTION_COLUMNS = ("page", "alt", "title", "caption")
CSV_COLUMNS = tuple(column for name in COLUMNS for column in (MENTION_COLUMNS if name == "mentions" else (name,)))
#: What a mention says in words.
MENTION_TEXTS = "page found_in alt title caption label link_text heading author image_license credit".split()
#: Rows in a row group of Parquet, and bytes beyond which it has fewer.
GROUP_ROWS, GROUP_BYTES = 16_384, 64 * 2**20

Line: TypeAlias = Kept | Failure

_NO_FILE = dict.fromkeys(COLUMNS)
_NO_CELLS = dict.fromkeys(CSV_COLUMNS, "")
_CELLS = itemgetter(*CSV_COLUMNS)


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> None: ...


class Table(Protocol):
    """A file that is being written; `finish` writes what is left, `abandon` lets go of it; neither closes it."""

    def write(self, lines: Sequence[Line]) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


def open_table(format: str, file: Sink) -> Table:
    """Return the table of this format; raises UsageError where what it takes is not installed."""
    kinds: dict[str, Callable[[Sink], Table]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet}
    return kinds[format](file)


class _Text:
    """A table that holds nothing back."""

    def __init__(self, file: Sink) -> None:
        self._file = file

    def finish(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        pass


class JsonLines(_Text):
    """One object a line, with all columns in each."""

    def write(self, lines: Sequence[Line]) -> None:
        self._file.write(json_lines([line if isinstance(line, Kept) else _with_nulls(line) for line in lines]))


def _with_nulls(line: Failure) -> dict[str, Any]:
    return _NO_FILE | msgspec.structs.asdict(line)


class Csv(_Text):
    """RFC 4180 in UTF-8, with a header. Cells are what programs read: a text that begins with = is not changed."""

    def __init__(self, file: Sink) -> None:
        super().__init__(file)
        self._put([CSV_COLUMNS])

    def write(self, lines: Sequence[Line]) -> None:
        self._put([_cells(line) for line in lines])

    def _put(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())


class _Mention(msgspec.Struct):
    page: str
    alt: str
    title: str
    caption: str


_first_words = msgspec.json.Decoder(_Mention).decode


def _cells(line: Line) -> tuple[object, ...]:
    values = _NO_CELLS | msgspec.structs.asdict(line)
    if line.mentions:
        values |= msgspec.structs.asdict(_first_words(line.mentions[0]))
    if isinstance(line, Kept):
        values["active"], values["gone"] = _truth(line.active), _truth(line.gone)
    cells: tuple[object, ...] = _CELLS(values)
    return cells


def _truth(value: bool) -> str:
    return "true" if value else "false"


_words = msgspec.json.Decoder(dict[str, Any]).decode


class Parquet:
    """Columns with types, compressed with zstd; a row group is all that is held of it."""

    def __init__(self, file: Sink) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UsageError("Parquet needs pyarrow: pip install 'distributed-image-crawler[parquet]'") from error
        self._arrow = pyarrow
        self._schema = _schema(pyarrow)
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._batches: list[Any] = []

    def write(self, lines: Sequence[Line]) -> None:
        try:
            self._batches.append(self._batch(lines))
        except (OverflowError, self._arrow.ArrowException) as error:
            raise StoreError(f"Parquet cannot hold what a row says: {error}; the other formats can") from error
        rows, size = sum(batch.num_rows for batch in self._batches), sum(batch.nbytes for batch in self._batches)
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            self._flush()

    def _batch(self, lines: Sequence[Line]) -> Any:
        columns = [
            _column(self._arrow, field, [getattr(line, field.name, None) for line in lines]) for field in self._schema
        ]
        return self._arrow.RecordBatch.from_arrays(columns, schema=self._schema)

    def _flush(self) -> None:
        if self._batches:
            table = self._arrow.Table.from_batches(self._batches)
            self._batches.clear()
            self._writer.write_table(table, row_group_size=table.num_rows)

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError, ValueError, self._arrow.ArrowException):
            self._writer.close()


def _schema(arrow: Any) -> Any:
    """Return the columns with their types."""
    words = [(name, arrow.string()) for name in MENTION_TEXTS]
    columns = arrow.map_(arrow.string(), arrow.string())
    mention = arrow.struct([*words, ("columns", columns), ("row", arrow.int64())])
    types = {
        **dict.fromkeys(("run", "size", "width", "height", "status", "mentions_total"), arrow.int64()),
        **dict.fromkeys(("active", "gone"), arrow.bool_()),
        "time": arrow.timestamp("ms", tz="UTC"),
        "mentions": arrow.list_(mention),
    }
    return arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])


def _column(arrow: Any, field: Any, values: list[Any]) -> Any:
    if field.name == "mentions":
        return arrow.array([[_mention(raw) for raw in raws] for raws in values], field.type)
    if field.name == "time":
        return arrow.array(values, arrow.string()).cast(field.type)
    return arrow.array(values, field.type)


def _mention(raw: msgspec.Raw) -> dict[str, Any]:
    words = _words(raw)
    if words["columns"]:
        words["columns"] = list(words["columns"].items())
    return words
