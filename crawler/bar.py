"""The progress bar; apart, since its library takes long to import and most runs have nobody who looks."""

from __future__ import annotations

import time

from tqdm import tqdm

from crawler.account import Counts
from crawler.outcomes import PAGES_READ, SUCCESSES
from crawler.progress import size


class Bar:
    """A progress bar on stderr: images done of those found."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: tuple[int, int] | None = None  # done and bytes of earlier starts
        self._bar = tqdm(
            unit="image",
            dynamic_ncols=True,
            bar_format="{bar:4} {desc}",
            mininterval=0.2,
        )

    def update(self, counts: Counts) -> None:
        done = sum(counts.images.values())
        saved = sum(counts.images.get(name, 0) for name in SUCCESSES)
        pages = sum(counts.pages.get(name, 0) for name in PAGES_READ)
        self._first = self._first or (done, counts.bytes)
        seconds = max(time.monotonic() - self._started, 0.1)
        rate = (done - self._first[0]) / seconds
        bytes_a_second = (counts.bytes - self._first[1]) / seconds
        found = done + counts.waiting_images
        left = f"{tqdm.format_interval(counts.waiting_images / rate)} left, " if rate and counts.waiting_images else ""
        self._bar.total, self._bar.n = found, done
        self._bar.set_description_str(
            f"{_short(pages)} pages, {_short(found)} found, {_short(saved)} saved, {_short(done - saved)} failed, "
            f"{left}{rate:.0f}/s, {size(bytes_a_second)}/s",
            refresh=False,
        )
        self._bar.refresh()

    def close(self) -> None:
        self._bar.leave = False
        self._bar.close()


def _short(number: int) -> str:
    """Return a number as it is, or from a hundred thousand on as 123k, 1.23M."""
    return str(number) if number < 100_000 else tqdm.format_sizeof(number)
