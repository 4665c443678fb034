"""When a run is to stop before its end, and what its end is worth: limits and the exit code."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from crawler.account import Counts
from crawler.errors import StoreError
from crawler.outcomes import PAGES_READ, SAVED, SUCCESSES, Outcome

#: Exit codes (README): a person should look at it; stopped at a limit.
EXIT_TROUBLE, EXIT_LIMIT = 1, 3


class Limits:
    """When a start is to stop, in its seconds, bytes and images, so that the next one goes on; 0 is never."""

    def __init__(self, max_time: float, max_images: int, max_bytes: float, min_free: float) -> None:
        self._until = time.monotonic() + max_time if max_time else float("inf")
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._min_free = min_free

    def begin(self, counts: Counts) -> None:
        """Count from here on: what earlier starts of the run saved is theirs."""
        self._max_images += saved(counts) if self._max_images else 0
        self._max_bytes += counts.bytes if self._max_bytes else 0

    def reached(self, counts: Counts, directory: Path | None) -> str:
        """Return which limit is reached, or `""`; raises StoreError where the disk is gone."""
        if time.monotonic() > self._until:
            return "--max-time"
        if self._max_images and saved(counts) >= self._max_images:
            return "--max-images"
        if self._max_bytes and counts.bytes >= self._max_bytes:
            return "--max-bytes"
        return "--min-free" if directory and self._min_free and _free(directory) < self._min_free else ""


def _free(directory: Path) -> int:
    try:
        return shutil.disk_usage(directory).free
    except OSError as error:
        raise StoreError(f"{directory} cannot be looked at: {error.strerror}; mount it again") from error


def saved(counts: Counts) -> int:
    return sum(counts.images.get(name, 0) for name in SAVED)


def exit_code(counts: Counts, fail_above: float) -> int:
    """Return 1 where a person should look at a finished run, else 0; `fail_above` is in percent."""
    there = sum(counts.images.get(name, 0) for name in SUCCESSES)
    bad = sum(counts.images.values()) - there - counts.images.get(Outcome.OPTED_OUT, 0)
    good = there + counts.already_there
    first_failed = any(site.first_outcome and site.first_outcome not in PAGES_READ for site in counts.sites)
    too_many = bad > 0 and (not good or 100.0 * bad / (good + bad) > fail_above)
    return EXIT_TROUBLE if first_failed or too_many else 0
