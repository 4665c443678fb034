"""Dates in headers."""

from __future__ import annotations


def seconds_until(date: str, now: float) -> float:
    """Return the seconds from `now` until an HTTP date (RFC 9110, 5.6.7); 0 where it is none."""
    from email.utils import parsedate_to_datetime  # here: most answers have none, and it takes each start 2 ms

    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
