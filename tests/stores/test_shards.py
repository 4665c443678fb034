"""Where shards are made and come to rest, over a directory and over a server of the S3 protocol."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from acceptance.here import permitted
from crawler.contracts import JobFolder
from crawler.errors import StoreError
from crawler.outputs import parse_output
from crawler.shards.samples import Sample
from crawler.shards.shard import Shard
from crawler.stores import open_folder
from crawler.stores.directory import FileFolder
from crawler.stores.files import worker_name
from crawler.stores.objects import _own_folder
from crawler.stores.shards import Shards
from servers.s3 import BUCKET, S3, forget_stores, needed
from servers.storing import is_open

FILES = ["shards/00000.parquet", "shards/00000.tar", "shards/00000_stats.json"]


class Place:
    """A folder of a job, what is in it, and the folder that drafts are below."""

    def __init__(self, folder: JobFolder, drafts: Path, server: S3 | None = None) -> None:
        self.folder, self.drafts, self._server = folder, drafts, server

    def content(self) -> dict[str, bytes]:
        if self._server is not None:
            return {name.removeprefix("all/j/"): body for name, body in self._server.objects("all/j/").items()}
        root = self.drafts
        paths = [path for path in root.rglob("*") if path.is_file() and ".incoming" not in path.parts]
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    def left(self) -> list[Path]:
        return [path for path in self.drafts.rglob(".incoming/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    needed()
    with S3() as server:
        yield server


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "directory":
        yield Place(FileFolder(tmp_path / "j"), tmp_path / "j")
        return
    server: S3 = request.getfixturevalue("s3")
    forget_stores(monkeypatch)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = open_folder(parse_output(f"s3://{BUCKET}/all"), "j")
    yield Place(folder, tmp_path / f"crawler-{os.getuid()}-shards", server)
    folder.remove([name.removeprefix("all/j/") for name in server.names("all/j/")])


@pytest.fixture
def store(place: Place) -> Iterator[Shards]:
    made = place.folder.open_shards(worker_name())
    yield made
    made.close()


def finished(store: Shards, number: int = 0, rows: int = 3) -> Shard:
    shard = store.begin(number, 10)
    for at in range(rows):
        shard.add(Sample(f"http://a.test/{at}"), b"body %d" % at)
    shard.finish()
    return shard


def images(body: bytes, tmp_path: Path) -> list[str]:
    (tmp_path / "read.tar").write_bytes(body)
    with tarfile.open(tmp_path / "read.tar") as tar:
        return [name for name in tar.getnames() if name.endswith(".jpg")]


def test_a_shard_is_in_its_place_with_all_its_files(place: Place, store: Shards, tmp_path: Path) -> None:
    shard = finished(store)
    assert not [name for name in place.content() if name.startswith("shards/")], "it is a draft yet"
    store.place(shard)
    content = place.content()
    assert sorted(content) == FILES and not place.left()
    assert images(content["shards/00000.tar"], tmp_path) == [f"00000000{n}.jpg" for n in range(3)]


def test_what_has_its_names_is_replaced(place: Place, store: Shards, tmp_path: Path) -> None:
    store.place(finished(store, rows=5))
    store.place(finished(store, rows=1))
    assert len(images(place.content()["shards/00000.tar"], tmp_path)) == 1
    (tmp_path / "t").write_bytes(place.content()["shards/00000.parquet"])
    assert len(pyarrow.parquet.read_table(tmp_path / "t")) == 1


def test_it_is_made_anew_without_some(place: Place, store: Shards, tmp_path: Path) -> None:
    shard = finished(store)
    store.place(shard)
    for dropped, left in (("000000001", ["000000000.jpg", "000000002.jpg"]), ("000000000", ["000000002.jpg"])):
        store.drop(shard, {dropped})
        store.place(shard)
        assert images(place.content()["shards/00000.tar"], tmp_path) == left
        assert not place.left()


def test_one_that_is_gone_cannot_be_made_anew(place: Place, store: Shards) -> None:
    shard = finished(store)
    store.place(shard)
    store.remove(shard)
    assert not [name for name in place.content() if name.startswith("shards/")]
    store.remove(shard)
    with pytest.raises(StoreError, match=r"shards/00000\.tar is gone"):
        store.drop(shard, {"000000001"})


def test_closing_removes_what_is_unfinished(place: Place) -> None:
    store = place.folder.open_shards(worker_name())
    store.begin(0, 10).add(Sample("http://a.test/"), b"x")
    finished(store, 1)
    assert len(place.left()) == 4
    for _ in range(2):
        store.close()
        assert not place.left()


def test_what_a_dead_worker_left_is_swept(place: Place) -> None:
    name = worker_name()
    host, _, _ = name.rpartition("-")[0].rpartition("-")
    dead = place.folder.open_shards(f"{host}-{2**22 + 1}-0123abcd")  # no process has such a number
    finished(dead)
    assert place.left()
    place.folder.sweep()
    store = place.folder.open_shards(name)
    assert not place.left()
    store.close()


def test_a_probe_leaves_nothing(place: Place, store: Shards) -> None:
    assert is_open(store)
    assert not place.left()


# Of directories


@pytest.fixture
def folder(tmp_path: Path) -> FileFolder:
    return FileFolder(tmp_path / "j")


@pytest.fixture
def here(folder: FileFolder) -> Iterator[Shards]:
    made = folder.open_shards("w-1-a")
    yield made
    made.close()


def test_it_holds_the_files_of_tars_that_are_there(folder: FileFolder, here: Shards) -> None:
    here.place(finished(here))
    assert here.holds("shards/00000.tar/000000001.jpg", 6)
    assert not here.holds("shards/00001.tar/000010001.jpg", 6)
    for strange in ("", "a.test/x.jpg", "shards/00000.tar", "shards/00000.parquet", "shards/\0.tar/x.jpg"):
        assert not here.holds(strange, 6)


def test_drafts_that_were_swept_are_made_again(folder: FileFolder, here: Shards) -> None:
    shutil.rmtree(folder.path / ".incoming")
    here.place(finished(here))
    shard = finished(here, 1)
    shutil.rmtree(folder.path / ".incoming")
    with pytest.raises(StoreError, match=r"shards/00001_stats\.json cannot be written"):
        here.place(shard)
    shard.discard()
    here.place(finished(here, 1))
    assert len(list((folder.path / "shards").iterdir())) == 6


def test_one_in_its_place_is_made_anew_after_a_sweep(folder: FileFolder, here: Shards, tmp_path: Path) -> None:
    shard = finished(here)
    here.place(shard)
    shutil.rmtree(folder.path / ".incoming")
    here.drop(shard, {"000000001"})
    here.place(shard)
    body = (folder.path / "shards" / "00000.tar").read_bytes()
    assert images(body, tmp_path) == ["000000000.jpg", "000000002.jpg"]


def test_a_link_in_its_place_is_not_followed(folder: FileFolder, here: Shards, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (folder.path / "shards").mkdir()
    (folder.path / "shards" / "00000.tar").symlink_to(tmp_path / "elsewhere")
    here.place(finished(here))
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    assert not (folder.path / "shards" / "00000.tar").is_symlink()


def test_a_full_disk_is_told_and_leaves_no_draft(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    permitted("mount", "-t", "tmpfs", "-o", "size=256k", "crawler-test", str(disk))
    try:
        store = FileFolder(disk / "j").open_shards("w-1-a")
        shard = store.begin(0, 10)
        shard.add(Sample("http://a.test/"), bytes(2**19))
        with pytest.raises(OSError, match="No space left on device"):
            shard.finish()
        shard.discard()
        assert not is_open(store) or not list(disk.rglob("*.tar"))
        assert not [path for path in disk.rglob("*") if path.is_file()]
        store.place(finished(store))
        store.close()
    finally:
        permitted("umount", "--lazy", str(disk))


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"a file")
    with pytest.raises(StoreError, match="cannot write below"):
        FileFolder(tmp_path / "j").open_shards("w-1-a")


@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_drafts_are_in_a_folder_of_our_own(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "shards"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "open":
        path.mkdir()
        path.chmod(0o777)
    else:
        path.write_text("")
    with pytest.raises(StoreError, match="shards"):
        _own_folder(path)
    made = _own_folder(tmp_path / "another")
    assert made.stat().st_mode & 0o777 == 0o700 and _own_folder(made) == made
