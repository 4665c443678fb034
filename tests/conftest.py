from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # where other tests run beside it, an example's time says nothing, as in CI
    settings.register_profile(
        "beside-others", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("beside-others")


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
