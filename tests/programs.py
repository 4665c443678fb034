"""Programs of the system that some tests run."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(name: str) -> str:
    """Return where a program is; skip the test where it is not installed, except in CI."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
    return found
