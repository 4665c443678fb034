"""What a shard says of each of its images: img2dataset's columns, then ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from crawler.errors import Unstorable, UsageError
from crawler.mentions import mention_type, mention_value

SUCCESS, NOT_FETCHED, NOT_TRANSFORMED = "success", "failed_to_download", "failed_to_resize"
INSTALL = "shards need pyarrow and Pillow: pip install 'distributed-image-crawler[datasets]'"


class Sample(msgspec.Struct, gc=False):
    """A row of a shard, an image that is in its tar or one that failed; up to `sha256` the columns are img2dataset's.

    `sha256` and `phash` are of the bytes that were fetched, `size` and `format` are of those that are in the shard;
    `mentions` are objects of the ledger's. Of an image in the tar only `error_message` is None.
    """

    url: str
    caption: str = ""
    key: str = ""
    status: str = SUCCESS
    error_message: str | None = None
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    exif: str | None = None  #: JSON, names and values as text
    sha256: str | None = None
    outcome: str = "success"
    format: str | None = None
    size: int | None = None
    final_url: str | None = None
    http_status: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    time: float = 0.0  #: seconds since 1970
    mentions: Sequence[msgspec.Raw] = ()
    phash: str | None = None


COLUMNS = Sample.__struct_fields__
_encode = msgspec.json.Encoder().encode


def member(sample: Sample) -> bytes:
    """Return the JSON that stands beside an image in the tar.

    A loader takes the types of all from the first few, so no value is there in some and null in others, and what has
    objects in it, which may differ, is a text of JSON: `exif`, and `mentions`.
    """
    return _encode(msgspec.structs.asdict(sample) | {"mentions": _encode(sample.mentions).decode()})


def check_installed() -> None:
    """Raise UsageError where what shards take is not installed; a door that only begins a run need not load it."""
    if find_spec("pyarrow") is None or find_spec("PIL") is None:
        raise UsageError(INSTALL)


class _KeptOut:
    def __init__(self, packages: Collection[str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        """Tell the truth of what is installed: what hashes images has numpy in a process of its own."""
        if fullname not in self._packages or PathFinder.find_spec(fullname, path) is None:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return

    def exec_module(self, module: ModuleType) -> None:
        raise ModuleNotFoundError(f"{module.__name__} is kept out of this process", name=module.__name__)


def keep_out(*packages: str) -> None:
    """Let pyarrow do without these in this process, pandas and numpy, which it loads where it can.

    They bring nothing to it, and take a second and 0.1 s of CPU time.
    """
    sys.meta_path.insert(0, _KeptOut(packages))


def import_arrow() -> Any:
    """Return pyarrow with its Parquet; raises UsageError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(INSTALL) from error
    return pyarrow


def schema(arrow: Any) -> Any:
    """Return the columns with their types."""
    types = {
        **dict.fromkeys(("width", "height", "original_width", "original_height"), arrow.int32()),
        **dict.fromkeys(("size", "http_status"), arrow.int64()),
        "time": arrow.timestamp("ms", tz="UTC"),
        "mentions": arrow.list_(mention_type(arrow)),
    }
    return arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])


class Table:
    """A Parquet file of samples at `path`, written a stretch of rows at a time.

    Raises Unstorable where a row is beyond what it can hold, and OSError.
    """

    def __init__(self, path: Path) -> None:
        self._arrow = import_arrow()
        self._path = path
        self._schema = schema(self._arrow)
        self._writer = self._arrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, samples: Sequence[Sample]) -> None:
        if not samples:
            return
        try:
            rows = zip(*map(msgspec.structs.astuple, samples), strict=True)
            columns = [_column(self._arrow, field, values) for field, values in zip(self._schema, rows, strict=True)]
            self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        except (OverflowError, self._arrow.ArrowException) as error:
            raise Unstorable(f"{self._path.name} cannot hold what a row says: {error}") from error

    def finish(self) -> None:
        """Write what is left, and have all of it on the disk."""
        self._writer.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


def _column(arrow: Any, field: Any, values: Sequence[Any]) -> Any:
    if field.name == "mentions":
        return _mentions(arrow, field.type, values)
    if field.name == "time":
        return arrow.array([round(value * 1000) for value in values], arrow.int64()).cast(field.type)
    return arrow.array(values, field.type)


def _mentions(arrow: Any, kind: Any, values: Sequence[list[msgspec.Raw]]) -> Any:
    """Return lists of mentions; each that is said more than once is looked at once (2.0 to 0.5 µs a row of a list)."""
    places: dict[bytes, int] = {}
    chosen = [places.setdefault(bytes(raw), len(places)) for raws in values for raw in raws]
    different = arrow.array([mention_value(msgspec.Raw(raw)) for raw in places], kind.value_type)
    ends = accumulate(map(len, values), initial=0)
    return arrow.ListArray.from_arrays(
        arrow.array(ends, arrow.int32()), different.take(arrow.array(chosen, arrow.int64())), kind
    )
