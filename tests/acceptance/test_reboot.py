"""After the machine went down: what was saved shortly before is looked at, and what is not whole is fetched again."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, page
from servers.faulty import FaultySite
from servers.pictures import jpeg

IMAGES = [f"/i/{n}.jpg" for n in range(40)]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.add("/", page(*IMAGES), "text/html")
        for n, path in enumerate(IMAGES):
            made.add(path, jpeg(n, 4000))
        yield made


def boot_again(here: Here) -> None:
    """Let the state be one that was written before the machine started."""
    with sqlite3.connect(here.state / "j" / "queue.sqlite") as state:
        assert state.execute("UPDATE meta SET value = 'another boot' WHERE key = 'boot_id'").rowcount == 1
    state.close()


def lose(folder: Path) -> set[str]:
    """Do to five files what a power cut does, and return the paths of their URLs."""
    files = sorted(folder.rglob("*.jpeg"))[:5]
    for number, file in enumerate(files):
        if number < 2:
            file.unlink()
        elif number < 4:
            file.write_bytes(b"" if number == 2 else file.read_bytes()[:2000])
        else:
            file.write_bytes(bytes(4000))  # as long as it was, and never written
    return {f"/i/{file.name.partition('-')[0]}.jpg" for file in files}


@pytest.mark.parametrize("limit", [("--max-images", "20"), ()], ids=["in the middle", "after the end"])
def test_what_was_lost_is_fetched_again(here: Here, site: FaultySite, limit: tuple[str, ...]) -> None:
    code, _, errors = here.crawl(site.url, *limit)
    assert code == (3 if limit else 0), errors
    boot_again(here)
    lost = lose(here.output)
    code, _, errors = here.crawl(site.url)
    assert code == 0 and "5 files did not survive the restart of the machine" in errors
    assert Counter(asked(site)) == {path: 1 + (path in lost) for path in IMAGES}
    assert sorted(here.rows("metadata.jsonl")) == sorted(site.url + path for path in IMAGES)
    assert here.is_clean()


def test_what_was_lost_without_a_restart_is_noticed_by_its_size(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url)[0] == 0
    lose(here.output)
    code, _, errors = here.crawl(site.url)
    assert code == 0 and "did not survive" not in errors
    assert len(asked(site)) == len(IMAGES) + 4, "not the one that is as long as it was"
