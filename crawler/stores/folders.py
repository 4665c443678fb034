"""What lies below a job's directory, by descriptors: no link that somebody planted there leads out of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections import OrderedDict
from os import close
from pathlib import Path

#: Folders that are kept open, and for how many seconds.
MOST_OPEN = 256
FRESH = 1.0
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW = _FOLDER | os.O_NOFOLLOW


class Folder:
    """A folder that stays open as long as someone uses it."""

    __slots__ = ("descriptor", "until")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.until = time.monotonic() + FRESH

    def __del__(self) -> None:
        close(self.descriptor)


class Folders:
    """Opens and makes folders below `root`, each part of a path without following links; threads may share it.

    The way to `root` itself is the user's and may have links. One that was removed is noticed when something is to be
    put into it: FileNotFoundError, after which `forget` makes all be looked for anew. One that was moved away goes on
    to be used for up to FRESH seconds, and what is stored meanwhile goes along, as all did that was stored before: as
    if it had been moved that much later. It cannot lead anywhere that whoever moved it could not have moved files to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: OrderedDict[str, Folder] = OrderedDict()

    def open(self, path: str) -> Folder:
        """Return the folder at `path`, made where it is missing; raises OSError where something else is there."""
        folder = self._open.get(path)
        if folder is None or folder.until < time.monotonic():
            folder = Folder(self._open_below(path) if path else self._open_root())
            self._open.pop(path, None)
            self._open[path] = folder
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return folder

    def forget(self) -> None:
        """Look for all folders anew."""
        self._open.clear()

    def _open_root(self) -> int:
        try:
            return os.open(self._root, _FOLDER)
        except FileNotFoundError:
            self._root.mkdir(parents=True, exist_ok=True)
            return os.open(self._root, _FOLDER)

    def _open_below(self, path: str) -> int:
        above, _, name = path.rpartition("/")
        check(name)
        folder = self.open(above)
        try:
            return os.open(name, _BELOW, dir_fd=folder.descriptor)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder.descriptor)
            return os.open(name, _BELOW, dir_fd=folder.descriptor)


def check(name: str) -> None:
    """Raise OSError for names that are other folders than those in which they stand."""
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)


def names_in(root: Path, name: str) -> list[str]:
    """Return what is in the folder `name` right below `root`, nothing where it is a link or missing."""
    try:
        handle = os.open(root / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return os.listdir(handle)  # noqa: PTH208
    finally:
        close(handle)


def remove_file(root: Path, name: str) -> bool:
    """Remove a file below `root`, and folders on the way to it that are empty then; tell whether it was there.

    Raises OSError where it cannot be removed.
    """
    *folders, last = name.split("/")
    handles = [os.open(root, _FOLDER)]
    try:
        for folder in folders:
            check(folder)
            handles.append(os.open(folder, _BELOW, dir_fd=handles[-1]))
        check(last)
        os.unlink(last, dir_fd=handles[-1])
        with contextlib.suppress(OSError):  # it has others
            for folder, above in zip(reversed(folders), reversed(handles[:-1]), strict=True):
                os.rmdir(folder, dir_fd=above)
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        for handle in handles:
            close(handle)
    return True


def names_below(root: Path, path: str) -> list[str]:
    """Return what is in the folder at `path` below `root`, nothing where it is missing or reached by a link."""
    handles = []
    try:
        handles.append(os.open(root, _FOLDER))
        for part in path.split("/"):
            check(part)
            handles.append(os.open(part, _BELOW, dir_fd=handles[-1]))
        handles.append(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handles[-1]))
        return os.listdir(handles[-1])  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    finally:
        for handle in handles:
            close(handle)


def remove_files(folder: Folder, name: str) -> None:
    """Remove the folder `name` in `folder` with its files, as far as that is possible; a link is not followed."""
    with contextlib.suppress(OSError):
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)
        try:
            for each in os.listdir(handle):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    os.unlink(each, dir_fd=handle)
        finally:
            close(handle)
        os.rmdir(name, dir_fd=folder.descriptor)


def read_file(path: Path, most: int) -> bytes:
    """Return the first `most` bytes of a file.

    Raises OSError for a link, and for what is no file: reading a pipe or a device might never end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no file")
        return file.read(most)


def write_file(path: Path, body: bytes) -> None:
    """Write a new file in place of what has this name, be it a link."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(body)
