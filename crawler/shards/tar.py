"""Tar files that are only appended to, in the POSIX.1-1988 (ustar) format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

BLOCK = 512
#: Bytes, and pieces, that are gathered before they are written: the system takes so many at a time.
_GATHERED, _PIECES = 2**20, min(os.sysconf("SC_IOV_MAX"), 1024)
_OWNER = b"0000644\0" + 2 * b"0000000\0"  # mode, user, group
_BLANK = b" " * 8  # the checksum, while it is computed
_REST = b" 0" + bytes(100) + b"ustar\x0000" + bytes(32 + 32) + 2 * b"0000000\0" + bytes(155 + 12)
_ALWAYS = sum(_OWNER) + sum(_BLANK) + sum(_REST) - ord(" ")
_PADDING = [bytes(-size % BLOCK) for size in range(BLOCK)]


def header(name: bytes, size: int, mtime: int) -> bytes:
    """Return the block before a file of `size` bytes (at most 8 GiB) with a `name` of up to 100 bytes."""
    told = b"%011o\0%011o\0" % (size, mtime)
    return b"%b%b%b%06o\0%b" % (name.ljust(100, b"\0"), _OWNER, told, sum(name) + sum(told) + _ALWAYS, _REST)


class TarWriter:
    """Writes a new tar file at `path`; raises OSError where it cannot."""

    def __init__(self, path: Path, mtime: int) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._mtime = mtime
        self.size = 0  #: bytes so far

    def add(self, *files: tuple[str, bytes]) -> None:
        """Add files, each a name and what is in it."""
        pieces: list[bytes] = []
        for name, body in files:
            if len(pieces) + 3 > _PIECES:
                self.size += self._gather(pieces)
                pieces = []
            size = len(body)
            pieces += header(name.encode(), size, self._mtime), body, _PADDING[size % BLOCK]
        self.size += self._gather(pieces)

    def append(self, members: bytes) -> None:
        """Add whole members of another tar file."""
        self.size += self._gather([members])

    def _gather(self, pieces: list[bytes]) -> int:
        """Take pieces as they are (joined, each image would be copied twice more), and return their bytes."""
        size = sum(map(len, pieces))
        is_much = len(self._gathered) + len(pieces) > _PIECES or self._gathered_bytes + size > _GATHERED
        if self._gathered and is_much:
            self._write()
        self._gathered += pieces
        self._gathered_bytes += size
        return size

    def finish(self) -> None:
        """Write the end of the archive, and have all of it on the disk."""
        self._gather([bytes(2 * BLOCK)])
        self._write()
        os.fsync(self._handle)
        self.abandon()

    def abandon(self) -> None:
        """Close the file, as far as it came."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write(self) -> None:
        left = self._gathered_bytes
        written = os.writev(self._handle, self._gathered)
        if written < left:  # the disk is nearly full, or a signal came between
            rest = memoryview(b"".join(self._gathered))
            while written < left:
                written += os.write(self._handle, rest[written:])
        self._gathered.clear()
        self._gathered_bytes = 0


def is_whole(path: Path) -> bool:
    """Tell whether a tar file ends as a TarWriter ends it; raises OSError where it cannot be read."""
    end = bytes(2 * BLOCK)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(end)))
        return size % BLOCK == 0 and file.read() == end


def members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Give name, first byte and size of each file in a tar that a TarWriter wrote.

    Raises ValueError where it is none, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        while (block := file.read(BLOCK)) and block != bytes(BLOCK):
            if len(block) < BLOCK or block[257:263] != b"ustar\0":
                raise ValueError(f"{path} is not whole")
            size = int(block[124:135], 8)
            yield block[:100].rstrip(b"\0").decode(), file.tell(), size
            file.seek(size + -size % BLOCK, os.SEEK_CUR)
