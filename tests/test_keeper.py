from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from crawler import keeper
from crawler.brokers.client import ManagerBroker
from crawler.errors import BrokerUnreachable, StoreError
from crawler.keeper import Keeper
from crawler.ledger import FAILURES, METADATA
from crawler.stores.directory import FileFolder
from test_ledger import Results, row, saved


class Bucket(FileFolder):
    """A folder that is not of this machine, as far as its users can tell."""

    def __init__(self, there: Path) -> None:
        super().__init__(there)
        self.there, self.path = there, cast(Any, None)
        self.fails: Exception | None = None
        self.uploaded = threading.Semaphore(0)

    def upload(self, file: Path, name: str) -> None:
        if self.fails is not None:
            raise self.fails
        (self.there / name).write_bytes(file.read_bytes())
        self.uploaded.release()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    (tmp_path / "state").mkdir()
    return tmp_path / "there"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class Closing(Results):
    def close(self) -> None: ...


def test_in_a_directory_the_files_are_written_there(there: Path) -> None:
    assert Keeper(FileFolder(there), there.parent / "state").write(Results(saved(1, "u1"))) == (1, 0)
    assert names(there) == {METADATA, FAILURES} and not names(there.parent / "state")


def test_also_where_no_state_of_the_job_is_yet(there: Path) -> None:
    Keeper(Bucket(there), there.parent / "another" / "j").write(Results(saved(1, "u1")))
    assert names(there) == {METADATA, FAILURES}
    assert (there.parent / "another" / "j").stat().st_mode & 0o077 == 0


def test_in_a_bucket_they_are_put(there: Path) -> None:
    state = there.parent / "state"
    (state / "ledger").mkdir()
    (state / "ledger" / f".{METADATA}~{socket.gethostname()}-4194305").write_text("{")  # of a door that is gone
    for _ in range(2):
        assert Keeper(Bucket(there), state).write(Results(saved(1, "u1"), row(2, "u2", "dns"))) == (1, 1)
    assert names(there) == names(state / "ledger") == {METADATA, FAILURES}
    assert b'"u1"' in (there / METADATA).read_bytes() and b'"u2"' in (there / FAILURES).read_bytes()


def test_where_they_cannot_be_written(there: Path) -> None:
    (there.parent / "state" / "ledger").touch()
    with pytest.raises(StoreError, match="ledger cannot be made"):
        Keeper(Bucket(there), there.parent / "state").write(Results())


def test_in_a_bucket_they_are_put_while_a_run_goes_on(
    there: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "EVERY", 0.01)
    folder, results = Bucket(there), Closing()
    made = Keeper(folder, there.parent / "state")
    folder.fails = StoreError("s3://b: no answer")
    tries = threading.Semaphore(0)

    def connect() -> ManagerBroker:
        tries.release()
        if folder.fails is None and not results.rows:
            raise BrokerUnreachable("nothing listens")
        return cast(ManagerBroker, results)

    made.begin(connect)
    for _ in range(3):
        assert tries.acquire(timeout=10)
    assert "s3://b: no answer; the ledger is put again later" in caplog.text
    results.rows = [saved(1, "u1")]
    folder.fails = None
    for _ in range(4):
        assert folder.uploaded.acquire(timeout=10)
    made.end()
    assert b'"u1"' in (there / METADATA).read_bytes()


def test_in_a_directory_nothing_is_written_meanwhile(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "EVERY", 0.0)
    before = threading.active_count()
    Keeper(FileFolder(there), there.parent / "state").begin(cast(Any, None))
    assert threading.active_count() == before
