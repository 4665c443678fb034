"""When a task that failed is tried again: pure arithmetic over attempts, handed the time and the chance."""

from __future__ import annotations

from typing import NamedTuple

from crawler.outcomes import MAX_RETRY_AFTER

#: Attempts in all.
MAX_ATTEMPTS = 3
#: Seconds before the second attempt; doubled for each further one.
BASE_DELAY = 1.0


class Retry(NamedTuple):
    """Wait `delay` seconds and try again."""

    delay: float


def decide(attempts: int, retry_after: float, chance: float) -> Retry | None:
    """Return when to try again after `attempts` failed ones, or None for never.

    `retry_after` is what the server asked for in seconds, 0 for nothing; `chance` in [0, 1) spreads the
    exponential delays ("full jitter" over the upper half).
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    delay = BASE_DELAY * 2 ** (attempts - 1) * (0.5 + chance / 2)
    return Retry(max(delay, min(retry_after, MAX_RETRY_AFTER)))
