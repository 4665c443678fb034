from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def the_log_as_it_was() -> Iterator[None]:
    """Undo what a door does to the log of its process."""
    root = logging.getLogger("crawler")
    handlers, propagate, level = root.handlers[:], root.propagate, root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)
