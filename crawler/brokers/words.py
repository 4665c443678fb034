"""What all brokers say alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final

from msgspec import Raw

from crawler.model import Kind, SourceDetail, decode
from crawler.spec import Spec

#: The worker of results that the broker gives by itself.
BROKER: Final = "broker"
#: Marks the counters of links that were not followed, by reason.
LEFT_OUT: Final = "left_out:"
#: The lane of what a list names but is no URL: it is closed from the beginning.
NOWHERE: Final = "nowhere"
#: Requests for pages at a time per host, at most.
PAGES_AT_A_TIME: Final = 2
#: Lost leases after which a task is given out by itself, and after which it is what killed its workers. Of the latter
#: two are of workers that held nothing else: that several tasks are lost with one worker tells nothing of each.
ALONE_AFTER: Final = 2
DEADLY_AFTER: Final = 4
#: Orphans (tasks of workers that died) that a worker holds at a time: no more are given out alone when it dies, too.
ORPHANS_AT_A_TIME: Final = 16
#: Why a task ended as `worker_died`.
DEADLY: Final = f"{DEADLY_AFTER} workers died while they held it, the last two nothing else"
#: Kinds of which a worker that is no download worker takes some.
FEEDING: Final = frozenset({Kind.SOURCE, Kind.PAGE})
#: Distinct mentions that a row of the ledger shows, and bytes of one page of the ledger, about.
MENTIONS_SHOWN: Final = 20
#: Mentions that it shows where rows of a list are samples of their own, and bytes of them.
ROWS_SHOWN: Final = 10_000
ROWS_BYTES: Final = 4 * 2**20
LEDGER_PAGE_BYTES: Final = 8 * 2**20


@lru_cache(maxsize=4096)
def site_name(url: str, detail: bytes) -> str:
    """Return what people call the source at `url`."""
    return decode(detail, SourceDetail).name or url


def mentions_shown(spec: Spec) -> int:
    """Return how many mentions a row of the ledger of this job shows at most."""
    return ROWS_SHOWN if spec.per_row else MENTIONS_SHOWN


def shown_of(mentions: Iterable[tuple[str, Raw]], most: int) -> list[tuple[str, Raw]]:
    """Return the first of these mentions, as many as a row of the ledger shows."""
    shown, size = [], 0
    for page, words in islice(mentions, most):
        size += len(page) + len(words)
        if size > ROWS_BYTES:
            break
        shown.append((page, words))
    return shown
