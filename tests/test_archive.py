from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from crawler.archive import Archive
from crawler.contracts import Parcel
from crawler.errors import StoreError
from crawler.stores.files import sweep


def parcel(first: int, last: int) -> Parcel:
    return Parcel(first, last, b"head", bytes(range(last - first)))


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write(3, [parcel(5, 9), parcel(10, 10)])
    archive.write(3, [parcel(1, 4)])
    archive.write(4, [parcel(1, 2)])
    assert list(archive.read(3, 0)) == [parcel(1, 4), parcel(5, 9), parcel(10, 10)]
    assert list(archive.read(3, 4)) == [parcel(5, 9), parcel(10, 10)]
    assert list(archive.read(3, 10)) == list(archive.read(5, 0)) == []


def test_what_two_wrote_comes_twice_and_drafts_do_not_count(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write(0, [parcel(1, 4)])
    archive.write(0, [parcel(1, 4), parcel(5, 6)])
    (tmp_path / ".ledger" / "0000" / ".000000000000007-000000000000009.part.17").write_bytes(b"half")
    assert sorted({each.first for each in archive.read(0, 0)}) == [1, 5]


def test_what_is_no_part_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write(0, [parcel(1, 4)])
    (next((tmp_path / ".ledger" / "0000").iterdir())).write_bytes(b"\xc1")
    with pytest.raises(StoreError, match="cannot be read"):
        list(archive.read(0, 0))


def test_a_place_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / ".ledger").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        Archive(tmp_path).write(0, [parcel(1, 1)])


def test_what_a_killed_process_had_begun_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    monkeypatch.setattr("crawler.stores.files.process_name", lambda: f"{socket.gethostname()}-4194305")
    with pytest.raises(KeyboardInterrupt):
        Archive(tmp_path).write(0, [parcel(1, 4)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    sweep(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
