"""Images as files: written beside, checked, renamed into place."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crawler.errors import NotShared, StoreError, Unstorable

INCOMING = ".incoming"
MARK = ".job"
#: Seconds after which the unfinished files of a worker on another machine are taken to be left over.
ABANDONED = 3600.0
#: Threads for file systems on which a single write takes long.
THREADS = 8
#: Errors of one name, not of the file system.
_OF_THE_NAME = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
)


def worker_name() -> str:
    """Return an id that no other process start has had: host, process and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"


class FileStore:
    """Keeps the Store contract in one directory; `slow` is for network file systems, written by a few threads."""

    def __init__(self, root: Path, worker: str, *, slow: bool = False) -> None:
        self._root = root
        self._incoming = root / INCOMING / worker
        self._prefix = f"{root}/"
        self._made: set[str] = set()
        self._count = 0
        self._pool = ThreadPoolExecutor(THREADS, "store") if slow else None
        self._open_incoming()

    def put(self, name: str, body: bytes, done: Callable[[Exception | None], None]) -> None:
        self._count += 1
        draft = f"{self._incoming}/{self._count}"
        if self._pool is not None:
            self._pool.submit(self._put, name, body, draft, done)
        else:
            self._put(name, body, draft, done)

    def probe(self) -> bool:
        """Tell whether a file can be written again."""
        try:
            self._open_incoming()
            path = self._incoming / "probe"
            path.write_bytes(b"\0" * 2**20)
            path.unlink()
        except (OSError, StoreError):
            return False
        return True

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        shutil.rmtree(self._incoming, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._incoming.parent.rmdir()

    def _open_incoming(self) -> None:
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write below {self._root}: {error.strerror}") from error

    def _put(self, name: str, body: bytes, draft: str, done: Callable[[Exception | None], None]) -> None:
        try:
            self._write(draft, body)
            self._rename(draft, name)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(draft)  # noqa: PTH108
            kind = Unstorable if error.errno in _OF_THE_NAME else StoreError
            done(kind(f"{self._prefix}{name}: {error.strerror}"))
        except ValueError as error:  # a NUL in the name
            os.unlink(draft)  # noqa: PTH108
            done(Unstorable(f"{self._prefix}{name!r}: {error}"))
        else:
            done(None)

    def _write(self, draft: str, body: bytes) -> None:
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileNotFoundError:
            self._open_incoming()  # swept by someone who took us for gone
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            written = os.write(handle, body)
            while written < len(body):
                written += os.write(handle, memoryview(body)[written:])
        finally:
            os.close(handle)

    def _rename(self, draft: str, name: str) -> None:
        folder = name.rpartition("/")[0]
        if folder not in self._made:
            os.makedirs(self._prefix + folder, exist_ok=True)  # noqa: PTH103
            self._made.add(folder)
        try:
            os.rename(draft, self._prefix + name)  # noqa: PTH104
        except FileNotFoundError:
            os.makedirs(self._prefix + folder, exist_ok=True)  # noqa: PTH103
            os.rename(draft, self._prefix + name)  # noqa: PTH104


def sweep(root: Path, living: frozenset[str] = frozenset(), *, finished: bool = False) -> None:
    """Remove what workers that are gone left unfinished.

    Gone is a process of this machine that does not run, one of another machine that wrote nothing for an hour, and
    when the run is `finished` everyone who is not in `living`.
    """
    for draft in root.glob(".*.[0-9]*"):  # of ledger and mark: `.metadata.jsonl.<process>`
        if draft.is_file() and not _runs(draft.name.rpartition(".")[2]):
            draft.unlink(missing_ok=True)
    try:
        names = os.listdir(root / INCOMING)  # noqa: PTH208
    except FileNotFoundError:
        return
    for name in names:
        if name not in living and (finished or _is_gone(root / INCOMING / name)):
            shutil.rmtree(root / INCOMING / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        (root / INCOMING).rmdir()


def _is_gone(folder: Path) -> bool:
    host, _, process = folder.name.rpartition("-")[0].rpartition("-")
    if host == socket.gethostname():
        return not _runs(process)
    with contextlib.suppress(OSError):
        return time.time() - folder.stat().st_mtime > ABANDONED
    return False


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
        if (root / MARK).exists() and (root / MARK).read_text(errors="replace").strip() != job_id:
            raise NotShared(
                f"{root} belongs to another job, whose state is elsewhere or was removed: choose another --output or "
                f"--job, or remove {root / MARK} to let this job have it"
            )
        draft = root / f"{MARK}.{os.getpid()}"
        draft.write_text(job_id + "\n")
        draft.replace(root / MARK)
    except OSError as error:
        raise StoreError(f"cannot write below {root}: {error.strerror}; choose another --output") from error


def check_mark(root: Path, job_id: str) -> None:
    """Raise NotShared where `root` is not the directory that the collector marked with `job_id`."""
    try:
        seen = (root / MARK).read_text(errors="replace").strip()
    except OSError:
        seen = ""
    if seen != job_id:
        raise NotShared(
            f"{root} is not the collector's directory: its file {MARK} is {'another' if seen else 'not there'}. Mount "
            "the shared directory here and name it with --output, or pass --keep-local to keep the images here"
        )
