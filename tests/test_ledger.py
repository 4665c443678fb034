from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crawler import ledger
from crawler.account import LedgerPage, LedgerRow, line_of
from crawler.errors import StoreError
from crawler.ledger import FAILURES, METADATA, write_ledger
from crawler.model import ImageResult, PageResult, Words, pack

WHEN = 1_700_000_000.5  # 2023-11-14T22:13:20Z


def saved(seq: int, url: str, sha256: str = "", **more: Any) -> LedgerRow:
    file = f"example.com/{seq}.jpg"
    result = ImageResult(file=file, sha256=sha256 or f"{seq:064}", format="jpeg", width=4, height=3, status=200)
    return row(seq, url, "success", result=pack(result), size=10, **more)


def row(seq: int, url: str, outcome: str, **more: Any) -> LedgerRow:
    values: dict[str, Any] = {"message": "", "size": 0, "result": pack(PageResult()), "current": True, **more}
    return LedgerRow(seq=seq, run=1, url=url, outcome=outcome, time=WHEN, worker="w1", **values)


class Results:
    """A broker with some results, which it hands out two at a time."""

    def __init__(self, *rows: LedgerRow) -> None:
        self.rows = rows

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        start = int(cursor or 0)
        end = start + min(limit, 2)
        return LedgerPage(list(self.rows[start:end]), str(min(end, len(self.rows))))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_is_there_and_the_rest(tmp_path: Path) -> None:
    words = [("https://example.com/", pack(Words(found_in="img@src", alt="Ein Bär", columns={"id": "7"})))]
    broker = Results(
        saved(1, "https://example.com/1.jpg", mentions=words, mentions_total=30),
        row(2, "https://example.com/2.jpg", "http_404"),
        row(3, "https://example.com/3.jpg", "timeout", message="slow"),
        row(4, "https://example.com/4.jpg", "reported"),
        saved(5, "https://example.com/5.jpg"),
    )
    assert write_ledger(broker, tmp_path) == (2, 2)
    there, rest = lines(tmp_path / METADATA), lines(tmp_path / FAILURES)
    assert [line["url"] for line in there] == ["https://example.com/1.jpg", "https://example.com/5.jpg"]
    assert [line["outcome"] for line in rest] == ["http_404", "timeout", "reported"]
    assert rest[1]["message"] == "slow"
    first = there[0]
    assert next(iter(first)) == "file_name"
    assert first["file_name"] == "example.com/1.jpg"
    assert first["time"] == "2023-11-14T22:13:20Z"
    assert (first["width"], first["height"], first["format"], first["size"]) == (4, 3, "jpeg", 10)
    assert first["mentions_total"] == 30
    assert first["mentions"] == [
        {
            "page": "https://example.com/",
            "found_in": "img@src",
            "alt": "Ein Bär",
            "title": "",
            "caption": "",
            "label": "",
            "link_text": "",
            "heading": "",
            "author": "",
            "image_license": "",
            "credit": "",
            "page_title": "",
            "page_language": "",
            "page_license": "",
            "columns": {"id": "7"},
            "row": None,
        }
    ]
    assert "Bär" in (tmp_path / METADATA).read_text(encoding="utf-8")


def test_rows_that_a_later_one_replaces_are_left_out(tmp_path: Path) -> None:
    url = "https://example.com/a.jpg"
    broker = Results(row(1, url, "timeout", current=False), row(2, "x", "dns", current=False), saved(3, url))
    assert write_ledger(broker, tmp_path) == (1, 0)
    assert lines(tmp_path / FAILURES) == []


def test_same_as_names_the_first_file_of_a_content(tmp_path: Path) -> None:
    broker = Results(saved(1, "u1", "aa"), saved(2, "u2", "bb"), saved(3, "u3", "aa"), saved(4, "u4", "aa"))
    write_ledger(broker, tmp_path)
    assert [line["same_as"] for line in lines(tmp_path / METADATA)] == [
        None,
        None,
        "example.com/1.jpg",
        "example.com/1.jpg",
    ]


