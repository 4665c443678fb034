from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from crawler.errors import StateError, UsageError
from crawler.sources.spool import forget_others, spool


def kept(data: bytes, directory: Path, *, table: bool = False) -> Path:
    return spool(io.BytesIO(data), directory, table=table)


def test_what_was_read_is_kept_by_its_content(tmp_path: Path) -> None:
    one, two = kept(b"https://a.example/1.jpg\n", tmp_path), kept(b"https://a.example/2.jpg\n", tmp_path)
    assert one != two and one.read_bytes() == b"https://a.example/1.jpg\n"
    assert kept(b"https://a.example/1.jpg\n", tmp_path) == one
    assert sorted(tmp_path.iterdir()) == sorted([one, two])


@pytest.mark.parametrize(
    ("data", "table", "ending"),
    [(b'{"url": ""}', False, ".jsonl"), (b"url,x\n", True, ".csv"), (b"a\n", False, ".txt")],
)
def test_its_kind_is_told_by_its_name(tmp_path: Path, data: bytes, table: bool, ending: str) -> None:
    assert kept(data, tmp_path, table=table).suffix == ending


def test_its_kind_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    path = spool(io.BytesIO(b"{"), tmp_path, table=True, format="csv.gz")
    assert path.name.endswith(".csv.gz") and path.read_bytes() == b"{"


def test_an_empty_stream_is_the_list_of_before(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        kept(b"", tmp_path)
    one, two = kept(b"1\n", tmp_path), kept(b"2\n", tmp_path)
    os.utime(one, (1, 1))
    assert kept(b"", tmp_path) == one, "a newer one was not accepted"
    forget_others(tmp_path, {two})
    assert kept(b"", tmp_path) == two


def test_lists_of_before_are_forgotten(tmp_path: Path) -> None:
    one, two = kept(b"1\n", tmp_path), kept(b"2\n", tmp_path)
    (tmp_path / "queue.sqlite").touch()
    forget_others(tmp_path, {two})
    assert not one.exists() and two.exists() and (tmp_path / "queue.sqlite").exists()


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be kept in"):
        kept(b"1\n", tmp_path / "file")
