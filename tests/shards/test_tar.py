"""Whatever is put into a tar, other programs read it back."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.shards import tar
from crawler.shards.tar import BLOCK, TarWriter, header

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=25).filter(
    lambda name: "/" not in name and "\\" not in name and name not in (".", "..")
)
BODIES = st.one_of(
    st.binary(max_size=3 * BLOCK), st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10**5]).map(bytes)
)


def write(path: Path, members: dict[str, bytes], mtime: int = 1_700_000_000) -> TarWriter:
    writer = TarWriter(path, mtime)
    for name, body in members.items():
        writer.add((name, body))
    writer.finish()
    return writer


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None)
@given(members=st.dictionaries(NAMES, BODIES, max_size=8), mtime=st.integers(0, 8**11 - 1))
def test_what_is_added_is_read_back(members: dict[str, bytes], mtime: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.tar")
        writer = write(path, members, mtime)
        assert read(path) == members
        with tarfile.open(path, "r:") as archive:
            assert {member.mtime for member in archive} <= {mtime}
            assert all(member.isreg() and member.mode == 0o644 for member in archive)
        assert path.stat().st_size == writer.size + 2 * BLOCK
        assert writer.size % BLOCK == 0


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.from_regex(r"[0-9]{9}\.(jpg|json|txt)", fullmatch=True), BODIES, max_size=6))
def test_gnu_tar_reads_it_without_a_word(members: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.tar")
        write(path, members)
        done = subprocess.run(["tar", "--extract", "--file", path, "--directory", folder], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert {name: Path(folder, name).read_bytes() for name in members} == members


@given(name=st.binary(min_size=1, max_size=100).filter(lambda name: b"\0" not in name), size=st.integers(0, 8**11 - 1))
def test_a_header_has_its_checksum(name: bytes, size: int) -> None:
    block = header(name, size, 0)
    assert len(block) == BLOCK
    told = int(block[148:154], 8)
    assert block[154:156] == b"\0 " and told == sum(block[:148] + b" " * 8 + block[156:])
    assert tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size == size


def test_much_is_written_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "_GATHERED", 4 * BLOCK)
    writer = TarWriter(tmp_path / "t.tar", 0)
    for number in range(20):
        writer.add((f"{number}.jpg", bytes(BLOCK)))
    assert (tmp_path / "t.tar").stat().st_size > 10 * BLOCK
    writer.finish()
    assert len(read(tmp_path / "t.tar")) == 20


def test_what_the_system_takes_in_part_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"{number}.txt": bytes([number % 256]) * number for number in range(2000)}
    monkeypatch.setattr(tar.os, "writev", lambda handle, pieces: os.write(handle, b"".join(pieces)[:700]))
    write(tmp_path / "t.tar", members)
    assert read(tmp_path / "t.tar") == members


def test_more_pieces_than_the_system_takes_at_once(tmp_path: Path) -> None:
    members = {f"{number}.txt": b"" for number in range(3000)}
    writer = TarWriter(tmp_path / "t.tar", 0)
    writer.add(*members.items())
    writer.finish()
    assert read(tmp_path / "t.tar") == members


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        TarWriter(tmp_path / "t.tar", 0)
    assert (tmp_path / "t.tar").read_bytes() == b"mine"


def test_members_of_another_are_taken_as_they_are(tmp_path: Path) -> None:
    first = write(tmp_path / "a.tar", {"a": b"1", "b": bytes(1000)})
    second = TarWriter(tmp_path / "b.tar", 0)
    second.append((tmp_path / "a.tar").read_bytes()[: first.size])
    second.add(("c", b"3"))
    second.finish()
    assert read(tmp_path / "b.tar") == {"a": b"1", "b": bytes(1000), "c": b"3"}


def test_abandoning_twice_is_harmless(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path / "t.tar", 0)
    writer.add(("a", b"1"))
    writer.abandon()
    writer.abandon()
