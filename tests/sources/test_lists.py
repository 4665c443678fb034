from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import UsageError
from crawler.sources.formats import FORMATS, list_format, lists_in
from crawler.sources.lists import MAX_VALUE, Reading, Row, read_list

A, B = "https://a.example/1.jpg", "https://b.example/2.jpg"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def rows(path: Path, *columns: str) -> list[Row]:
    return list(read_list(path, Reading(*columns)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "txt"),
        ("a", "txt"),
        ("a.lst", "txt"),
        ("a.gz", "txt"),
        ("a.TXT.gz", "txt"),
        ("a.csv", "csv"),
        ("a.b.csv.gz", "csv"),
        ("a.tsv", "tsv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson.gz", "jsonl"),
        ("a.json", "json"),
        ("a.JSON.GZ", "json"),
        ("a.parquet", "parquet"),
    ],
)
def test_the_format_is_told_by_the_name(name: str, expected: str) -> None:
    assert list_format(Path("/lists.d") / name) == expected


@pytest.mark.parametrize("name", ["a.xlsx", "a.pdf", "a.csv.zip"])
def test_another_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(UsageError, match=r"\.jsonl or \.parquet .*--input-format"):
        list_format(Path(name))


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "parquet"])
def test_a_format_is_stronger_than_a_name(tmp_path: Path, format: str) -> None:
    records = [{"url": A, "n": "1"}, {"url": B, "n": "2"}]
    kind = format.removesuffix(".gz")
    tab = "\t" if kind == "tsv" else ","
    text = {
        "txt": f"{A}\n{B}\n",
        "json": json.dumps(records),
        "jsonl": "\n".join(map(json.dumps, records)),
    }.get(kind, f"url{tab}n\n{A}{tab}1\n{B}{tab}2\n")
    data = text.encode()
    path = tmp_path / "list.dat"
    path.write_bytes(gzip.compress(data) if format.endswith(".gz") else data)
    with pytest.raises(UsageError, match="--input-format"):
        list(read_list(path))
    found = list(read_list(path, Reading(format=format)))
    assert [(row.url, row.columns.get("n")) for row in found] == (
        [(A, None), (B, None)] if kind == "txt" else [(A, "1"), (B, "2")]
    )
    assert list(read_list(path, Reading(format=format), start=1)) == found[1:]


