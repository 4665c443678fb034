from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import UsageError
from crawler.sources import parquet
from crawler.sources.lists import Reading, Row, read_list

arrow = pytest.importorskip("pyarrow")
files = pytest.importorskip("pyarrow.parquet")
A = "https://a.example/1.jpg"


def table(path: Path, columns: dict[str, Any], rows_in_group: int = 10) -> Path:
    files.write_table(arrow.table(columns), path, row_group_size=rows_in_group)
    return path


@pytest.mark.parametrize("start", [0, 1, 9, 10, 11, 24, 25, 99])
def test_it_is_read_from_any_row_on(tmp_path: Path, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 3)
    path = table(tmp_path / "a.parquet", {"url": [f"{A}?{n}" for n in range(25)]})
    assert [row.url for row in read_list(path, start=start)] == [f"{A}?{n}" for n in range(start, 25)]


def test_row_groups_before_are_not_touched(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", {"url": [f"{A}?{n}" for n in range(25)]})
    place = files.ParquetFile(path).metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    begin = place.dictionary_page_offset or place.data_page_offset
    data[begin : begin + place.total_compressed_size] = bytes(place.total_compressed_size)
    path.write_bytes(data)
    with pytest.raises((UsageError, OSError)):
        list(read_list(path))
    assert len(list(read_list(path, start=10))) == 15


def test_columns_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", {"url": [A], "wide": ["x"], "id": [7], "md5": ["0" * 32]})
    place = files.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[place.dictionary_page_offset : place.dictionary_page_offset + place.total_compressed_size] = bytes(
        place.total_compressed_size
    )
    path.write_bytes(data)
    assert list(read_list(path, Reading(others=("id",)))) == [Row(A, "", {"id": "7"})]
    assert list(read_list(path, Reading(digest="md5", others=()))) == [Row(A, "", {}, "0" * 32)]
    with pytest.raises((UsageError, OSError)):
        list(read_list(path))


def test_values_of_all_kinds_are_text(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 11, 22, 1, 2, 3, tzinfo=datetime.timezone.utc)
    columns = {
        "url": arrow.array([A.encode()], arrow.binary()),
        "list": [["a", None, "Ä"]],
        "nested": [{"a": [1, 2], "b": {"c": None}, "when": when}],
        "data": arrow.array([b"\xff\x00"], arrow.binary()),
        "truth": [True],
        "fine": arrow.array([1_700_000_000_000_000_001], arrow.timestamp("ns")),
        "kind": arrow.array(["cat"]).dictionary_encode(),
        "nothing": arrow.array([None], arrow.string()),
    }
    (row,) = read_list(table(tmp_path / "a.parquet", columns))
    assert row.url == A
    assert row.columns == {
        "list": '["a", null, "Ä"]',
        "nested": '{"a": [1, 2], "b": {"c": null}, "when": "2026-11-22 01:02:03+00:00"}',
        "data": "ff00",
        "truth": "True",
        "fine": "2023-11-14 22:13:20.000000001",
        "kind": "cat",
    }


def test_times_that_python_has_no_value_for_spoil_no_other_row(tmp_path: Path) -> None:
    dates = arrow.array([0, 3_000_000, 2**31 - 1], arrow.date32())
    columns = {
        "url": [f"{A}?{n}" for n in range(3)],
        "date": dates,
        "zone": arrow.array([0, 1, 2**62], arrow.timestamp("us", "Mars/Phobos")),
        "within": arrow.StructArray.from_arrays([dates], ["date"]),
        "span": arrow.array([1, 2, 2**62], arrow.duration("s")),
    }
    rows = list(read_list(table(tmp_path / "a.parquet", columns)))
    assert [row.url for row in rows] == columns["url"]
    assert [row.columns["date"] for row in rows[:2]] == ["1970-01-01", "10183-09-21"]
    assert [row.columns["zone"] for row in rows] == ["0", "1", str(2**62)]
    assert rows[0].columns["within"] == '{"date": "1970-01-01"}' and "within" not in rows[1].columns


def test_a_text_that_is_no_utf8_spoils_no_other_row(tmp_path: Path) -> None:
    texts = arrow.array([b"B\xe4r", b"one"], arrow.binary()).cast(arrow.binary())
    bad = arrow.Array.from_buffers(arrow.string(), 2, texts.buffers())
    path = table(tmp_path / "a.parquet", {"url": [A, A], "text": bad})
    assert [row.caption for row in read_list(path, Reading("", "text"))] == ["B\ufffdr", "one"]


def test_long_rows_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BYTES", 4000)
    path = table(tmp_path / "a.parquet", {"url": [f"{A}?{n:01000}" for n in range(25)]}, 25)
    metadata = files.ParquetFile(path).metadata
    assert 1 <= parquet._rows_at_once(metadata, [0]) <= 4
    assert len(list(read_list(path))) == 25
