"""What a result was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path


def facts() -> str:
    """Return date, processor, cores, memory, kernel and Python in a line."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.date.today()}, {cores} cores of {_processor()}, {memory:.0f} GiB of memory, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return named[1] if named else platform.machine()