@pytest.mark.parametrize("most", [0, 3, 10_000])
def test_same_as_is_the_first_however_little_is_kept_in_memory(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_MOST_IN_MEMORY", most)
    contents = random.Random(7).choices("abcdefghijklmnop", k=200)
    write_ledger(Results(*(saved(n, f"u{n}", content) for n, content in enumerate(contents))), tmp_path)
    firsts = [contents.index(content) for content in contents]
    assert [line["same_as"] for line in lines(tmp_path / METADATA)] == [
        None if first == n else f"example.com/{first}.jpg" for n, first in enumerate(firsts)
    ]


def test_writing_again_replaces_both_and_leaves_no_draft(tmp_path: Path) -> None:
    write_ledger(Results(saved(1, "u1"), saved(2, "u2")), tmp_path)
    assert write_ledger(Results(row(1, "u1", "dns")), tmp_path) == (0, 1)
    assert lines(tmp_path / METADATA) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [FAILURES, METADATA]


def test_an_empty_ledger_is_two_empty_files(tmp_path: Path) -> None:
    assert write_ledger(Results(), tmp_path) == (0, 0)
    assert (tmp_path / METADATA).read_bytes() == (tmp_path / FAILURES).read_bytes() == b""


def test_where_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        write_ledger(Results(), tmp_path / "missing")
    (tmp_path / METADATA).mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_ledger(Results(saved(1, "u1")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [METADATA]


def test_a_line_is_a_line_whatever_is_in_it(tmp_path: Path) -> None:
    write_ledger(Results(row(1, "u", "dns", message='a "quoted"\r\nline')), tmp_path)
    assert (tmp_path / FAILURES).read_bytes().count(b"\n") == 1
    assert lines(tmp_path / FAILURES)[0]["message"] == 'a "quoted"\r\nline'


def test_it_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path\n"
        "from crawler.ledger import write_ledger; from test_ledger import Results, row\n"
        "write_ledger(Results(row(1, 'u', 'dns', message='B\\u00e4r')), Path(sys.argv[1]))"
    )
    here = Path(__file__).resolve().parent
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program, str(tmp_path), str(here.parent), str(here)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert lines(tmp_path / FAILURES)[0]["message"] == "Bär"


def test_pyarrow_reads_it_as_a_table(tmp_path: Path) -> None:
    reader = pytest.importorskip("pyarrow.json")
    words = [("https://example.com/", pack(Words(alt="x"))), ("list", pack(Words(columns={"licence": "CC0"})))]
    write_ledger(
        Results(saved(1, "u1"), saved(2, "u2", "aa", mentions=words, mentions_total=2), saved(3, "u3", "aa")), tmp_path
    )
    table = reader.read_json(tmp_path / METADATA)
    assert table.num_rows == 3
    assert table["same_as"].to_pylist() == [None, None, "example.com/2.jpg"]
    assert table["mentions"].to_pylist()[1][1]["columns"] == {"licence": "CC0"}
    assert table["mentions"].to_pylist()[1][0]["alt"] == "x"


HOSTILE = "a\x00\x1b[2J\r\n\x7f\x85\x9b31m\u202e\u2066\u200f\u2028\ufeff\u00fc\U0001f43b"


def test_nothing_in_a_row_steers_a_terminal(tmp_path: Path) -> None:
    words = [("https://example.com/", pack(Words(alt=HOSTILE)))]
    broker = Results(
        saved(1, "https://example.com/1.jpg", mentions=words), row(2, "https://e.example/", "tls", message=HOSTILE)
    )
    write_ledger(broker, tmp_path)
    for name in (METADATA, FAILURES):
        text = (tmp_path / name).read_bytes().decode()
        assert all(c.isprintable() for c in text.removesuffix("\n")) and "\u00fc\U0001f43b" in text
    (there,), (rest,) = lines(tmp_path / METADATA), lines(tmp_path / FAILURES)
    assert there["mentions"][0]["alt"] == rest["message"] == HOSTILE


def test_a_result_is_one_line_that_steers_no_terminal() -> None:
    stock = row(3, "https://e.example/", "reported_error", result=pack(ImageResult(line=f"u--->{HOSTILE}")))
    for each in (row(2, "https://e.example/", "tls", message=HOSTILE, result=pack(None)), stock):
        assert line_of(each).isprintable() and line_of(each).endswith("\u00fc\U0001f43b")
