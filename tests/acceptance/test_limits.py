"""A run that stops at a limit exits with 3 and names it; the same command without the limit ends the run whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acceptance.here import Here, asked, page
from servers.faulty import FaultySite
from servers.pictures import jpeg

IMAGES = [f"/i/{n}.jpg" for n in range(64)]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    """64 images of 4 kB that take 1.6 seconds in all."""
    with FaultySite() as made:
        made.add("/", page(*IMAGES), "text/html")
        for n, path in enumerate(IMAGES):
            made.slow(path, jpeg(n, 4000), 0.2)
        yield made


@pytest.mark.parametrize(
    ("flag", "value", "most"),
    [("--max-images", "30", 30), ("--max-time", "2", 63), ("--max-bytes", "100k", 63), ("--min-free", "8000T", 0)],
)
def test_a_limit_is_resumable(here: Here, site: FaultySite, flag: str, value: str, most: int) -> None:
    code, _, errors = here.crawl(site.url, flag, value)
    assert code == 3, errors
    assert f"run 1 stopped at {flag}" in errors
    assert "no image was found" not in errors, "it was not looked for to the end"
    assert len(list(here.output.rglob("*.jpeg"))) <= most
    code, _, errors = here.crawl(site.url)
    assert code == 0, errors
    assert "resuming" in errors and "run 1 finished" in errors
    assert sorted(asked(site)) == sorted(IMAGES), "each was fetched once"
    assert sorted(here.rows("metadata.jsonl")) == sorted(site.url + path for path in IMAGES)
    assert here.is_clean()
