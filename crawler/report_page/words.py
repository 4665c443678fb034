"""How a report calls the changes, and what it tells of each."""

from __future__ import annotations

from typing import Final

from crawler.report import Change

#: In the order of the report.
LABELS: Final = {
    Change.NEW: "new",
    Change.CHANGED: "changed",
    Change.UNCHANGED: "unchanged",
    Change.GONE: "gone",
    Change.WORKS_AGAIN: "works again",
    Change.FAILED: "failed",
    Change.FAILED_AGAIN: "failed again",
    Change.LEFT_ALONE: "left alone",
}
#: Changes that are news: all but what is as it was.
NEWS: Final = tuple(change for change in LABELS if change not in (Change.UNCHANGED, Change.LEFT_ALONE))
#: The part of the report that has the images of a change.
SECTION_OF: Final = {change: change for change in NEWS} | {Change.FAILED_AGAIN: Change.FAILED}
#: Changes that nobody misses where they are none.
RARE: Final = frozenset({Change.LEFT_ALONE})
METADATA_LINK: Final = '<a href="./metadata.jsonl">metadata.jsonl</a>'
FAILURES_LINK: Final = '<a href="./failures.jsonl">failures.jsonl</a>'
