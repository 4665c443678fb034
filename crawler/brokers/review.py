"""The review of a run that is over: what is gone now, and what nobody needs to remember any more.

It goes in steps that each take a moment, and that change nothing when they are made again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from crawler.brokers.results import Results
from crawler.model import Kind
from crawler.outcomes import KEPT, MISSING, PAGES_READ, Outcome

#: Tasks, and parcels, of one step.
TASKS, PARCELS = 20_000, 100


def _listed(outcomes: Iterable[str]) -> str:
    return ", ".join(f"'{outcome}'" for outcome in sorted(outcomes))


# A page was read in a run, or is missing, since whenever: so it is known what it names. One that names no image but
# runs scripts may be what stands before a site to tell people from programs.
_READ, _MISSING = _listed(PAGES_READ - {Outcome.SCRIPT_ONLY}), _listed(MISSING)
_IS_READ = f"""
SELECT 1 FROM settled p WHERE p.task = m.page
AND ((p.run = :run AND p.outcome IN ({_READ})) OR p.outcome IN ({_MISSING}))"""
# Written so that each step looks up what it needs by number, however many tasks and mentions there are, and that only
# of what the columns at hand do not rule out.
_OF_STEP = "task > :after AND task <= :last"
_IS_IMAGE = f"(SELECT kind FROM tasks WHERE number = task) = {int(Kind.IMAGE)}"
_IS_NAMED = "EXISTS (SELECT 1 FROM mentions m WHERE m.image = task AND m.run = :run)"
_IS_BACK = f"""
UPDATE settled SET gone = 0 WHERE {_OF_STEP} AND gone AND (
    (run = :run AND outcome IN ({_listed(KEPT)}))
    OR ((outcome IS NULL OR outcome NOT IN ({_MISSING})) AND {_IS_NAMED})) AND {_IS_IMAGE}"""
_IS_GONE = f"""
UPDATE settled SET gone = :run WHERE {_OF_STEP} AND NOT gone AND kept AND (
    outcome IN ({_MISSING})
    OR :unnamed AND EXISTS (SELECT 1 FROM mentions m WHERE m.image = task) AND NOT EXISTS (
        SELECT 1 FROM mentions m WHERE m.image = task AND (m.run = :run OR NOT EXISTS ({_IS_READ})))) AND {_IS_IMAGE}"""
# What a page no longer says of an image, while another mention tells where it is from.
_IS_OLD = f"""
DELETE FROM mentions AS m WHERE image > :after AND image <= :last AND run < :run AND EXISTS ({_IS_READ})
AND image IN (SELECT image FROM mentions n WHERE n.image > :after AND n.image <= :last AND n.run = :run)"""


class Review:
    """Reviews a run; where it has come to is told by a cursor."""

    def __init__(self, db: sqlite3.Connection, results: Results) -> None:
        self._db = db
        self._results = results

    def go_on(self, cursor: str, run: int, *, unnamed: bool) -> str:
        """Make the step that `cursor` names (`""`: the first), and return the next one, `""` after the last.

        `unnamed` tells that what no page names any more is gone.
        """
        step, _, place = (cursor or "images 0").partition(" ")
        if step == "images":
            after = self._review_images(int(place), run, unnamed)
            return f"images {after}" if after else "parcels 0"
        after = self._results.compact(int(place), PARCELS, run)
        if after:
            return f"parcels {after}"
        self._db.execute("DELETE FROM robots WHERE digest NOT IN (SELECT robots FROM origins WHERE robots IS NOT NULL)")
        return ""

    def _review_images(self, after: int, run: int, unnamed: bool) -> int:
        """Review some images, and return the number after which others follow, or 0."""
        row = self._db.execute(
            "SELECT max(task) FROM (SELECT task FROM settled WHERE task > ? ORDER BY task LIMIT ?)", (after, TASKS)
        ).fetchone()
        if row[0] is None:
            return 0
        is_first = run == 1  # all mentions are of this run
        place = {"after": after, "last": row[0], "run": run, "unnamed": unnamed and not is_first}
        for statement in (_IS_BACK, _IS_GONE) if is_first else (_IS_BACK, _IS_GONE, _IS_OLD):
            self._db.execute(statement, place)
        return int(row[0])
