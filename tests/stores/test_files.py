from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.errors import NotShared, StoreError, Unstorable
from crawler.stores import files
from crawler.stores.directory import check_mark, mark
from crawler.stores.files import ABANDONED, INCOMING, FileStore, draft_of, sweep, worker_name
from servers.storing import BODY, is_open, put


@pytest.fixture(params=[False, True], ids=["local", "slow"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileStore]:
    store = FileStore(tmp_path, "w-1-a", slow=request.param)
    yield store
    store.close()


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A directory that no disk slows down, where there is one."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def drafts(root: Path) -> list[Path]:
    return [path for path in (root / INCOMING).rglob("*") if path.is_file()]


SAME = """
import sys
from pathlib import Path
from crawler.stores.files import FileStore
root, worker = Path(sys.argv[1]), sys.argv[2]
store, said = FileStore(root, worker), set()
for _ in range(10_000):
    store.put("h/a/b.jpeg", b"x" * 12_000, said.add)
store.close()
sys.exit(said != {None})
"""


class TestContract:
    def test_stored_is_there_whole(self, store: FileStore, tmp_path: Path) -> None:
        assert put(store, "example.com/a/b-1.jpeg") is None
        assert (tmp_path / "example.com/a/b-1.jpeg").read_bytes() == BODY
        assert not drafts(tmp_path)

    def test_twice_is_harmless(self, store: FileStore, tmp_path: Path) -> None:
        for _ in range(2):
            assert put(store, "example.com/b.jpeg") is None
        assert (tmp_path / "example.com/b.jpeg").read_bytes() == BODY
        assert [path.name for path in (tmp_path / "example.com").iterdir()] == ["b.jpeg"]

    def test_an_empty_body_is_a_file_too(self, store: FileStore, tmp_path: Path) -> None:
        assert put(store, "e.bin", b"") is None
        assert (tmp_path / "e.bin").read_bytes() == b""

    def test_two_workers_store_the_same_at_once(self, tmp_path: Path) -> None:
        stores = [FileStore(tmp_path, f"w-{n}-a") for n in range(2)]
        failures: list[Exception] = []
        start = threading.Barrier(2)

        def work(store: FileStore) -> None:
            start.wait(10)
            for number in range(200):
                error = put(store, f"h/{number % 7}/{number}.jpeg", BODY[: number + 1])
                if error is not None:
                    failures.append(error)

        threads = [threading.Thread(target=work, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not failures
        for number in range(200):
            assert (tmp_path / f"h/{number % 7}/{number}.jpeg").read_bytes() == BODY[: number + 1]
        for store in stores:
            store.close()
        assert not (tmp_path / INCOMING).exists()

    def test_two_processes_store_one_image_ten_thousand_times(self, in_memory: Path) -> None:
        workers = [subprocess.Popen([sys.executable, "-c", SAME, str(in_memory), f"w-{n}-a"]) for n in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        assert tree(in_memory) == {"h/a/b.jpeg": b"x" * 12_000}
        assert [path.name for path in in_memory.iterdir()] == ["h"]

    def test_a_folder_that_went_away_is_made_again(self, store: FileStore, tmp_path: Path) -> None:
        assert put(store, "h/a.jpeg") is None
        (tmp_path / "h/a.jpeg").unlink()
        (tmp_path / "h").rmdir()
        assert put(store, "h/b.jpeg") is None

    def test_a_worker_that_was_swept_goes_on(self, store: FileStore, tmp_path: Path) -> None:
        sweep(tmp_path, finished=True)
        assert not (tmp_path / INCOMING).exists()
        assert put(store, "h/a.jpeg") is None

    def test_close_leaves_images_alone(self, tmp_path: Path) -> None:
        store = FileStore(tmp_path, "w-1-a", slow=True)
        said: list[Exception | None] = []
        for number in range(50):
            store.put(f"h/{number}.jpeg", BODY, said.append)
        store.close()
        assert said == [None] * 50
        assert sorted(path.name for path in tmp_path.iterdir()) == ["h"]


class TestTrouble:
    def test_a_full_disk(self, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        left = 5000

        def write(handle: int, data: bytes | memoryview) -> int:
            nonlocal left
            if left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = real(handle, bytes(data)[: min(left, 1000)])
            left -= written
            return written

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", write)
            error = put(store, "h/a.jpeg")
        assert isinstance(error, StoreError) and not isinstance(error, Unstorable)
        assert "No space left" in str(error) and str(tmp_path) in str(error)
        assert not drafts(tmp_path) and not (tmp_path / "h").exists()
        assert put(store, "h/a.jpeg") is None

    def test_short_writes_are_gone_on_with(
        self, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.write
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", lambda handle, data: real(handle, bytes(data)[:777]))
            assert put(store, "h/a.jpeg") is None
        assert (tmp_path / "h/a.jpeg").read_bytes() == BODY

    @pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ESTALE])
    def test_an_error_at_close_is_an_error(
        self, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        real = os.close

        def close(handle: int) -> None:
            real(handle)
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "close", close)
            error = put(store, "h/a.jpeg")
        assert isinstance(error, StoreError) and not isinstance(error, Unstorable)
        assert not (tmp_path / "h/a.jpeg").exists() and not drafts(tmp_path)

    def test_a_name_too_long(self, store: FileStore, tmp_path: Path) -> None:
        for name in ("h/" + "a" * 300, "a" * 300 + "/b.jpeg"):
            assert isinstance(put(store, name), Unstorable)
        assert not drafts(tmp_path)
        assert put(store, "h/a.jpeg") is None

    def test_a_file_where_a_folder_is_needed(self, store: FileStore, tmp_path: Path) -> None:
        assert put(store, "h/a") is None
        assert isinstance(put(store, "h/a/b.jpeg"), Unstorable)
        assert isinstance(put(store, "h/a/b/c.jpeg"), Unstorable)
        assert (tmp_path / "h/a").read_bytes() == BODY and not drafts(tmp_path)

    def test_a_folder_where_the_file_is_to_be(self, store: FileStore, tmp_path: Path) -> None:
        assert put(store, "h/a/b.jpeg") is None
        assert isinstance(put(store, "h/a"), Unstorable)
        assert not drafts(tmp_path)

    def test_a_name_with_a_nul_is_unstorable(self, store: FileStore, tmp_path: Path) -> None:
        assert isinstance(put(store, "h/a\0b.jpeg"), Unstorable)
        assert not drafts(tmp_path)

    def test_probe_tells_when_it_is_over(self, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        assert is_open(store)

        def full(handle: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", full)
            assert not is_open(store)
        assert is_open(store)

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="cannot write below"):
            FileStore(tmp_path / "file", "w-1-a")

    @pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOSPC])
    @pytest.mark.parametrize("call", ["open", "write", "rename", "mkdir"])
    def test_an_error_for_a_while(
        self, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
    ) -> None:
        """Nothing partial is left, no name is given up, and it goes on by itself."""

        def fail(*_: object, **__: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(files.os, call, fail)
            for name in ("h/a.jpeg", "h/b/c.jpeg"):
                error = put(store, name)
                assert isinstance(error, StoreError) and not isinstance(error, Unstorable)
            assert is_open(store) == (call in ("rename", "mkdir")), "these are not needed to write"
        assert not list(tmp_path.rglob("*.jpeg")) and not drafts(tmp_path)
        assert is_open(store) and put(store, "h/a.jpeg") is None
        assert (tmp_path / "h/a.jpeg").read_bytes() == BODY


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class TestSweep:
    def left_over(self, root: Path, worker: str) -> Path:
        folder = root / INCOMING / worker
        folder.mkdir(parents=True)
        (folder / "1").write_bytes(b"half")
        return folder

    def test_processes_of_this_machine_that_are_gone(self, tmp_path: Path) -> None:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        gone = self.left_over(tmp_path, f"{socket.gethostname()}-{process.pid}-ab12cd34")
        here = self.left_over(tmp_path, worker_name())
        sweep(tmp_path)
        assert here.exists() and not gone.exists()

    def test_other_machines_after_an_hour_of_silence(self, tmp_path: Path) -> None:
        silent, busy = (self.left_over(tmp_path, f"elsewhere.example-{n}-ab12cd34") for n in (1, 2))
        long_ago = time.time() - ABANDONED - 60
        os.utime(silent, (long_ago, long_ago))
        sweep(tmp_path)
        assert busy.exists() and not silent.exists()

    def test_all_but_the_living_when_the_run_is_finished(self, tmp_path: Path) -> None:
        living, other = (self.left_over(tmp_path, f"elsewhere-{n}-ab12cd34") for n in (1, 2))
        sweep(tmp_path, frozenset({living.name}), finished=True)
        assert living.exists() and not other.exists()

    def test_the_living_are_spared_whatever_their_age(self, tmp_path: Path) -> None:
        living = self.left_over(tmp_path, "elsewhere-1-ab12cd34")
        os.utime(living, (1, 1))
        sweep(tmp_path, frozenset({living.name}))
        assert living.exists()

    def test_nothing_to_sweep(self, tmp_path: Path) -> None:
        sweep(tmp_path / "missing")
        (tmp_path / INCOMING).mkdir()
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_images_are_let_be(self, tmp_path: Path) -> None:
        (tmp_path / "h").mkdir()
        (tmp_path / "h/a.jpeg").write_bytes(BODY)
        sweep(tmp_path, finished=True)
        assert (tmp_path / "h/a.jpeg").read_bytes() == BODY


class TestMark:
    def test_the_same_directory_is_known(self, tmp_path: Path) -> None:
        mark(tmp_path / "a/b", "id1")
        check_mark(tmp_path / "a/b", "id1")
        mark(tmp_path / "a/b", "id1")
        check_mark(tmp_path / "a/b", "id1")
        assert [path.name for path in (tmp_path / "a/b").iterdir()] == [".job"]

    def test_a_job_takes_no_directory_of_another(self, tmp_path: Path) -> None:
        mark(tmp_path, "id1")
        with pytest.raises(NotShared, match="belongs to another job"):
            mark(tmp_path, "id2")
        check_mark(tmp_path, "id1")

    def test_another_directory_is_told(self, tmp_path: Path) -> None:
        mark(tmp_path, "id1")
        with pytest.raises(NotShared, match="is another"):
            check_mark(tmp_path, "id2")
        with pytest.raises(NotShared, match="is not there"):
            check_mark(tmp_path / "missing", "id1")

    def test_a_mark_that_is_no_text_is_another(self, tmp_path: Path) -> None:
        (tmp_path / ".job").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(NotShared):
            check_mark(tmp_path, "id1")

    def test_where_it_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="--output"):
            mark(tmp_path / "file", "id1")


def test_no_two_workers_have_one_name() -> None:
    names = {worker_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(f"{socket.gethostname()}-{os.getpid()}-") for name in names)


def test_drafts_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    here = socket.gethostname()
    gone = f".metadata.jsonl~{here}-4194305", ".metadata.jsonl~long.ago-1"
    kept = draft_of("failures.jsonl"), ".metadata.jsonl~other.machine-4194305", ".job"
    for name in (*gone, *kept):
        (tmp_path / name).write_text("{")
    os.utime(tmp_path / gone[1], (0, 0))
    sweep(tmp_path, finished=True)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
