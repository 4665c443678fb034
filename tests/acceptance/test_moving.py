"""A job that moves to another place, one that goes back to an older copy of its state, and one of another version."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.here import Here, asked, kill_all, page, wait_for
from crawler.brokers.schema import VERSION
from servers.faulty import FaultySite
from servers.pictures import png

IMAGES = [f"/i/{n}.png" for n in range(30)]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        name(made, IMAGES)
        yield made


def name(site: FaultySite, images: list[str]) -> None:
    """Let the site's page name these images."""
    site.add("/", page(*images), "text/html")
    for path in images:
        site.add(path, png(int(re.sub(r"\D", "", path))), headers={"ETag": f'"{path}"'})


def database(folder: Here) -> Path:
    return folder.state / "j" / "queue.sqlite"


def copy_of_state(folder: Here) -> Path:
    """Copy the state as one does while the job runs (docs/nights.md)."""
    copy = folder.folder / "queue.copy"
    copy.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(database(folder))) as state:
        state.execute("VACUUM INTO ?", (str(copy),))
    return copy


def restore(folder: Here, copy: Path) -> None:
    """Put a copy in the place of the state (docs/nights.md)."""
    for left in ("queue.sqlite", "queue.sqlite-wal", "queue.sqlite-shm", "printed"):
        (folder.state / "j" / left).unlink(missing_ok=True)
    shutil.copy(copy, database(folder))


def results(path: Path) -> int:
    """Return how many tasks were worked, by a state that is whole."""
    with contextlib.closing(sqlite3.connect(path)) as state:
        assert state.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(state.execute("SELECT count(*) FROM settled WHERE outcome NOT NULL").fetchone()[0])


def files(folder: Here) -> dict[str, bytes]:
    root = folder.output / "j"
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.png")}


def outcomes(folder: Here) -> dict[str, int]:
    rows: list[dict[str, Any]] = [*folder.rows("metadata.jsonl").values(), *folder.rows("failures.jsonl").values()]
    found = [row["outcome"] for row in rows]
    return {outcome: found.count(outcome) for outcome in found}


def moved(here: Here) -> Here:
    """Copy what a job has, as `cp -a` does, and return the place where it is then."""
    there = Here(here.folder / "elsewhere")
    shutil.copytree(here.state, there.state)
    shutil.copytree(here.output, there.output)
    return there


def crawl(folder: Here, site: FaultySite, *flags: str) -> tuple[int, str]:
    code, _, errors = folder.crawl(site.url, "--quiet", "--state", str(folder.state), *flags)
    assert "Traceback" not in errors
    return code, errors


@pytest.mark.parametrize("limit", [(), ("--max-images", "10")], ids=["after its end", "in the middle"])
def test_a_job_that_moved_goes_on(here: Here, site: FaultySite, limit: tuple[str, ...]) -> None:
    assert crawl(here, site, *limit)[0] == (3 if limit else 0)
    before, requests = files(here), len(asked(site))
    there = moved(here)
    shutil.rmtree(here.output)
    shutil.rmtree(here.state)
    code, errors = crawl(there, site)
    assert code == 0 and f"files   {there.output}/j" in errors, errors
    assert outcomes(there) == ({"success": 30} if limit else {"unchanged": 30})
    assert len(asked(site)) - requests == (20 if limit else 30), "each is asked for once, in the second night for news"
    assert not here.output.exists() and before.items() <= files(there).items() and there.is_clean()
    assert crawl(there, site)[0] == 0 and outcomes(there) == {"unchanged": 30}


@pytest.mark.parametrize("lost", ["output", "mark", "state"])
def test_half_of_a_job_is_refused_and_nothing_touched(here: Here, site: FaultySite, lost: str) -> None:
    assert crawl(here, site)[0] == 0
    before, requests = files(here), len(asked(site))
    if lost == "output":
        here.output.rename(here.folder / "not mounted")
        said = r"job j has images, but \S+ is gone: mount it or name its place with --output"
    elif lost == "mark":
        (here.output / "j" / ".job").unlink()
        said = r"job j has images, but \S+ is gone: mount it or name its place with --output"
    else:
        shutil.rmtree(here.state)
        said = r"\S+ belongs to another job, whose state is elsewhere or was removed: .* or remove \S+\.job to let"
    for _ in range(2):
        code, errors = crawl(here, site)
        assert code == 2 and re.match(rf"crawler: {said}", errors) and errors.count("\n") == 1, errors
    assert len(asked(site)) == requests
    if lost != "output":
        assert files(here) == before


def test_images_without_their_state_are_fetched_anew_under_their_names(here: Here, site: FaultySite) -> None:
    assert crawl(here, site)[0] == 0
    before = files(here)
    shutil.rmtree(here.state)
    (here.output / "j" / ".job").unlink()
    code, errors = crawl(here, site)
    assert code == 0 and "run 1 finished" in errors and outcomes(here) == {"success": 30}
    assert files(here) == before and here.is_clean()


