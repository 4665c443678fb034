"""Where a dataset is made until it is whole: what was done stays done when its making is cut off."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from crawler.errors import StoreError, UsageError
from crawler.outputs import Output
from crawler.shown import shown
from crawler.stores import open_folder

#: The object that a dataset in a bucket has when it is whole.
WHOLE = "export.json"
#: Files that are put into a bucket, or taken out of one, at a time: each waits for its answer.
AT_A_TIME = 16
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Progress(msgspec.Struct):
    """How far it has come: whole parts, and the rows that are in them."""

    settings: str
    boot: str
    parts: int = 0
    images: int = 0
    failures: int = 0

    @property
    def rows(self) -> int:
        return self.images + self.failures


class Draft:
    """A folder with what is made; `place` puts files into the dataset under their names, `end` makes it whole."""

    def __init__(
        self,
        folder: Path,
        place: Callable[[Sequence[tuple[Path, str]]], None],
        end: Callable[[], None] = lambda: None,
        check: Callable[[], None] = lambda: None,
        *,
        is_far: bool = False,
    ) -> None:
        """`check` raises UsageError where nothing new may be begun; what is `is_far` is placed outside of `folder`."""
        self.folder = folder
        self._place = place
        self._end = end
        self._check = check
        self._is_far = is_far
        self._file = folder / "progress.json"
        self.progress = Progress("", "")
        self.is_begun = False  #: there is something to go on with

    def place(self, files: Sequence[tuple[Path, str]]) -> None:
        self.is_begun = self.is_begun or self._is_far
        self._place(files)

    def begin(self, settings: str) -> None:
        """Go on with what was begun with the same settings; raises UsageError where it was with others.

        After a restart of the machine it begins anew: files may be missing that were not synced one by one.
        """
        boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            self.progress = msgspec.json.decode(self._file.read_bytes(), type=Progress)
        self.is_begun = bool(self.progress.parts or (self._is_far and self.progress.settings))
        is_another = self.progress.settings not in ("", settings)
        if is_another and self.is_begun:
            raise UsageError(
                f"another export is unfinished in {shown(str(self.folder))}: give it to the end with its own settings, "
                "or remove that folder"
            )
        if is_another or self.progress.boot != boot:
            for entry in self.folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            if not self.progress.settings:
                self._check()
            self.progress = Progress(settings, boot)
            self._save()
            self.is_begun = False
        for name in ("drafts", "copies"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("drafts", "copies", "parts"):
            (self.folder / name).mkdir(exist_ok=True)

    def count(self, images: int, failures: int) -> None:
        """Note that another part is whole."""
        now = self.progress
        now.parts, now.images, now.failures = now.parts + 1, now.images + images, now.failures + failures
        self.is_begun = True
        self._save()

    def _save(self) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self.progress))
        draft.replace(self._file)

    def end(self) -> None:
        """Have the dataset where it belongs, and remove the rest."""
        self._end()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def opened_draft(target: Output, state: Path, endpoint: str) -> Iterator[Draft]:
    """Have the draft of a dataset that is to be at `target`, for one process at a time.

    Raises UsageError where something is there, or where it is being made, StoreError where it cannot be written.
    """
    try:
        draft = _in_bucket(target, state, endpoint) if target.directory is None else _in_directory(target.directory)
        with _lock_of(draft.folder).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"{target} is being exported to by another process") from error
            draft.folder.mkdir(exist_ok=True)
            try:
                yield draft
            finally:
                if not draft.is_begun:
                    shutil.rmtree(draft.folder, ignore_errors=True)
                if not draft.folder.exists():
                    Path(lock.name).unlink()
    except OSError as error:
        raise StoreError(f"{target} cannot be exported to: {error.strerror or error}") from error


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _in_directory(directory: Path) -> Draft:
    if directory.is_symlink():
        directory = directory.resolve()
    if directory.is_mount():
        raise UsageError(f"{shown(str(directory))} is where something is mounted: name a new directory in it")
    folder = directory.with_name(f".{directory.name}~export")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        if not (folder / "dataset").exists():  # who made it was killed before the rest was removed
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)
        raise UsageError(f"{shown(str(directory))} is there already: name a directory that is new or empty")
    directory.parent.mkdir(parents=True, exist_ok=True)

    def place(files: Sequence[tuple[Path, str]]) -> None:
        for path, name in files:
            there = folder / "dataset" / name
            there.parent.mkdir(parents=True, exist_ok=True)
            path.replace(there)

    def end() -> None:
        os.sync()
        if directory.exists():
            directory.rmdir()
        (folder / "dataset").rename(directory)

    return Draft(folder, place, end)


def _in_bucket(target: Output, state: Path, endpoint: str) -> Draft:
    above, _, last = target.prefix.rpartition("/")
    bucket = open_folder(Output(None, target.scheme, target.bucket, above), last, endpoint)
    folder = state / "exports" / hashlib.sha256(str(target).encode()).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if bucket.fetched(WHOLE, folder.parent) is not None:
        (folder.parent / WHOLE).unlink()
        raise UsageError(f"{target} has a whole dataset already: name another place")

    def check() -> None:
        if not bucket.is_empty():
            raise UsageError(f"{target} has something already: name another place, or remove what is there")

    def place(files: Sequence[tuple[Path, str]]) -> None:
        with ThreadPoolExecutor(AT_A_TIME, "place") as pool:
            for _ in pool.map(lambda file: bucket.place(*file), files):
                pass

    return Draft(folder, place, check=check, is_far=True)
