"""A disk that is full or read-only pauses the workers; they go on by themselves, and no image has paid for it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.fleet.shards import read_shards
from acceptance.here import Here, asked, page, permitted, wait_for
from servers.faulty import FaultySite
from servers.pictures import jpeg

IMAGES = [f"/i/{n}.jpg" for n in range(160)]


@pytest.fixture
def disk(here: Here) -> Iterator[Path]:
    """The output on a file system of its own, with room for half of the site."""
    here.output.mkdir()
    permitted("mount", "-t", "tmpfs", "-o", "size=1m", "crawler-test", str(here.output))
    yield here.output
    subprocess.run(["umount", "--lazy", str(here.output)], check=True)


@pytest.fixture
def site() -> Iterator[FaultySite]:
    """160 images of 12 kB that take 2 seconds in all."""
    with FaultySite() as made:
        made.add("/", page(*IMAGES), "text/html")
        for n, path in enumerate(IMAGES):
            made.slow(path, jpeg(n), 0.1)
        yield made


def remount(disk: Path, option: str) -> bool:
    """Change the file system; False while a file that is being written prevents it."""
    return subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], capture_output=True).returncode == 0


def is_saved_whole(here: Here, site: FaultySite) -> bool:
    assert not here.rows("failures.jsonl")
    assert sorted(here.rows("metadata.jsonl")) == sorted(site.url + path for path in IMAGES)
    return here.is_clean()


def nothing_is_burnt(here: Here) -> bool:
    """Tell that images wait, and that no attempt was counted against them."""
    with contextlib.closing(sqlite3.connect(here.state / "j" / "queue.sqlite")) as state:
        return state.execute("SELECT max(attempts), max(lost) FROM waiting").fetchone() == (0, 0)


@pytest.mark.parametrize(
    ("trouble", "message", "cure"),
    [("size=1m", "No space left on device", "size=16m"), ("ro,size=16m", "Read-only file system", "rw")],
    ids=["full", "read-only"],
)
def test_the_workers_wait_and_go_on(
    here: Here, disk: Path, site: FaultySite, trouble: str, message: str, cure: str
) -> None:
    door = here.start("crawler", *here.job(site.url, "--processes", "1", "--log-file", str(here.log)))
    wait_for(lambda: len(list(disk.rglob("*.jpeg"))) > 20)
    wait_for(lambda: remount(disk, trouble))
    wait_for(lambda: here.said("waiting until files can be written again"))
    assert here.said(message)
    time.sleep(1.0)  # for what is under way
    before = len(asked(site))
    time.sleep(1.0)
    assert len(asked(site)) == before, "nothing is fetched that cannot be kept"
    assert nothing_is_burnt(here)
    assert door.poll() is None and remount(disk, cure)
    _, errors = door.communicate(timeout=30)
    assert door.returncode == 0, errors
    assert here.said("files can be written again; going on")
    assert is_saved_whole(here, site)


@pytest.mark.alone
def test_the_time_limit_ends_a_run_that_waits(here: Here, disk: Path, site: FaultySite) -> None:
    began = time.monotonic()
    code, _, errors = here.crawl(site.url, "--processes", "1", "--max-time", "5")
    assert code == 3 and "stopped at --max-time" in errors
    assert "No space left on device" in errors and time.monotonic() - began < 15
    assert nothing_is_burnt(here)
    assert remount(disk, "size=16m")
    assert here.crawl(site.url, "--processes", "1")[0] == 0
    assert is_saved_whole(here, site)


@pytest.fixture
def state_disk(here: Here) -> Iterator[Path]:
    """The state on a file system of its own, with room for it."""
    disk = here.folder / "state"
    disk.mkdir()
    permitted("mount", "-t", "tmpfs", "-o", "size=16m", "crawler-test", str(disk))
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk, and return the file that takes it."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def test_a_state_that_cannot_be_written_ends_the_run_with_a_word(
    here: Here, state_disk: Path, site: FaultySite
) -> None:
    door = here.start("crawler", *here.job(site.url, "--requests-per-host", "1", "--quiet"))
    wait_for(lambda: asked(site))
    filled = fill(state_disk)
    _, errors = door.communicate(timeout=60)
    assert door.returncode == 2 and "Traceback" not in errors, errors
    assert f"the state in {here.state / 'j'} cannot be written: " in errors
    code, _, errors = here.crawl(site.url, "--quiet")
    assert code == 2 and "cannot be" in errors and "Traceback" not in errors, errors
    assert errors.count("\n") == 1, "one line is the whole mail"
    filled.unlink()
    code, _, errors = here.crawl(site.url)
    assert code == 0 and is_saved_whole(here, site), errors


def test_shards_wait_for_room(here: Here, disk: Path, site: FaultySite) -> None:
    """What is in a shard that cannot be written is fetched again, and nothing of it is left."""
    flags = ("--store", "shards", "--shard-samples", "20", "--log-file", str(here.log), "--lease", "3")
    door = here.start("crawler", *here.job(site.url, "--processes", "1", *flags))
    wait_for(lambda: here.said("No space left on device"))
    assert here.said("waiting until files can be written again")
    assert remount(disk, "size=32m")
    _, errors = door.communicate(timeout=60)
    assert door.returncode == 0 and here.said("files can be written again; going on"), errors
    found = read_shards(here.output / "j")
    assert not found.torn and set(found.rows.values()) == {1} and len(found.samples) == len(IMAGES)
    there = {f"shards/{path.name}" for path in (here.output / "j" / "shards").iterdir()}
    assert there == found.names and not (here.output / "j" / ".incoming").exists()
