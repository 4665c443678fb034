"""Which rows of a ledger are wanted, and in what order: expressions of SQL over its columns, by DuckDB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
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
_STRETCH = 1000
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

    def words(self) -> Words:
        return Words(
            found_in=self.found_in, alt=self.alt, title=self.title, caption=self.caption, label=self.label,
            link_text=self.link_text, heading=self.heading,
        )  # fmt: skip


_mention = msgspec.json.Decoder(_Mention).decode
_encode = msgspec.json.Encoder().encode


def caption_of(line: Line, order: Sequence[str]) -> str:
    """Return the caption of an image by all of its mentions that the ledger has."""
    return caption([_mention(raw).words() for raw in line.mentions], order)


class Selection:
    """The rows of a ledger in a database below `folder`, and those of them that are wanted, in their order.

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
        number = 0
        with path.open("wb") as file:
            for lines in stretches:
                file.write(b"".join(self._record(number + place, line) for place, line in enumerate(lines)))
                number += len(lines)
        types = {"number": "BIGINT", "line": "VARCHAR"} | {name: _type(name) for name in COLUMNS}
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
                f"CREATE OR REPLACE TEMP TABLE wanted AS SELECT number, url FROM rows WHERE {wanted} {first}"
            )
        except self._duckdb.Error as error:
            raise UsageError(f"--where: {_first_line(error)}; the columns are {', '.join(COLUMNS)}") from error

    def wanted(self) -> Iterator[tuple[int, Line]]:
        """Give number and row of what is chosen so far, in the ledger's order."""
        last = -1
        while rows := self._db.execute(
            "SELECT number, line FROM rows WHERE number > ? AND number IN (SELECT number FROM wanted) "
            f"ORDER BY number LIMIT {_STRETCH}",
            [last],
        ).fetchall():
            yield from ((number, decode_line(line)) for number, line in rows)
            last = rows[-1][0]

    def leave_out(self, numbers: Iterable[int]) -> None:
        """Take rows out of what is chosen so far."""
        for some in _stretches(numbers):
            self._db.execute("DELETE FROM wanted WHERE number IN (SELECT unnest(?))", [some])

    def settle(self, seed: int | None) -> None:
        """Let what is chosen be so for good, in the ledger's order, or shuffled by `seed`."""
        place = "number" if seed is None else f"md5('{seed}:' || url), number"
        self._db.execute(
            f"CREATE TABLE chosen AS SELECT row_number() OVER (ORDER BY {place}) AS place, number FROM wanted"
        )

    def __len__(self) -> int:
        return self._count("chosen")

    def _count(self, rows: str) -> int:
        found = self._db.execute(f"SELECT count(*) FROM {rows}").fetchone()
        return int(found[0]) if found else 0

    def lines(self, after: int = 0) -> Iterator[tuple[int, Line]]:
        """Give place (from 1) and row of what is chosen, from the place after `after` on."""
        while rows := self._db.execute(
            "SELECT place, number, line FROM (SELECT place, number FROM chosen WHERE place > ? ORDER BY place "
            f"LIMIT {_STRETCH}) JOIN rows USING (number) ORDER BY place",
            [after],
        ).fetchall():
            for place, _, line in rows:
                yield place, decode_line(line)
            after = rows[-1][0]

    def close(self) -> None:
        self._db.close()

    def _record(self, number: int, line: Line) -> bytes:
        values: dict[str, Any] = msgspec.structs.asdict(line)
        del values["mentions"]
        mentions = [_mention(raw) for raw in line.mentions]
        values["caption"] = caption([mention.words() for mention in mentions], self._order)
        values["license"] = next((m.image_license for m in mentions if m.image_license), "")
        values["page"] = mentions[0].page if mentions else ""
        return _encode({"number": number, "line": _encode(line).decode(), **values}) + b"\n"


def decode_line(text: str) -> Line:
    """Return a line of the ledger, with a file or without."""
    if text.startswith('{"file_name":'):
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