def test_an_older_copy_ends_well_and_nothing_is_lost(here: Here, site: FaultySite) -> None:
    """After the copy images came, changed and went; what the copy does not know is found again, or stays as a file."""
    assert crawl(here, site)[0] == 0
    copy = copy_of_state(here)
    site.add("/i/0.png", png(900), headers={"ETag": '"changed"'})
    site.add("/", page(*IMAGES, "/i/31.png", "/i/32.png"), "text/html")
    for path in ("/i/31.png", "/i/32.png"):
        site.add(path, png(int(path[3:5])))
    assert crawl(here, site)[0] == 0
    later, requests = files(here), len(asked(site))
    assert len(later) == 33, "the old picture of the one that changed is there, too"
    site.add("/", page(*IMAGES, "/i/31.png"), "text/html")
    restore(here, copy)
    code, errors = crawl(here, site)
    assert code == 0 and "run 2 finished" in errors, errors
    assert "images  2 success, 29 unchanged" in errors, "what came or changed since the copy is fetched again"
    assert len(asked(site)) - requests == 31
    assert files(here) == later, "no file is another one, or gone"
    rows = here.rows("metadata.jsonl")
    assert len(rows) == 31 and rows[f"{site.url}/i/0.png"]["previous"], "nobody names 32.png any more: a file, no row"
    assert crawl(here, site)[0] == 0 and outcomes(here) == {"unchanged": 31}


def test_a_copy_of_a_run_that_was_killed_later(here: Here, site: FaultySite) -> None:
    """The log that was written ahead belongs to the state that is replaced."""
    for n, path in enumerate(IMAGES):
        site.slow(path, png(n), 0.3)
    door = here.start("crawler", *here.job(site.url, "--requests-per-host", "1", "--state", str(here.state)))
    wait_for(lambda: len(asked(site)) > 5)
    copy = copy_of_state(here)
    wait_for(lambda: results(database(here)) > results(copy))
    kill_all(door)
    before = files(here)
    assert database(here).with_name("queue.sqlite-wal").exists()
    restore(here, copy)
    assert results(database(here)) == results(copy), "what was written ahead later would be in it again"
    code, errors = crawl(here, site)
    assert code == 0 and "run 1 finished" in errors, errors
    assert outcomes(here) == {"success": 30} and before.items() <= files(here).items() and here.is_clean()


def test_a_copy_is_whole_while_the_job_writes(here: Here, site: FaultySite) -> None:
    door = here.start("crawler", *here.job(site.url, "--delay", "0.1", "--state", str(here.state)))
    wait_for(lambda: len(asked(site)) > 5)
    copies = [copy_of_state(here).rename(here.folder / f"copy-{number}") for number in range(5)]
    _, errors = door.communicate(timeout=60)
    assert door.returncode == 0, errors
    known = [results(copy) for copy in copies]
    assert known[0] > 0 and known == sorted(known) and results(database(here)) > len(IMAGES)


def test_result_lines_after_an_older_copy(here: Here, site: FaultySite) -> None:
    """How far lines were printed is told by a file beside the state, which goes with what is replaced."""
    listen = ["--site", site.url, "--listen", "127.0.0.1:0", "--processes", "1", "--state", str(here.state)]
    copies: list[Path] = []
    for _ in range(2):
        code, out, errors = here.run("crawler.collect", *here.job(*listen))
        assert code == 0 and out.count("--->") == 30, errors
        copies.append(copy_of_state(here).rename(here.folder / f"copy-{len(copies)}"))
    restore(here, copies[0])
    code, out, errors = here.run("crawler.collect", *here.job(*listen))
    assert code == 0 and {line.partition("--->")[0] for line in out.splitlines()} == {site.url + i for i in IMAGES}


@pytest.mark.parametrize("version", [VERSION + 1, 3])
def test_a_state_of_another_version_is_refused(here: Here, site: FaultySite, version: int) -> None:
    assert crawl(here, site)[0] == 0
    with contextlib.closing(sqlite3.connect(database(here))) as state:
        state.execute(f"PRAGMA user_version={version}")
    before, requests = files(here), len(asked(site))
    code, errors = crawl(here, site)
    said = f"crawler: the state {database(here)} has version {version}, this program reads versions 4 to {VERSION}; "
    assert (code, errors) == (2, f"{said}use the program that made it, or another --state\n")
    code, out, _ = here.run("crawler.status", "--state", str(here.state))
    assert code == 2 and out.startswith("j: cannot be read: ")
    assert files(here) == before and len(asked(site)) == requests
    with contextlib.closing(sqlite3.connect(database(here))) as state:
        state.execute(f"PRAGMA user_version={VERSION}")
    assert crawl(here, site)[0] == 0 and outcomes(here) == {"unchanged": 30}, "the program that made it goes on"


def test_the_key_moves_with_the_state(here: Here, site: FaultySite) -> None:
    """A machine of which it was not copied makes another, which workers elsewhere do not have."""
    assert crawl(here, site)[0] == 0
    there = moved(here)
    assert (there.state / "key").read_bytes() == (here.state / "key").read_bytes()
    (there.state / "key").unlink()
    assert crawl(there, site)[0] == 0
    assert (there.state / "key").read_bytes() != (here.state / "key").read_bytes()
    assert (there.state / "key").stat().st_mode & 0o077 == 0
