"""The house has floors: what stands higher may import what stands lower, never the other way round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: From top to bottom. Modules of one floor may import each other, except the rooms.
FLOORS = [
    "__main__ collect download inspect status export forget",
    "conduct",
    "crawl workers inspector jobs exporter assembly lookup takedown adopting",
    "reading",
    "hosting building checks sites door signing",
    "parsing",
    "flags",
    "settings processes",
    "lines datasets recheck limits conclusion failures pruning keeper spill report report_page notice tables sighting",
    "manifest",
    "bar supervisor progress ledger logs",
    "logfile",
    "sources pages images brokers stores",
    "pooled",
    "work",
    "exchange courier",
    "answers",
    "robots guard urls outputs paths targets access optout traps proxies coding leave refresh similarity digests",
    "contracts turns",
    "account spec",
    "captions shards",
    "mentions",
    "model",
    "transforms",
    "child forking",
    "outcomes",
    "errors",
    "shown dates lasting",
]
ROOMS = frozenset("sources pages images brokers stores".split())
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names.split()}


def part_of(module: str) -> str:
    """Return the file or folder right below `crawler` that a module is in; `""` for the package itself."""
    return module.removeprefix("crawler").lstrip(".").partition(".")[0]


def imported_by(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, wherever in it, also for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "crawler")
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide the floor that they lead to"
            if node.module == "crawler":
                yield from (f"crawler.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            elif node.module and node.module.startswith("crawler."):
                yield node.module


FILES = sorted((ROOT / "crawler").rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_upward_and_no_room_another(path: Path) -> None:
    ours = part_of(name_of(path))
    if not ours:
        assert not list(imported_by(path))
        return
    for module in imported_by(path):
        theirs = part_of(module)
        assert FLOOR_OF[theirs] >= FLOOR_OF[ours], f"{name_of(path)} imports {module}, which stands above it"
        assert ours == theirs or not {ours, theirs} <= ROOMS, f"the room {ours} imports the room {theirs}: {module}"


def test_every_part_has_its_floor() -> None:
    parts = {part_of(name_of(path)) for path in FILES} - {""}
    assert not parts - FLOOR_OF.keys()


def test_an_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nimport crawler.urls\nfrom crawler import logs, __version__\n"
        "if TYPE_CHECKING:\n    from crawler.model import Task\ndef f():\n    from crawler.pages.loop import PageLoop\n"
    )
    assert set(imported_by(file)) == {"crawler.urls", "crawler.logs", "crawler.model", "crawler.pages.loop"}
