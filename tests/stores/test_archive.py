"""One suite over all places where results are kept that were written out of a Redis."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crawler.contracts import Parcel, ResultArchive
from crawler.errors import StoreError
from crawler.outputs import parse_output
from crawler.stores import open_folder
from crawler.stores.directory import FileArchive
from crawler.stores.files import sweep
from servers.s3 import BUCKET, S3, forget_stores, needed

#: Opens an archive in one place, as each collector does.
Open = Callable[[], ResultArchive]
PART = ".ledger/job/0000/000000000000001-000000000000004.part"


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    needed()
    with S3() as server:
        yield server


@pytest.fixture
def s3(server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    forget_stores(monkeypatch)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_folder(parse_output(f"s3://{BUCKET}/{tmp_path.name}"), "j").open_archive


@pytest.fixture
def files(tmp_path: Path) -> Open:
    return open_folder(parse_output(str(tmp_path)), "j").open_archive


@pytest.fixture(params=["files", "s3"])
def opened(request: pytest.FixtureRequest) -> Open:
    made: Open = request.getfixturevalue(request.param)
    return made


def parcel(first: int, last: int) -> Parcel:
    return Parcel(first, last, b"head", bytes(range(last - first)))


def test_what_was_written_is_read_in_order(opened: Open) -> None:
    archive = opened()
    archive.write("job", 3, [parcel(5, 9), parcel(10, 10)])
    archive.write("job", 3, [parcel(1, 4)])
    archive.write("job", 4, [parcel(1, 2)])
    assert list(archive.read("job", 3, 0)) == [parcel(1, 4), parcel(5, 9), parcel(10, 10)]
    assert list(archive.read("job", 3, 4)) == [parcel(5, 9), parcel(10, 10)]
    assert list(archive.read("job", 3, 10)) == list(archive.read("job", 5, 0)) == []


def test_what_two_wrote_is_there_once_or_comes_twice(opened: Open) -> None:
    one, two = opened(), opened()
    one.write("job", 0, [parcel(1, 4)])
    two.write("job", 0, [parcel(1, 4)])
    assert list(one.read("job", 0, 0)) == [parcel(1, 4)]
    two.write("job", 0, [parcel(1, 4), parcel(5, 6)])
    assert sorted({each.first for each in opened().read("job", 0, 0)}) == [1, 5]


def test_what_another_writes_later_is_seen(opened: Open) -> None:
    reader, writer = opened(), opened()
    assert list(reader.read("job", 0, 0)) == []
    writer.write("job", 0, [parcel(1, 4)])
    assert list(reader.read("job", 0, 0)) == [parcel(1, 4)]
    writer.write("job", 0, [parcel(5, 6)])
    writer.write("job", 0, [parcel(7, 8)])
    assert list(reader.read("job", 0, 0)) == [parcel(1, 4), parcel(5, 6), parcel(7, 8)]
    assert list(reader.read("job", 0, 6)) == [parcel(7, 8)]


def test_drafts_do_not_count(tmp_path: Path, files: Open) -> None:
    files().write("job", 0, [parcel(1, 4)])
    (tmp_path / "j" / ".ledger" / "job" / "0000" / ".000000000000007-000000000000009.part~host-17").write_bytes(b"half")
    assert list(files().read("job", 0, 0)) == [parcel(1, 4)]


def test_what_is_no_part_is_an_error_and_no_traceback(tmp_path: Path, files: Open) -> None:
    files().write("job", 0, [parcel(1, 4)])
    (tmp_path / "j" / PART).write_bytes(b"\xc1")
    with pytest.raises(StoreError, match="cannot be read"):
        list(files().read("job", 0, 0))


def test_an_object_that_is_no_part_is_an_error_too(tmp_path: Path, s3: Open, server: S3) -> None:
    server.client.put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/j/{PART}", Body=b"\xc1")
    with pytest.raises(StoreError, match="cannot be read"):
        list(s3().read("job", 0, 0))


def test_a_place_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / ".ledger").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        FileArchive(tmp_path).write("job", 0, [parcel(1, 1)])


def test_what_a_killed_process_had_begun_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    monkeypatch.setattr("crawler.stores.files.process_name", lambda: f"{socket.gethostname()}-4194305")
    with pytest.raises(KeyboardInterrupt):
        FileArchive(tmp_path).write("job", 0, [parcel(1, 4)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    sweep(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