def test_a_folder_has_the_lists_that_end_as_one(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv.gz", "c.parquet", "README.md", "_SUCCESS", ".a.csv", "_x.csv", "noend", "D.CSV"):
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    assert [path.name for path in lists_in(tmp_path)] == ["D.CSV", "a.csv.gz", "b.csv", "c.parquet"]
    assert [path.name for path in lists_in(tmp_path, "csv")] == ["D.CSV", "b.csv"]
    assert [path.name for path in lists_in(tmp_path, "csv.gz")] == ["a.csv.gz"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
class TestColumns:
    def table(self, path: Path, records: list[dict[str, str]]) -> Path:
        if path.suffix == ".csv":
            lines = [",".join(records[0]), *(",".join(record.values()) for record in records)]
            return write(path, "\n".join(lines))
        return write(path, json.dumps(records) if path.suffix == ".json" else "\n".join(map(json.dumps, records)))

    def test_only_those_that_are_named(self, tmp_path: Path, name: str) -> None:
        path = self.table(tmp_path / name, [{"url": A, "text": "t", "id": "7", "more": "m"}])
        assert rows(path) == [Row(A, "", {"text": "t", "id": "7", "more": "m"})]
        assert list(read_list(path, Reading("", "text", others=("id",)))) == [Row(A, "t", {"id": "7"})]
        assert list(read_list(path, Reading(others=()))) == [Row(A, "", {})]

    def test_of_hashes(self, tmp_path: Path, name: str) -> None:
        path = self.table(tmp_path / name, [{"url": A, "md5": "D" * 32}, {"url": B, "md5": "x"}])
        found = list(read_list(path, Reading(digest="md5")))
        assert [(row.digest, row.columns) for row in found] == [("d" * 32, {"md5": "D" * 32}), ("none", {"md5": "x"})]
        found = list(read_list(path, Reading(digest="md5", digest_kind="sha256", others=())))
        assert [(row.digest, row.columns) for row in found] == [("none", {}), ("none", {})]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_text(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, f"# a comment\n{A}\r\n\n  {B}  \n")
    assert rows(path) == [Row(A, "", {}), Row(B, "", {})]


@pytest.mark.parametrize(("name", "tab"), [("a.csv", ","), ("a.csv.gz", ","), ("a.tsv", "\t"), ("a.tsv.gz", "\t")])
class TestSeparated:
    def test_with_a_header(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, "id,URL,text\n7,{A},one\n8,{B},two\n".replace(",", tab).format(A=A, B=B))
        assert rows(path) == [Row(A, "", {"id": "7", "text": "one"}), Row(B, "", {"id": "8", "text": "two"})]

    def test_the_columns_that_are_named(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, "url,href,text\nx,{A},one\n".replace(",", tab).format(A=A))
        assert rows(path, "href", "text") == [Row(A, "one", {"url": "x"})]

    def test_without_a_header(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, "7,{A},one\n8,{B},two\n".replace(",", tab).format(A=A, B=B))
        assert rows(path) == [Row(A, "", {"1": "7", "3": "one"}), Row(B, "", {"1": "8", "3": "two"})]

    def test_quotes_line_ends_and_commas(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, f'url{tab}text\r\n{A}{tab}"a ""b""{tab}\r\nc"\r\n{B}{tab}\r\n')
        assert rows(path, "", "text") == [Row(A, f'a "b"{tab}\r\nc', {}), Row(B, "", {})]

    def test_rows_that_are_short_or_long(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, "url,text\n{A}\n\n{B},t,more\n".replace(",", tab).format(A=A, B=B))
        assert rows(path) == [Row(A, "", {}), Row(B, "", {"text": "t"})]

    def test_a_row_without_its_caption_has_none(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, "url,text\n{A},one\n{B}\n".replace(",", tab).format(A=A, B=B))
        assert rows(path, "", "text") == [Row(A, "one", {}), Row(B, "", {})]

    def test_a_row_that_ends_before_its_url_is_no_end(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, "id,url\n1\n2,{B}\n".replace(",", tab).format(B=B))
        assert [row.url for row in rows(path)] == ["", B]

    def test_an_empty_list(self, tmp_path: Path, name: str, tab: str) -> None:
        assert rows(write(tmp_path / name, "")) == []
        assert rows(write(tmp_path / name, f"url{tab}text\n")) == []

    def test_a_column_that_is_not_there(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, f"id{tab}where\n1{tab}2\n")
        with pytest.raises(UsageError, match="no column 'url'; it has id, where: name one with --url-column"):
            rows(path)
        with pytest.raises(UsageError, match="no column 'nope'"):
            rows(path, "nope")
        with pytest.raises(UsageError, match="no column 'text'"):
            rows(path, "where", "text")

    def test_a_field_without_end(self, tmp_path: Path, name: str, tab: str) -> None:
        path = write(tmp_path / name, f'url{tab}text\n{A}{tab}"' + "x" * 200_000)
        assert rows(path) == [Row(A, "", {"text": "x" * MAX_VALUE})]


def test_a_bom_is_no_part_of_a_column(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", f"url,x\n{A},1\n", "utf-8-sig")) == [Row(A, "", {"x": "1"})]
    assert rows(write(tmp_path / "a.txt", f"{A}\n", "utf-8-sig")) == [Row(A, "", {})]


def test_a_caption_is_bounded_and_what_is_no_utf8_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"url,text,other\n{A},{'x' * 5000},{'y' * 5000}\n")
    assert rows(path, "", "text") == [Row(A, "x" * MAX_VALUE, {"other": "y" * MAX_VALUE})]
    (tmp_path / "b.csv").write_bytes(b"url,text\n" + A.encode() + b",B\xe4r\n")
    assert rows(tmp_path / "b.csv", "", "text") == [Row(A, "B\ufffdr", {})]


@pytest.mark.parametrize(
    ("reading", "flag"), [(Reading(digest="h"), "--verify-hash"), (Reading(others=("h",)), "--columns")]
)
def test_a_column_that_is_not_there_is_named_with_its_flag(tmp_path: Path, reading: Reading, flag: str) -> None:
    path = write(tmp_path / "a.csv", f"url,text\n{A},one\n")
    with pytest.raises(UsageError, match=f"no column 'h'; it has url, text: name one with {flag}"):
        list(read_list(path, reading))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv.gz"])
def test_nothing_goes_without_the_hash_that_was_asked_for(tmp_path: Path, name: str) -> None:
    text = (
        json.dumps([{"url": A}]) if name == "a.json" else json.dumps({"url": A}) if name == "a.jsonl" else f"url\n{A}\n"
    )
    with pytest.raises(UsageError, match=r"no column 'md5'.*--verify-hash"):
        list(read_list(write(tmp_path / name, text), Reading(digest="md5")))


def test_a_row_that_is_no_record_has_no_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps([A, {"url": B, "md5": "d" * 32}, B]))
    assert [row.digest for row in read_list(path, Reading(digest="md5"))] == ["none", "d" * 32, "none"]
    assert [row.digest for row in read_list(path)] == ["", "", ""]


class TestJsonLines:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz"])
    def test_objects(self, tmp_path: Path, name: str) -> None:
        records = [{"image_url": A, "text": "one", "n": 1, "none": None}, {"image_url": B, "text": None}]
        path = write(tmp_path / name, "\n\n".join(map(json.dumps, records)) + "\n")
        assert rows(path, "", "text") == [Row(A, "one", {"n": "1"}), Row(B, "", {})]

    def test_an_object_may_lack_a_caption(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", f'{{"url": "{A}", "text": "one"}}\n{{"url": "{B}"}}\n')
        assert rows(path, "", "text") == [Row(A, "one", {}), Row(B, "", {})]

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_from_a_later_row_on_the_first_record_decides_too(self, tmp_path: Path, name: str) -> None:
        records = [{"image": A}, {"image": B, "url": A}, {"image": A, "url": B}]
        path = write(tmp_path / name, "\n[]\n  \n" + "\n\n".join(map(json.dumps, records)))
        expected = [Row("[]", "", {}), Row(A, "", {}), Row(B, "", {"url": A}), Row(A, "", {"url": B})]
        assert [list(read_list(path, start=start)) for start in range(5)] == [expected[start:] for start in range(5)]

    @pytest.mark.parametrize("line", ["{", "[1]", "1", '{"url": ' + "[" * 200_000])
    def test_what_is_no_object_is_a_row_of_its_own(self, tmp_path: Path, line: str) -> None:
        path = write(tmp_path / "a.jsonl", f'{{"url": "{A}"}}\n{line}\n{{"url": "{B}"}}\n')
        assert rows(path) == [Row(A, "", {}), Row(line[:MAX_VALUE], "", {}), Row(B, "", {})]


class TestParquet:
    def table(self, path: Path, columns: dict[str, list[Any]]) -> Path:
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.table(columns), path)
        return path

    def test_rows(self, tmp_path: Path) -> None:
        path = self.table(tmp_path / "a.parquet", {"URL": [A, B, None], "TEXT": ["one", None, "x"], "n": [1, None, 3]})
        assert rows(path, "", "TEXT") == [Row(A, "one", {"n": "1"}), Row(B, "", {}), Row("", "x", {"n": "3"})]

    def test_more_than_a_batch(self, tmp_path: Path) -> None:
        path = self.table(tmp_path / "a.parquet", {"url": [f"{A}?{n}" for n in range(4500)]})
        assert [row.url for row in read_list(path)] == [f"{A}?{n}" for n in range(4500)]

    def test_a_column_that_is_not_there(self, tmp_path: Path) -> None:
        path = self.table(tmp_path / "a.parquet", {"where": [A]})
        with pytest.raises(UsageError, match="it has where"):
            rows(path)
        assert rows(path, "where") == [Row(A, "", {})]


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rows(tmp_path / "a.txt")
