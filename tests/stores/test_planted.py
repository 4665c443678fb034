"""Links, pipes and the like that somebody planted in the output directory: nothing is written or removed elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crawler.account import LedgerPage
from crawler.errors import NotShared, StoreError, Unstorable
from crawler.ledger import write_ledger
from crawler.stores import folders
from crawler.stores.directory import check_mark, mark
from crawler.stores.files import INCOMING, FileStore, draft_of, sweep
from servers.storing import BODY, is_open, put


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder beside the output that is not ours."""
    folder = tmp_path / "elsewhere"
    (folder / "w-1-a").mkdir(parents=True)
    (folder / "w-1-a" / "1").write_bytes(b"theirs")
    (folder / "a.jpeg").write_bytes(b"theirs")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    root.mkdir()
    return root


@pytest.mark.parametrize("slow", [False, True], ids=["local", "slow"])
@pytest.mark.parametrize("target", ["../elsewhere", "..", ".", "/tmp", "missing"])
@pytest.mark.parametrize("place", ["h", "h/b"])
def test_a_link_in_place_of_a_folder(root: Path, elsewhere: Path, slow: bool, target: str, place: str) -> None:
    before, store = tree(elsewhere), FileStore(root, "w-1-a", slow=slow)
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).symlink_to(target)
    assert isinstance(put(store, f"{place}/a.jpeg"), Unstorable)
    assert put(store, "other/a.jpeg") is None
    store.close()
    assert tree(elsewhere) == before
    assert list(tree(root)) == ["other/a.jpeg"]


def test_a_link_in_place_of_a_folder_that_was_in_use(
    root: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, store = tree(elsewhere), FileStore(root, "w-1-a")
    assert put(store, "h/a.jpeg") is None
    (root / "h").rename(root / "old")
    (root / "h").symlink_to(elsewhere)
    assert put(store, "h/b.jpeg") is None
    assert (root / "old/b.jpeg").exists(), "as if it had been moved a moment later"
    monkeypatch.setattr(folders, "FRESH", -1.0)
    is_open(store)
    assert isinstance(put(store, "h/c.jpeg"), Unstorable)
    assert tree(elsewhere) == before


@pytest.mark.parametrize("place", [INCOMING, f"{INCOMING}/w-1-a"])
def test_a_link_in_place_of_the_drafts(root: Path, elsewhere: Path, place: str) -> None:
    before = tree(elsewhere)
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).symlink_to(elsewhere)
    with pytest.raises(StoreError, match="cannot write below"):
        FileStore(root, "w-1-a")
    sweep(root, finished=True)
    assert tree(elsewhere) == before


def test_a_link_in_place_of_the_drafts_that_were_in_use(root: Path, elsewhere: Path) -> None:
    before, store = tree(elsewhere), FileStore(root, "w-1-a")
    (root / INCOMING).rename(root / "old")
    (root / INCOMING).symlink_to(elsewhere)
    assert put(store, "h/a.jpeg") is None
    assert not is_open(store)
    store.close()
    assert tree(elsewhere) == before


@pytest.mark.parametrize("what", ["link", "hard link", "pipe", "socket"])
def test_what_has_the_name_of_a_file_is_replaced(root: Path, elsewhere: Path, what: str) -> None:
    before, store, place = tree(elsewhere), FileStore(root, "w-1-a"), root / "h/a.jpeg"
    place.parent.mkdir()
    if what == "link":
        place.symlink_to(elsewhere / "a.jpeg")
    elif what == "hard link":
        place.hardlink_to(elsewhere / "a.jpeg")
    elif what == "pipe":
        os.mkfifo(place)
    else:
        os.mknod(place, 0o600 | stat.S_IFSOCK)
    assert put(store, "h/a.jpeg") is None
    assert place.read_bytes() == BODY and not place.is_symlink()
    assert tree(elsewhere) == before


def test_a_link_in_place_of_a_draft(root: Path, elsewhere: Path) -> None:
    before, store = tree(elsewhere), FileStore(root, "w-1-a")
    (root / INCOMING / "w-1-a" / "1").symlink_to(elsewhere / "a.jpeg")
    (root / INCOMING / "w-1-a" / "probe").symlink_to(elsewhere / "a.jpeg")
    put(store, "h/a.jpeg")
    assert put(store, "h/a.jpeg") is None and is_open(store)
    store.close()
    assert tree(elsewhere) == before


@pytest.mark.parametrize("name", ["../elsewhere/a.jpeg", "h/../../elsewhere/a.jpeg", "..", "h//a", "h/."])
def test_names_that_no_url_makes(root: Path, elsewhere: Path, name: str) -> None:
    before, store = tree(elsewhere), FileStore(root, "w-1-a")
    assert isinstance(put(store, name), Unstorable)
    store.close()
    assert tree(elsewhere) == before and not tree(root)


def test_the_users_own_way_may_have_links(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    store = FileStore(tmp_path / "link" / "job", "w-1-a")
    assert put(store, "h/a.jpeg") is None
    assert (root / "job/h/a.jpeg").read_bytes() == BODY


def test_the_mark_and_the_ledger_follow_no_link(root: Path, elsewhere: Path) -> None:
    before = tree(elsewhere)
    for name in map(draft_of, (".job", "metadata.jsonl", "failures.jsonl")):
        (root / name).symlink_to(elsewhere / "a.jpeg")
    mark(root, "id1")
    check_mark(root, "id1")
    write_ledger(NoResults(), root)
    assert tree(elsewhere) == before


def test_a_pipe_in_place_of_the_mark_stops_nobody(root: Path) -> None:
    os.mkfifo(root / ".job")
    with pytest.raises(NotShared):
        mark(root, "id1")
    with pytest.raises(NotShared):
        check_mark(root, "id1")


def test_only_so_many_folders_are_kept_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_OPEN", 5)
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = FileStore(root, "w-1-a")
    for number in range(50):
        assert put(store, f"h/{number}/a.jpeg") is None
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 5
    store.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class NoResults:
    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        return LedgerPage([], "")
