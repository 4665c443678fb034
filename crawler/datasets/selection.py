"""Which rows of a ledger are wanted, and in what order: expressions of SQL over its columns, by DuckDB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from crawler.captions import caption
from crawler.errors import StateError, UsageError
from crawler.ledger import Failure, Kept
from crawler.model import Words
from crawler.outcomes import Outcome

Line: TypeAlias = Kept | Failure

#: What `--where` may name beside the columns of the ledger's lines.
_OURS = ("caption", "license", "page")
_NUMBERS = frozenset("run size width height status mentions_total".split())
_TRUTHS = frozenset({"active", "gone"})
COLUMNS = tuple(name for name in Kept.__struct_fields__ if name != "mentions") + _OURS
#: Memory of DuckDB, which uses files beyond it.
_MEMORY = "128MB"
#: Rows that are looked for at a time: in the order in which they lie there, so that only they are looked at.
_STRETCH = 1000
#: Where the row of a ledger lies in the file of all, and how long it is; it takes far more room than what is chosen by.
_PLACE = ("line_at", "line_bytes")
#: Of an image that its list says has other bytes the file of an earlier run is not it.
_HAS_FILE = f"file_name IS NOT NULL AND outcome <> '{Outcome.WRONG_HASH}'"


class _Mention(msgspec.Struct):
    """What of a mention decides on the caption, and is a column of its own."""

    page: str = ""
    found_in: str = ""
    alt: str = ""
    title: str = ""
    caption: str = ""
    label: str = ""
    link_text: str = ""
    heading: str = ""
    image_license: str = ""
    page_title: str = ""
    page_license: str = ""

    def words(self) -> Words:
        return Words(
            found_in=self.found_in, alt=self.alt, title=self.title, caption=self.caption, label=self.label,
            link_text=self.link_text, heading=self.heading, page_title=self.page_title,
        )  # fmt: skip


_mention = msgspec.json.Decoder(_Mention).decode
_encode = msgspec.json.Encoder().encode


def caption_of(line: Line, order: Sequence[str]) -> str:
    """Return the caption of an image by all of its mentions that the ledger has."""
    return caption([_mention(raw).words() for raw in line.mentions], order)


class Selection:
    """The rows of a ledger in a file below `folder`, and in a database which of them are wanted, in their order.

    What was chosen stays chosen: a database that is there, and whole, is used as it is. Raises UsageError where DuckDB
    is missing or an expression is none.
    """

    def __init__(self, folder: Path, order: Sequence[str]) -> None:
        """`order` is that of the kinds of words for captions."""
        try:
            import duckdb
        except ImportError as error:
            raise UsageError(
                "to choose among rows takes DuckDB: pip install 'distributed-image-crawler[datasets]'"
            ) from error
        self._duckdb = duckdb
        self._order = order
        self._folder = folder
        self._lines = folder / "lines.jsonl"
        try:
            self._db = duckdb.connect(
                str(folder / "rows.duckdb"),
                config={"memory_limit": _MEMORY, "threads": 2, "temp_directory": str(folder / "spill")},
            )
        except duckdb.Error as error:
            raise StateError(f"{folder / 'rows.duckdb'} cannot be opened: {_first_line(error)}") from error

    @property
    def is_made(self) -> bool:
        """Tell whether it was chosen before."""
        return self._count("duckdb_tables() WHERE table_name = 'chosen'") > 0

    def load(self, stretches: Iterable[Sequence[Line]]) -> None:
        """Take the rows of a ledger; raises StateError where they cannot be kept."""
        path = self._folder / "rows.jsonl"
        at = 0
        with path.open("wb") as rows, self._lines.open("wb") as whole:
            for number, line in enumerate(chain.from_iterable(stretches)):
                said = _encode(line)
                rows.write(self._record(number, at, len(said), line))
                at += whole.write(said)
        types = dict.fromkeys(("number", *_PLACE), "BIGINT") | {name: _type(name) for name in COLUMNS}
        columns = ", ".join(f"{name}: '{kind}'" for name, kind in types.items())
        read = f"read_json(?, columns = {{{columns}}}, format = 'newline_delimited')"
        try:
            self._db.execute("DROP TABLE IF EXISTS rows")
            self._db.execute(f"CREATE TABLE rows AS SELECT * FROM {read}", [str(path)])
        except self._duckdb.Error as error:
            raise StateError(
                f"the rows of the ledger cannot be kept in {self._folder}: {_first_line(error)}"
            ) from error
        path.unlink()

    def choose(self, where: str, *, files_only: bool, once: bool) -> None:
        """Choose rows: `where` is an expression over COLUMNS; with `once`, of rows with one content the first."""
        self._db.execute("SET enable_external_access = false")
        wanted = f"({where or 'true'}\n) AND {_HAS_FILE if files_only else 'true'}"
        first = "QUALIFY row_number() OVER (PARTITION BY coalesce(sha256, url) ORDER BY number) = 1" if once else ""
        try:
            self._db.execute(
                f"CREATE OR REPLACE TEMP TABLE wanted AS SELECT number, url, {', '.join(_PLACE)} FROM rows "
                f"WHERE {wanted} {first} ORDER BY number"
            )
        except self._duckdb.Error as error:
            raise UsageError(f"--where: {_first_line(error)}; the columns are {', '.join(COLUMNS)}") from error

    def wanted(self) -> Iterator[tuple[int, Line]]:
        """Give number and row of what is chosen so far, in the ledger's order."""
        yield from self._rows("wanted", "number", 0, self._count("rows"))

    def leave_out(self, numbers: Iterable[int]) -> None:
        """Take rows out of what is chosen so far."""
        for some in _stretches(numbers):
            self._db.execute("DELETE FROM wanted WHERE number IN (SELECT unnest(?))", [some])

    def settle(self, seed: int | None, *, by_row: bool = False) -> None:
        """Let what is chosen be so for good, in the ledger's order, or shuffled by `seed`.

        With `by_row` several rows may have one URL, and are shuffled each by itself.
        """
        shuffled = "url || ':' || number" if by_row else "url"
        place = "number" if seed is None else f"md5('{seed}:' || {shuffled}), number"
        try:
            self._db.execute(
                f"CREATE TABLE chosen AS SELECT row_number() OVER (ORDER BY {place}) AS place, {', '.join(_PLACE)} "
                "FROM wanted ORDER BY place"
            )
        except self._duckdb.Error as error:
            raise StateError(f"what was chosen cannot be kept in {self._folder}: {_first_line(error)}") from error

    def __len__(self) -> int:
        return self._count("chosen")

    def _count(self, rows: str) -> int:
        found = self._db.execute(f"SELECT count(*) FROM {rows}").fetchone()
        return int(found[0]) if found else 0

    def lines(self, after: int = 0) -> Iterator[tuple[int, Line]]:
        """Give place (from 1) and row of what is chosen, from the place after `after` on."""
        yield from self._rows("chosen", "place", after + 1, len(self) + 1)

    def _rows(self, table: str, order: str, first: int, end: int) -> Iterator[tuple[int, Line]]:
        """Give the rows of a table that lies in its order, each with its number there, from `first` on before `end`."""
        with self._lines.open("rb") as whole:
            for start in range(first, end, _STRETCH):
                found = self._db.execute(
                    f"SELECT {order}, {', '.join(_PLACE)} FROM {table} "
                    f"WHERE {order} BETWEEN {start} AND {start + _STRETCH - 1} ORDER BY {order}"
                ).fetchall()
                for number, at, size in found:
                    whole.seek(at)
                    yield number, decode_line(whole.read(size))

    def close(self) -> None:
        self._db.close()

    def _record(self, number: int, at: int, size: int, line: Line) -> bytes:
        values: dict[str, Any] = msgspec.structs.asdict(line)
        del values["mentions"]
        mentions = [_mention(raw) for raw in line.mentions]
        values["caption"] = caption([mention.words() for mention in mentions], self._order)
        licenses = [*(m.image_license for m in mentions), *(m.page_license for m in mentions)]
        values["license"] = next(filter(None, licenses), "")
        values["page"] = mentions[0].page if mentions else ""
        return _encode({"number": number, **dict(zip(_PLACE, (at, size), strict=True)), **values}) + b"\n"


def decode_line(text: bytes) -> Line:
    """Return a line of the ledger, with a file or without."""
    if text.startswith(b'{"file_name":'):
        return msgspec.json.decode(text, type=Kept)
    return msgspec.json.decode(text, type=Failure)


def _type(name: str) -> str:
    return "BIGINT" if name in _NUMBERS else "BOOLEAN" if name in _TRUTHS else "VARCHAR"


def _stretches(numbers: Iterable[int]) -> Iterator[list[int]]:
    some: list[int] = []
    for number in numbers:
        some.append(number)
        if len(some) == 10_000:
            yield some
            some = []
    if some:
        yield some


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def selection(folder: Path, order: Sequence[str]) -> Iterator[Selection]:
    """Have a selection for the block."""
    made = Selection(folder, order)
    try:
        yield made
    finally:
        made.close()
