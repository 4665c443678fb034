from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from crawler.datasets import draft as drafts
from crawler.datasets.draft import opened_draft
from crawler.errors import StoreError, UsageError
from crawler.outputs import Output


def target(tmp_path: Path) -> Output:
    return Output(tmp_path / "set")


def put(draft: drafts.Draft, name: str, text: str) -> None:
    path = draft.folder / "drafts" / "file"
    path.write_text(text)
    draft.place([(path, name)])


def test_a_dataset_is_there_when_it_is_whole(tmp_path: Path) -> None:
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        put(draft, "a/b.txt", "b")
        assert not (tmp_path / "set").exists()
        draft.end()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["set", "set/a", "set/a/b.txt"]


def test_an_empty_directory_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        put(draft, "b.txt", "b")
        draft.end()
    assert (tmp_path / "set" / "b.txt").read_text() == "b"


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_there_is_left_alone(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "set" / "mine" if is_folder else tmp_path / "set"
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match="is there already"), opened_draft(target(tmp_path), tmp_path, ""):
        pass
    assert path.read_text() == "mine"


def test_one_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        put(draft, "0", "0")
        draft.count(3, 1)
        (draft.folder / "drafts" / "half").write_text("")
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        assert (draft.progress.parts, draft.progress.rows, draft.progress.failures) == (1, 4, 1)
        assert not list((draft.folder / "drafts").iterdir())
        put(draft, "1", "1")
        draft.end()
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["0", "1"]


def test_a_link_to_an_empty_directory_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "set").symlink_to("there")
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        put(draft, "0", "0")
        draft.end()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["0"]


def test_where_something_is_mounted_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="/proc is where something is mounted: name a new directory in it"):  # noqa: SIM117
        with opened_draft(Output(Path("/proc")), tmp_path, ""):
            raise AssertionError("it is begun")


def test_one_that_was_cut_off_before_its_first_part_may_become_another(tmp_path: Path) -> None:
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        kept = tmp_path / "kept"
        shutil.copytree(draft.folder, kept)
    kept.rename(tmp_path / ".set~export")
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("others")
        assert draft.progress.settings == "others"


def test_one_with_other_settings_does_not_go_on_with_it(tmp_path: Path) -> None:
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        draft.count(1, 0)
    with pytest.raises(UsageError, match="another export is unfinished"):  # noqa: SIM117
        with opened_draft(target(tmp_path), tmp_path, "") as draft:
            draft.begin("others")
    with opened_draft(target(tmp_path), tmp_path, "") as draft:
        draft.begin("settings")
        assert draft.progress.parts == 1


def test_after_a_restart_of_the_machine_it_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "boot"
    monkeypatch.setattr(drafts, "_BOOT", boot)
    for number, parts in enumerate((0, 0)):
        boot.write_text(f"boot {number}")
        with opened_draft(target(tmp_path), tmp_path, "") as draft:
            draft.begin("settings")
            assert draft.progress.parts == parts
            assert not (draft.folder / "dataset").exists()
            put(draft, "0", "0")
            draft.count(1, 0)


def test_what_came_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--where"):  # noqa: SIM117
        with opened_draft(target(tmp_path), tmp_path, "") as draft:
            draft.begin("settings")
            raise UsageError("--where")
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time_makes_it(tmp_path: Path) -> None:
    with (tmp_path / ".set~export.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="by another process"), opened_draft(target(tmp_path), tmp_path, ""):
            pass


def test_where_nothing_can_be_written_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be exported to"):  # noqa: SIM117
        with opened_draft(Output(tmp_path / "file" / "set"), tmp_path, ""):
            pass
