"""The folder of a job as a directory: its mark, its files by name, and the results that are kept in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from crawler.errors import NotShared, StoreError
from crawler.stores.archive import Archive
from crawler.stores.files import FileStore, draft_of, sweep
from crawler.stores.folders import Folders, names_below, read_file, remove_file, write_file
from crawler.stores.names import file_name, grouped, matching
from crawler.stores.shards import Shards

MARK = ".job"


class FileFolder:
    """Keeps the JobFolder contract in a directory."""

    file_name = staticmethod(file_name)

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def is_marked(self) -> bool:
        return (self.path / MARK).exists()

    def job_id(self) -> str:
        return _marked(self.path) or ""

    def fetched(self, name: str, into: Path) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None

    def is_empty(self) -> bool:
        try:
            return not self.path.exists() or not any(self.path.iterdir())
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from error

    def check_free(self) -> None:
        if _marked(self.path) is not None:
            raise _taken(self.path)

    def mark(self, job_id: str) -> None:
        mark(self.path, job_id)

    def check_mark(self, job_id: str) -> None:
        check_mark(self.path, job_id)

    def open_store(self, worker: str, *, slow: bool = False) -> FileStore:
        return FileStore(self.path, worker, slow=slow)

    def open_shards(self, worker: str, suffix: str = "jpg") -> Shards:
        return Shards(self, self.path, worker, suffix)

    def place(self, file: Path, name: str) -> None:
        folder, _, last = name.rpartition("/")
        try:
            place = Folders(self.path).open(folder)
            os.rename(file, last, dst_dir_fd=place.descriptor)
            handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place.descriptor)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise StoreError(f"{self.path / name} cannot be written: {error.strerror}") from error

    def open_archive(self) -> FileArchive:
        return FileArchive(self.path)

    def versions(self, urls: Iterable[str]) -> list[str]:
        found = []
        for folder, wanted in grouped(urls).items():
            try:
                found += [f"{folder}/{name}" for name in matching(names_below(self.path, folder), wanted)]
            except OSError as error:
                raise StoreError(f"{self.path / folder} cannot be read: {error.strerror}") from error
        return found

    def with_content(self, sha256: str) -> list[str]:
        found = []
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder) / name
                if f"-{sha256[:12]}." in name and not path.is_symlink() and path.is_file() and _sha256(path) == sha256:
                    found.append(str(path.relative_to(self.path)))
        return found

    def remove(self, names: list[str]) -> int:
        try:
            return sum(remove_file(self.path, name) for name in names)
        except OSError as error:
            raise StoreError(f"files below {self.path} cannot be removed: {error.strerror}") from error

    def upload(self, file: Path, name: str) -> None:
        """Leave a file where it is: it was written here."""

    def sweep(self, living: frozenset[str] = frozenset(), *, finished: bool = False) -> None:
        sweep(self.path, living, finished=finished)


class FileArchive(Archive):
    """Keeps the ResultArchive contract below a job's directory.

    A part is written beside, where leftovers are swept, synced and renamed.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def _put(self, folder: str, name: str, body: bytes) -> None:
        directory = self._root / folder
        draft = self._root / draft_of(f"{directory.name}-{name}")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(directory / name)
            for changed in (directory, directory.parent, directory.parent.parent, self._root):
                _sync(changed)
        except OSError as error:
            raise StoreError(f"the results in {directory} cannot be written: {error.strerror}") from error

    def _names(self, folder: str) -> list[str]:
        directory = self._root / folder
        try:
            return [path.name for path in directory.iterdir()] if directory.is_dir() else []
        except OSError as error:
            raise StoreError(f"the results in {directory} cannot be read: {error.strerror}") from error

    def _get(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise StoreError(f"the results in {self._root / path} cannot be read: {error.strerror}") from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mark(root: Path, job_id: str) -> None:
    """Write the job's random id into its directory, so that workers can tell whether they see the same one.

    Raises NotShared where the directory is another job's.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if _marked(root) not in (None, job_id):
            raise _taken(root)
        draft = root / draft_of(MARK)
        write_file(draft, f"{job_id}\n".encode())
        draft.replace(root / MARK)
    except OSError as error:
        raise StoreError(f"cannot write below {root}: {error.strerror}; choose another --output") from error


def _taken(root: Path) -> NotShared:
    return NotShared(
        f"{root} belongs to another job, whose state is elsewhere or was removed: choose another --output or "
        f"--job, make its state anew with --adopt, or remove {root / MARK} to let this job have it"
    )


def check_mark(root: Path, job_id: str) -> None:
    """Raise NotShared where `root` is not the directory that the collector marked with `job_id`."""
    seen = _marked(root)
    if seen != job_id:
        raise NotShared(
            f"{root} is not the collector's directory: its file {MARK} is {'another' if seen else 'not there'}. Mount "
            "the shared directory here and name it with --output, or pass --keep-local to keep the images here"
        )


def _marked(root: Path) -> str | None:
    """Return the id of the job whose directory this is, None where it is nobody's."""
    try:
        return read_file(root / MARK, 1000).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError:
        return ""  # somebody's, who put something else there
