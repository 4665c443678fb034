from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from crawler.account import LedgerPage, LedgerRow
from crawler.contracts import Broker
from crawler.model import ImageResult, pack
from crawler.recheck import lost_files

SINCE = 1000.0


class Results:
    """A broker with some results, of which it hands out a few at a time."""

    def __init__(self, *rows: LedgerRow) -> None:
        self.rows = rows
        self.calls = 0

    def results(self, cursor: str, limit: int) -> LedgerPage:
        assert limit > 0
        self.calls += 1
        start = int(cursor or 0)
        end = min(start + min(limit, 3), len(self.rows))
        return LedgerPage(list(self.rows[start:end]), str(end))


def row(seq: int, *, body: bytes = b"", outcome: str = "success", time: float = SINCE + 1, **more: Any) -> LedgerRow:
    """Return the result of an image whose file `<seq>.jpg` had `body`."""
    file = more.pop("file", f"a.example/{seq}.jpg")
    result = ImageResult(file=file, sha256=hashlib.sha256(body).hexdigest())
    values: dict[str, Any] = {"url": f"https://a.example/{seq}", "message": "", "size": len(body), "worker": "w"}
    return LedgerRow(
        seq=seq, run=1, outcome=outcome, time=time, result=pack(result), current=more.pop("current", True), **values
    )


def lost(root: Path, *rows: LedgerRow) -> list[int]:
    return lost_files(cast(Broker, Results(*rows)), root, SINCE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.example").mkdir()
    for seq in range(10):
        (tmp_path / "a.example" / f"{seq}.jpg").write_bytes(b"body %d" % seq)
    return tmp_path


def test_whole_files_are_not_lost(root: Path) -> None:
    assert lost(root) == []
    assert lost(root, *(row(seq, body=b"body %d" % seq) for seq in range(10))) == []


@pytest.mark.parametrize("body", [b"", b"body", b"body 4 and more", b"bodY 4", bytes(6)])
def test_files_with_other_bytes_are_lost(root: Path, body: bytes) -> None:
    (root / "a.example" / "4.jpg").write_bytes(body)
    assert lost(root, row(3, body=b"body 3"), row(4, body=b"body 4"), row(5, body=b"body 5")) == [4]


def test_files_that_are_gone_are_lost(root: Path) -> None:
    (root / "a.example" / "4.jpg").unlink()
    (root / "a.example" / "5.jpg").unlink()
    (root / "a.example" / "5.jpg").mkdir()
    rows = [row(4, body=b"body 4"), row(5, body=b"body 5"), row(6, body=b"body 6"), row(7, file=""), row(8, file="n/o")]
    assert lost(root, *rows) == [4, 5, 7, 8]


def test_a_root_that_is_gone_has_lost_them_all(tmp_path: Path) -> None:
    assert lost(tmp_path / "missing", row(1), row(2)) == [1, 2]


def test_an_empty_file_may_be_whole(root: Path) -> None:
    (root / "a.example" / "1.jpg").write_bytes(b"")
    assert lost(root, row(1, body=b"")) == []


def test_those_from_before_are_trusted(root: Path) -> None:
    old, edge, new = row(90, time=SINCE - 1), row(91, time=SINCE), row(92, time=SINCE + 0.001)
    assert lost(root, old, edge, new) == [92]


def test_only_what_we_stored_and_nothing_replaced_is_looked_for(root: Path) -> None:
    rows = [
        row(90, current=False),
        row(91, outcome="http_404"),
        row(92, outcome="reported"),
        row(93, outcome="truncated"),
        row(94),
    ]
    assert lost(root, *rows) == [94]


def test_all_pages_of_the_ledger_are_read_once_each(root: Path) -> None:
    broker = Results(*(row(seq) for seq in range(100, 110)))
    assert lost_files(cast(Broker, broker), root, SINCE) == list(range(100, 110))
    assert broker.calls == 5


def test_of_images_in_shards_the_shard_is_looked_for(root: Path) -> None:
    (root / "shards").mkdir()
    (root / "shards" / "00000.tar").write_bytes(b"it was synced")
    files = ("shards/00000.tar/000000000.jpg", "shards/00001.tar/000010000.jpg")
    assert lost(root, *(row(seq, file=file) for seq, file in enumerate(files, 1))) == [2]
