"""The fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, page
from servers.faulty import FaultySite
from servers.pictures import png


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.close()


@pytest.fixture
def gallery() -> Iterator[FaultySite]:
    """A site of 20 pages with 60 images each."""
    with FaultySite() as site:
        site.add("/", page(links=tuple(f"/p{p}.html" for p in range(20))), "text/html")
        for p in range(20):
            names = [f"/i/{p}-{n}.png" for n in range(60)]
            site.add(f"/p{p}.html", page(*names), "text/html")
            for n, name in enumerate(names):
                site.add(name, png(p * 60 + n))
        yield site
