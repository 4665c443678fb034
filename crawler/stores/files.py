"""Images as files: written beside, checked, renamed into place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crawler.errors import NotShared, StoreError, Unstorable
from crawler.stores.archive import Archive
from crawler.stores.folders import (
    Folder,
    Folders,
    check,
    names_below,
    names_in,
    read_file,
    remove_file,
    remove_files,
    write_file,
)
from crawler.stores.names import file_name, version_of

INCOMING = ".incoming"
MARK = ".job"
#: Seconds after which the unfinished files of a worker on another machine are taken to be left over.
ABANDONED = 3600.0
#: Times that the folder of drafts is made where it is removed in the same moment.
TRIES = 5
#: Threads for file systems on which a single write takes long.
THREADS = 8
#: Errors of one name, not of the file system.
_OF_THE_NAME = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def process_name() -> str:
    """Return what no other process has that runs now, on any machine."""
    return f"{socket.gethostname()}-{os.getpid()}"


def worker_name() -> str:
    """Return an id that no other process start has had: host, process and a random part."""
    return f"{process_name()}-{os.urandom(4).hex()}"


def draft_of(name: str) -> str:
    """Return the name of the draft of a file, in a directory where others may write the same one."""
    return f".{name.lstrip('.')}~{process_name()}"


class FileStore:
    """Keeps the Store contract in one directory; `slow` is for network file systems, written by a few threads."""

    def __init__(self, root: Path, worker: str, *, slow: bool = False) -> None:
        self._root = root
        self._folders = Folders(root)
        self._worker = worker
        self._incoming = f"{INCOMING}/{worker}"
        self._count = 0
        self._pool = ThreadPoolExecutor(THREADS, "store") if slow else None
        try:
            self._make_incoming()
        except OSError as error:
            raise StoreError(f"cannot write below {root}: {error.strerror}") from error

    def _make_incoming(self) -> None:
        """Make the folder of our drafts, also while others that come or go remove the one above it."""
        for _ in range(TRIES):
            try:
                self._folders.open(self._incoming)
                return
            except FileNotFoundError:
                self._folders.forget()
        self._folders.open(self._incoming)

    def put(self, name: str, body: bytes, done: Callable[[Exception | None], None]) -> None:
        self._count += 1
        draft = str(self._count)
        if self._pool is not None:
            self._pool.submit(self._put, name, body, draft, done)
        else:
            self._put(name, body, draft, done)

    def holds(self, name: str, size: int) -> bool:
        if self._pool is not None:
            return True
        try:
            there = (self._root / name).lstat()
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(there.st_mode) and there.st_size == size

    def probe(self, done: Callable[[Exception | None], None]) -> None:
        if self._pool is not None:
            self._pool.submit(self._probe, done)
        else:
            self._probe(done)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        with contextlib.suppress(OSError):
            if not (self._root / INCOMING).is_dir():
                return
            remove_files(self._folders.open(INCOMING), self._worker)
            os.rmdir(INCOMING, dir_fd=self._folders.open("").descriptor)
        self._folders.forget()

    def _put(self, name: str, body: bytes, draft: str, done: Callable[[Exception | None], None]) -> None:
        try:
            self._rename(self._write(draft, body), draft, name)
        except OSError as error:
            self._discard(draft)
            kind = Unstorable if error.errno in _OF_THE_NAME else StoreError
            done(kind(f"{self._root}/{name}: {error.strerror}"))
        except ValueError as error:  # a NUL in the name
            self._discard(draft)
            done(Unstorable(f"{self._root}/{name!r}: {error}"))
        else:
            done(None)

    def _probe(self, done: Callable[[Exception | None], None]) -> None:
        error: StoreError | None = None
        self._folders.forget()
        try:
            self._discard("probe")
            self._write("probe", bytes(2**20))
        except OSError as trouble:
            error = StoreError(f"{self._root}: {trouble.strerror}")
        finally:
            self._discard("probe")
        done(error)

    def _discard(self, draft: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=self._folders.open(self._incoming).descriptor)

    def _write(self, draft: str, body: bytes) -> Folder:
        """Write a draft, and return the folder that it is in."""
        try:
            incoming = self._folders.open(self._incoming)
            handle = os.open(draft, _NEW, 0o644, dir_fd=incoming.descriptor)
        except FileNotFoundError:
            self._folders.forget()  # swept by someone who took us for gone
            incoming = self._folders.open(self._incoming)
            handle = os.open(draft, _NEW, 0o644, dir_fd=incoming.descriptor)
        try:
            written = os.write(handle, body)
            while written < len(body):
                written += os.write(handle, memoryview(body)[written:])
        finally:
            os.close(handle)
        return incoming

    def _rename(self, incoming: Folder, draft: str, name: str) -> None:
        """Put a draft into its place; a link or whatever has its name there is replaced, not followed."""
        folder, _, last = name.rpartition("/")
        check(last)
        try:
            place = self._folders.open(folder)
            os.rename(draft, last, src_dir_fd=incoming.descriptor, dst_dir_fd=place.descriptor)
        except FileNotFoundError:
            self._folders.forget()  # the folder was removed
            place = self._folders.open(folder)
            os.rename(draft, last, src_dir_fd=incoming.descriptor, dst_dir_fd=place.descriptor)


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

    def mark(self, job_id: str) -> None:
        mark(self.path, job_id)

    def check_mark(self, job_id: str) -> None:
        check_mark(self.path, job_id)

    def open_store(self, worker: str, *, slow: bool = False) -> FileStore:
        return FileStore(self.path, worker, slow=slow)

    def open_archive(self) -> FileArchive:
        return FileArchive(self.path)

    def versions(self, url: str) -> list[str]:
        folder, is_version = version_of(url)
        try:
            return [f"{folder}/{name}" for name in names_below(self.path, folder) if is_version.fullmatch(name)]
        except OSError as error:
            raise StoreError(f"{self.path / folder} cannot be read: {error.strerror}") from error

    def with_content(self, sha256: str) -> list[str]:
        found = []
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder) / name
                if f"-{sha256[:12]}." in name and not path.is_symlink() and _sha256(path) == sha256:
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


def sweep(root: Path, living: frozenset[str] = frozenset(), *, finished: bool = False) -> None:
    """Remove what workers that are gone left unfinished.

    Gone is a process of this machine that does not run, one of another machine that wrote nothing for an hour, and
    when the run is `finished` everyone who is not in `living`.
    """
    for draft in root.glob(".*~*"):
        with contextlib.suppress(OSError):
            if draft.is_file() and _has_ended(draft.name.rpartition("~")[2], draft.stat().st_mtime):
                draft.unlink()
    if not (names := names_in(root, INCOMING)) and not (root / INCOMING).is_dir():
        return
    with contextlib.suppress(OSError):
        folder = Folders(root).open(INCOMING)
        for name in names:
            if name not in living and (finished or _is_gone(folder, name)):
                remove_files(folder, name)
        (root / INCOMING).rmdir()


def _is_gone(folder: Folder, name: str) -> bool:
    with contextlib.suppress(OSError):
        found = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        return _has_ended(name.rpartition("-")[0], found.st_mtime)
    return False


def _has_ended(process: str, last_wrote: float) -> bool:
    host, _, number = process.rpartition("-")
    return not _runs(number) if host == socket.gethostname() else time.time() - last_wrote > ABANDONED


def _runs(process: str) -> bool:
    """Tell whether a process of this machine has this number."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def mark(root: Path, job_id: str) -> None:
    """Write the job's random id into its directory, so that workers can tell whether they see the same one.

    Raises NotShared where the directory is another job's.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if _marked(root) not in (None, job_id):
            raise NotShared(
                f"{root} belongs to another job, whose state is elsewhere or was removed: choose another --output or "
                f"--job, make its state anew with --adopt, or remove {root / MARK} to let this job have it"
            )
        draft = root / draft_of(MARK)
        write_file(draft, f"{job_id}\n".encode())
        draft.replace(root / MARK)
    except OSError as error:
        raise StoreError(f"cannot write below {root}: {error.strerror}; choose another --output") from error


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
