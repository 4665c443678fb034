"""The tables of shards: img2dataset's columns with its types, then ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from msgspec.structs import fields

from crawler.errors import Unstorable
from crawler.mentions import shown_mentions
from crawler.model import Words, pack
from crawler.shards.samples import COLUMNS, Sample, Table, member

#: What img2dataset writes with captions and without re-encoding, in its order.
THEIRS = {
    "url": pyarrow.string(), "caption": pyarrow.string(), "key": pyarrow.string(), "status": pyarrow.string(),
    "error_message": pyarrow.string(), "width": pyarrow.int32(), "height": pyarrow.int32(),
    "original_width": pyarrow.int32(), "original_height": pyarrow.int32(), "exif": pyarrow.string(),
    "sha256": pyarrow.string(),
}  # fmt: skip


def written(path: Path, *samples: Sample) -> pyarrow.Table:
    table = Table(path / "t.parquet")
    table.write(samples)
    table.finish()
    return pyarrow.parquet.read_table(path / "t.parquet")


def test_the_first_columns_are_those_of_img2dataset(tmp_path: Path) -> None:
    schema = written(tmp_path, Sample("http://a.test/")).schema
    assert {field.name: field.type for field in list(schema)[: len(THEIRS)]} == THEIRS
    assert schema.names[: len(THEIRS)] == list(THEIRS) and schema.names == list(COLUMNS)
    assert schema.field("time").type == pyarrow.timestamp("ms", tz="UTC")
    assert schema.field("size").type == schema.field("http_status").type == pyarrow.int64()


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    (row,) = written(tmp_path, Sample("http://a.test/")).to_pylist()
    nulls = {field.name for field in fields(Sample) if field.default is None}
    assert {name for name, value in row.items() if value is None} == nulls
    assert row["mentions"] == [] and row["caption"] == ""


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert written(tmp_path).schema.names == list(COLUMNS)


def test_mentions_are_objects_with_the_columns_of_lists(tmp_path: Path) -> None:
    words = Words(alt="a cat", columns={"license": "CC0", "weight": "3"})
    (mention,) = shown_mentions([("http://a.test/", pack(words))])
    sample = Sample("http://a.test/1.png", mentions=[mention])
    (row,) = written(tmp_path, sample).to_pylist()
    (shown,) = row["mentions"]
    assert shown["alt"] == "a cat" and json.loads(json.loads(member(sample))["mentions"])[0]["alt"] == "a cat"
    assert dict(shown["columns"]) == {"license": "CC0", "weight": "3"}


def test_each_row_has_its_own_mentions_in_their_order(tmp_path: Path) -> None:
    said = [[], ["a"], ["a", "b"], ["b", "a", "a"], [], ["c"]]
    mentions = [shown_mentions([("http://a.test/", pack(Words(alt=alt))) for alt in alts]) for alts in said]
    rows = written(tmp_path, *(Sample("http://a.test/i", mentions=shown) for shown in mentions)).to_pylist()
    assert [[mention["alt"] for mention in row["mentions"]] for row in rows] == said


def test_rows_come_in_stretches(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.parquet")
    for number in range(3):
        table.write([Sample(f"http://a.test/{number}{at}") for at in range(2)])
    table.finish()
    assert len(pyarrow.parquet.read_table(tmp_path / "t.parquet")) == 6


@pytest.mark.parametrize("more", [{"width": 2**31}, {"height": -(2**40)}, {"size": 2**63}], ids=str)
def test_what_a_table_cannot_hold_is_unstorable(tmp_path: Path, more: dict[str, int]) -> None:
    with pytest.raises(Unstorable, match=r"t\.parquet cannot hold what a row says"):
        written(tmp_path, Sample("http://a.test/", **more))  # type: ignore[arg-type]


def test_a_worker_needs_neither_pandas_nor_numpy() -> None:
    code = """
import sys, tempfile
from pathlib import Path
from crawler.mentions import shown_mentions
from crawler.model import Words, pack
from crawler.shards.samples import Sample, Table, keep_out
from crawler.similarity.hasher import check_hashing
keep_out("pandas", "numpy")
mentions = shown_mentions([("http://a.test/", pack(Words(alt="a", columns={"x": "y"})))])
table = Table(Path(tempfile.mkdtemp(), "t"))
table.write([Sample("http://a.test/i", width=1, time=1.5, mentions=mentions), Sample("http://a.test/j")])
table.finish()
assert not {"pandas", "numpy"} & sys.modules.keys()
check_hashing()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
