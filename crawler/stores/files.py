"""Images as files: written beside, checked, renamed into place."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crawler.errors import StoreError, Unstorable
from crawler.stores.folders import (
    Folder,
    Folders,
    check,
    names_in,
    remove_files,
)

INCOMING = ".incoming"
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
        draft = self._next_draft()
        if self._pool is not None:
            self._pool.submit(self._put, name, body, draft, done)
        else:
            self._put(name, body, draft, done)

    def put_now(self, name: str, body: bytes) -> bool:
        if self._pool is not None:
            return False
        self._store(name, body, self._next_draft())
        return True

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

    def _next_draft(self) -> str:
        self._count += 1
        return str(self._count)

    def _put(self, name: str, body: bytes, draft: str, done: Callable[[Exception | None], None]) -> None:
        try:
            self._store(name, body, draft)
        except StoreError as error:
            done(error)
        else:
            done(None)

    def _store(self, name: str, body: bytes, draft: str) -> None:
        """Write a draft and put it into its place; raises StoreError, and then nothing is left of it."""
        try:
            self._rename(self._write(draft, body), draft, name)
        except OSError as error:
            self._discard(draft)
            kind = Unstorable if error.errno in _OF_THE_NAME else StoreError
            raise kind(f"{self._root}/{name}: {error.strerror}") from error
        except ValueError as error:  # a NUL in the name
            self._discard(draft)
            raise Unstorable(f"{self._root}/{name!r}: {error}") from error

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
