from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.driver import spec
from crawler import ledger, tables
from crawler.account import LedgerPage
from crawler.brokers.local import job_lock
from crawler.brokers.offline import StateReader
from crawler.brokers.schema import VERSION
from crawler.brokers.sqlite import SqliteBroker
from crawler.building import local_key
from crawler.door import enter
from crawler.errors import StateError, StoreError, UsageError
from crawler.exporter import _Screen, export, placed, write_table
from crawler.ledger import FAILURES, METADATA, with_lines, write_ledger
from crawler.model import Words
from crawler.outcomes import chosen
from crawler.reading import JobReader
from crawler.settings import ExportSettings
from crawler.sources.lists import Reading, read_list
from crawler.tables import COLUMNS, CSV_COLUMNS, open_table
from states import Image, Made, made, running, sha256, some_images

HOSTILE = 'a,"b"\r\nc\td; =1+1 \x1b[2J\x85\u202e\u2028 ü \U0001f43b'
IMAGES = [
    Image(
        "http://a.test/0.png",
        "one",
        words=(Words(alt=HOSTILE, title="=HYPERLINK(1)", caption="+1"), Words(alt="2" * 200)),
    ),
    Image("http://a.test/1.png", "", "http_404"),
    Image("http://a.test/2.png", "one", words=(Words(columns={"licence": "CC0", "id": "7"}),)),
    Image("http://a.test/3.png", "", "timeout", HOSTILE),
    Image(
        "http://a.test/4.png", "two", "unchanged", more={"active": True, "etag": '"-x"', "previous": "a.test/4-x.png"}
    ),
    Image("http://a.test/5.png", "", "http_503", words=()),
]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def pages_of_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ledger of 2,500 rows be read in three pages."""
    monkeypatch.setattr(ledger, "_BATCH", 1000)


@pytest.fixture
def settings(state: Path) -> Callable[..., ExportSettings]:
    return lambda **more: ExportSettings(**{"state": state, "job": "j", **more})


def always(outcome: str) -> bool:
    return True


def written(directory: Path, format: str, wanted: Callable[[str], bool] = always) -> bytes:
    file = io.BytesIO()
    with closing(StateReader(directory / "queue.sqlite")) as reader:
        write_table(reader, file, format, wanted)
    return file.getvalue()


def rows(directory: Path, wanted: Callable[[str], bool] = always) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(directory, "jsonl", wanted).splitlines()]


def cells(directory: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(directory, "csv").decode(), newline=""), strict=True))


class TestRows:
    def test_are_those_of_the_ledgers_files_in_one_shape(self, state: Path, tmp_path: Path) -> None:
        directory = made(state, "j", IMAGES)
        with closing(StateReader(directory / "queue.sqlite")) as reader:
            write_ledger(reader, tmp_path)
        found = rows(directory)
        assert [row["url"] for row in found] == [of.url for of in IMAGES], "the ledger's order"
        assert {tuple(row) for row in found} == {COLUMNS}
        for name in (METADATA, FAILURES):
            for line in map(json.loads, (tmp_path / name).read_text().splitlines()):
                row = next(row for row in found if row["url"] == line["url"])
                assert row | line == row
                assert all(row[column] is None for column in row.keys() - line.keys())
        assert found[2]["same_as"] == found[0]["file_name"] and found[0]["same_as"] is None
        assert found[3]["message"] == HOSTILE and found[3]["size"] is found[3]["gone"] is None

    def test_of_an_empty_job_are_none(self, state: Path) -> None:
        directory = made(state, "j", [])
        assert written(directory, "jsonl") == b""
        assert written(directory, "csv").decode() == ",".join(CSV_COLUMNS) + "\r\n"

    def test_are_chosen_by_outcome_and_say_the_same(self, state: Path) -> None:
        directory = made(state, "j", [Image("http://a.test/0.png", "one", "unchanged"), *IMAGES[1:]])
        everything = {row["url"]: row for row in rows(directory)}
        for outcomes, expected in (("http_5xx", [5]), ("success", [2]), ("http_4xx,timeout,unchanged", [0, 1, 3, 4])):
            found = rows(directory, chosen(outcomes))
            assert [row["url"] for row in found] == [f"http://a.test/{n}.png" for n in expected]
            assert all(row == everything[row["url"]] for row in found)

    def test_steer_no_terminal(self, state: Path) -> None:
        text = written(made(state, "j", IMAGES), "jsonl").decode()
        assert all(line.isprintable() for line in text.split("\n")) and "\U0001f43b" in text

    def test_are_each_there_once_where_many_are_read_at_a_time(self, state: Path) -> None:
        images = some_images(2500)
        found = rows(made(state, "j", images))
        assert [row["url"] for row in found] == [of.url for of in images]


class TestCsv:
    def test_has_the_first_mention(self, state: Path) -> None:
        first, second, *_, last = cells(made(state, "j", IMAGES))
        assert (first["alt"], first["title"], first["caption"]) == (HOSTILE, "=HYPERLINK(1)", "+1"), (
            "nothing is changed"
        )
        assert (first["page"], first["mentions_total"]) == ("http://site.test/", "2")
        assert (second["outcome"], second["file_name"], second["size"], second["gone"]) == ("http_404", "", "", "")
        assert (last["page"], last["alt"], last["mentions_total"]) == ("", "", "0"), "nobody said a word of it"

    def test_says_what_json_says(self, state: Path) -> None:
        directory = made(state, "j", IMAGES)
        said = {True: "true", False: "false", None: ""}
        for row, line in zip(cells(directory), rows(directory), strict=True):
            for name in set(COLUMNS) - {"mentions"}:
                value = line[name]
                assert row[name] == (said[value] if value is None or isinstance(value, bool) else str(value)), name

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=4, max_size=4))
    def test_cells_come_back_as_they_went(self, texts: list[str]) -> None:
        file = io.BytesIO()
        line = tables.Failure(
            "http://a.test/", "a.test", texts[0], texts[1], 1, "", "w", [msgspec.Raw(_json(texts))], 1
        )
        open_table("csv", file).write([line, line])
        header, *found = csv.reader(io.StringIO(file.getvalue().decode(), newline=""), strict=True)
        assert header == list(CSV_COLUMNS)
        for cell in (dict(zip(header, row, strict=True)) for row in found):
            assert [cell["outcome"], cell["message"], cell["alt"], cell["caption"]] == texts
        assert len(found) == 2 and found[0] == found[1]

    def test_lines_end_as_rfc_4180_has_it(self, state: Path) -> None:
        whole = written(made(state, "j", some_images(3)), "csv")
        assert whole.count(b"\r\n") == whole.count(b"\n") == 4 and whole.endswith(b"\r\n")


def _json(texts: list[str]) -> bytes:
    return json.dumps({"page": "p", "alt": texts[2], "title": "", "caption": texts[3]}).encode()


class TestParquet:
    def test_says_what_json_says(self, state: Path) -> None:
        table = self.read(made(state, "j", IMAGES))
        found = table.to_pylist()
        for row, line in zip(found, rows(state / "j"), strict=True):
            for mention in row["mentions"]:
                mention["columns"] = dict(mention["columns"]) if mention["columns"] else None
            assert row.pop("time").strftime("%Y-%m-%dT%H:%M:%SZ") == line.pop("time")
            assert row == line
        assert found[2]["mentions"][0]["columns"] == {"licence": "CC0", "id": "7"}

    def test_has_exact_types(self, state: Path) -> None:
        schema = self.read(made(state, "j", IMAGES)).schema
        assert schema.names == list(COLUMNS)
        types = {name: str(schema.field(name).type) for name in COLUMNS}
        assert types["time"] == "timestamp[ms, tz=UTC]" and types["active"] == types["gone"] == "bool"
        assert {types[n] for n in "run size width height status mentions_total".split()} == {"int64"}
        assert types["mentions"].startswith("list<") and types["url"] == "string"

    def test_is_written_in_row_groups(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        monkeypatch.setattr(tables, "GROUP_ROWS", 2000)
        with parquet.ParquetFile(io.BytesIO(written(made(state, "j", some_images(5500)), "parquet"))) as file:
            groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
            assert [group.num_rows for group in groups] == [2000, 2000, 1500]
            assert {groups[0].column(n).compression for n in range(groups[0].num_columns)} == {"ZSTD"}

    def test_holds_no_more_than_a_group(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tables, "GROUP_BYTES", 1)
        parquet = pytest.importorskip("pyarrow.parquet")
        with parquet.ParquetFile(io.BytesIO(written(made(state, "j", some_images(2500)), "parquet"))) as file:
            assert file.num_row_groups == 3, "as many as were read at a time"

    def test_of_numbers_that_it_cannot_hold_is_refused(self, state: Path) -> None:
        pytest.importorskip("pyarrow")
        directory = made(state, "j", [Image("http://a.test/0.png", "one", more={"width": 2**63})])
        with pytest.raises(StoreError, match="Parquet cannot hold"):
            written(directory, "parquet")
        assert rows(directory)[0]["width"] == 2**63

    def test_needs_its_library(
        self, settings: Callable[..., ExportSettings], state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(state, "j", [])
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(UsageError, match=r"pip install 'distributed-image-crawler\[parquet\]'"):
            export(settings(output=state / "t.parquet"))
        assert not list(state.glob("*t.parquet*"))

    def read(self, directory: Path) -> Any:
        parquet = pytest.importorskip("pyarrow.parquet")
        return parquet.read_table(io.BytesIO(written(directory, "parquet")))


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_a_list_reads_it_back(state: Path, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t.{format}"
    path.write_bytes(written(made(state, "j", IMAGES), format))
    found = list(read_list(path, Reading("url", "alt" if format == "csv" else "")))
    assert [row.url for row in found] == [of.url for of in IMAGES]
    assert [row.columns["outcome"] for row in found] == [of.outcome for of in IMAGES]
    assert format != "csv" or found[0].caption == HOSTILE


class TestReadingTheState:
    def test_leaves_it_as_it_is(self, state: Path) -> None:
        directory = made(state, "j", IMAGES)
        before = (directory / "queue.sqlite").read_bytes()
        written(directory, "jsonl")
        assert (directory / "queue.sqlite").read_bytes() == before and not (directory / "lock").exists()

    def test_a_start_in_the_middle_is_neither_refused_nor_hidden(self, state: Path) -> None:
        directory = made(state, "j", some_images(2500))
        with closing(JobReader(directory, ExportSettings(state=state))) as reader:
            stretches = with_lines(reader)
            seen = [row.url for row, _ in next(stretches)]
            with job_lock(directory), closing(SqliteBroker(directory / "queue.sqlite")) as broker:
                assert broker.begin(spec(job="j")).resumed
            with closing(sqlite3.connect(directory / "queue.sqlite", timeout=60.0)) as db:
                busy, log, moved = db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                assert not busy and log == moved, "readers let go of it"
            seen += [row.url for stretch in stretches for row, _ in stretch]
        assert seen == [of.url for of in some_images(2500)]

    def test_goes_on_in_the_state_where_the_broker_ends(self, state: Path) -> None:
        directory = made(state, "j", some_images(2500))
        with running(directory, local_key(None, state)):
            reader = JobReader(directory, ExportSettings(state=state))
            stretches = with_lines(reader)
            seen = [row.url for row, _ in next(stretches)]
        seen += [row.url for stretch in stretches for row, _ in stretch]
        reader.close()
        assert seen == [of.url for of in some_images(2500)]

    def test_of_an_older_version_names_the_cure(self, state: Path) -> None:
        directory = made(state, "j", [])
        with closing(sqlite3.connect(directory / "queue.sqlite")) as db:
            db.execute(f"PRAGMA user_version={VERSION - 1}")
        with pytest.raises(StateError, match=rf"has version {VERSION - 1}, .* --export, added to the job's command"):
            StateReader(directory / "queue.sqlite")
        with closing(sqlite3.connect(directory / "queue.sqlite")) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (VERSION - 1,), "nothing was made anew"
            db.execute("PRAGMA user_version=1")
        with pytest.raises(StateError, match="use the program that made it"):
            StateReader(directory / "queue.sqlite")

    @pytest.mark.parametrize("body", [b"", b"this is no database" * 100, None], ids=["empty", "other", "missing"])
    def test_of_what_is_none_is_an_error(self, tmp_path: Path, body: bytes | None) -> None:
        if body is not None:
            (tmp_path / "queue.sqlite").write_bytes(body)
        with pytest.raises(StateError, match=r"the state .*queue\.sqlite"):
            StateReader(tmp_path / "queue.sqlite")
        assert (tmp_path / "queue.sqlite").exists() == (body is not None)

    def test_of_a_damaged_one_is_an_error(self, state: Path) -> None:
        file = made(state, "j", some_images(100)) / "queue.sqlite"
        whole = file.read_bytes()
        file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        with pytest.raises(StateError, match="cannot be read"), closing(StateReader(file)) as reader:
            reader.ledger("", 10)

    def test_finds_a_path_with_signs_of_urls(self, tmp_path: Path) -> None:
        assert len(rows(made(tmp_path / "a?mode=rw#b%20c", "j", IMAGES))) == len(IMAGES)


class TestOutput:
    def test_is_a_whole_file(
        self, settings: Callable[..., ExportSettings], state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made(state, "j", IMAGES)
        path = state / "out" / "t.csv"
        path.parent.mkdir()
        path.write_text("before")
        assert export(settings(output=path)) == 0
        assert path.read_bytes() == written(state / "j", "csv")
        assert capsys.readouterr() == ("", f"6 rows of job j: {path}\n")
        assert [each.name for each in path.parent.iterdir()] == ["t.csv"]

    def test_is_as_it_was_where_it_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_text("before")
        for error in (StateError("x"), KeyboardInterrupt()):
            with pytest.raises(type(error)), placed(path) as file:
                file.write(b"half")
                raise error
            assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]

    def test_of_a_link_is_what_it_leads_to(
        self, settings: Callable[..., ExportSettings], state: Path, tmp_path: Path
    ) -> None:
        made(state, "j", IMAGES)
        (tmp_path / "link").symlink_to(tmp_path / "file")
        export(settings(output=tmp_path / "link", format="csv"))
        assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == written(state / "j", "csv")

    def test_ends_as_its_format(self, settings: Callable[..., ExportSettings], state: Path) -> None:
        made(state, "j", IMAGES)
        for name in ("t.jsonl", "t.CSV", "t.csv"):
            export(settings(output=state / name))
            assert (state / name).read_bytes() == written(state / "j", Path(name).suffix[1:].lower())
        with pytest.raises(UsageError, match="tells no format; give one with --format"):
            export(settings(output=state / "t.gz"))

    @pytest.mark.parametrize("path", ["/dev/null", "/", "."])
    def test_is_no_other_thing(self, settings: Callable[..., ExportSettings], state: Path, path: str) -> None:
        made(state, "j", IMAGES)
        with pytest.raises(UsageError, match="is no file"):
            export(settings(output=Path(path), format="csv"))

    def test_is_no_bucket(self, settings: Callable[..., ExportSettings], state: Path) -> None:
        made(state, "j", IMAGES)
        with pytest.raises(UsageError, match=r"a file of this machine, and s3://b/t\.csv is none"):
            export(settings(output="s3://b/t.csv", format="csv"))

    def test_where_it_cannot_be_is_said(self, settings: Callable[..., ExportSettings], state: Path) -> None:
        made(state, "j", IMAGES)
        with pytest.raises(StoreError, match=r"t\.csv cannot be written: No such file or directory"):
            export(settings(output=state / "missing" / "t.csv"))

    @pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
    def test_on_a_full_disk_is_said(self, state: Path, format: str) -> None:
        if format == "parquet":
            pytest.importorskip("pyarrow")
        directory = made(state, "j", some_images(2000))
        with (
            closing(StateReader(directory / "queue.sqlite")) as reader,
            pytest.raises(OSError, match="No space left"),
            Path("/dev/full").open("wb", buffering=0) as file,
        ):
            write_table(reader, file, format, always)

    def test_is_standard_output_where_none_is_named(
        self, settings: Callable[..., ExportSettings], state: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        made(state, "j", IMAGES)
        for format in ("auto", "jsonl", "csv"):
            assert export(settings(format=format)) == 0
            out, errors = capfdbinary.readouterr()
            assert out == written(state / "j", format.replace("auto", "jsonl")) and not errors
        with pytest.raises(UsageError, match="name a file with --output FILE"):
            export(settings(format="parquet"))

    def test_on_a_terminal_steers_nothing(self, state: Path) -> None:
        file = io.BytesIO()
        screen = _Screen(file)
        screen.write(written(made(state, "j", IMAGES), "csv"))
        text = file.getvalue().decode()
        assert all(line.isprintable() for line in text.split("\n"))
        assert "\\x1b[2J" in text and "\U0001f43b" in text and text.endswith("\n")


class TestWords:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"job": ""}, "the job is missing: name it with --job; in .*: day, j"),
            ({"job": "night"}, "no job 'night' in "),
            ({"job": "../state/j"}, "no job '../state/j' in "),
            ({"outcome": "success,nonsense"}, "--outcome: 'nonsense' is no outcome; allowed are "),
            ({"outcome": ","}, "--outcome: no outcome is named"),
        ],
    )
    def test_that_are_wrong_are_told(
        self, settings: Callable[..., ExportSettings], state: Path, flags: dict[str, str], message: str
    ) -> None:
        made(state, "j", IMAGES)
        made(state, "day", [])
        with pytest.raises(UsageError, match=message):
            export(settings(**flags))

    def test_the_output_of_a_job_is_not_ours(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[ExportSettings] = []
        config = tmp_path / "c.toml"
        config.write_text('output = "/mnt/images"\njob = "night"\noutcome = "dns"\n')
        monkeypatch.setenv("CRAWLER_OUTPUT", "/mnt/images")

        def remember(settings: ExportSettings) -> int:
            seen.append(settings)
            return 0

        assert enter(ExportSettings, "x", "About.", remember, ["--config", str(config)]) == 0
        assert enter(ExportSettings, "x", "About.", remember, ["--output", "t.csv"]) == 0
        assert (seen[0].output, seen[0].job, seen[0].outcome) == ("", "night", "dns")
        assert seen[1].output == "t.csv"


def test_what_is_gone_stays_with_its_file(state: Path) -> None:
    job = Made(state, "j")
    job.add([Image("http://a.test/0.png", "one")])
    job.next_run()
    job.add([Image("http://a.test/0.png", "", "http_404")])
    job.close()
    (row,) = rows(job.directory)
    assert (row["outcome"], row["sha256"], row["size"], row["run"]) == ("http_404", sha256("one"), 3, 2)


def test_a_page_of_the_ledger_is_a_page(state: Path) -> None:
    with closing(StateReader(made(state, "j", IMAGES) / "queue.sqlite")) as reader:
        first = reader.ledger("", 4)
        rest = reader.ledger(first.cursor, 4)
        assert isinstance(first, LedgerPage)
        assert [len(first.rows), len(rest.rows), len(reader.ledger(rest.cursor, 4).rows)] == [4, 2, 0]
        assert reader.spec().job == "j"
