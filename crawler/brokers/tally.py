"""The counters of runs, so that nobody has to count: by kind, source, origin and outcome."""

from __future__ import annotations

import sqlite3

from crawler.account import SiteCounts
from crawler.brokers.words import site_name
from crawler.model import Kind
from crawler.outcomes import SAVED


class Tally:
    """The tables `tally` and `first_pages`, with what runs are left."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._changes: dict[tuple[int, int, int, int, str], list[int]] = {}

    def count(self, run: int, kind: Kind, source: int, origin: int, outcome: str, number: int, size: int) -> None:
        entry = self._changes.setdefault((run, int(kind), source, origin, outcome), [0, 0])
        entry[0] += number
        entry[1] += size

    def forget_gathered(self) -> None:
        self._changes.clear()

    def flush(self) -> None:
        """Send the gathered changes into the open transaction."""
        if self._changes:
            self._db.executemany(
                "INSERT INTO tally VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE "
                "SET count = count + excluded.count, bytes = bytes + excluded.bytes",
                [(*key, *numbers) for key, numbers in self._changes.items()],
            )
            self._changes.clear()

    def forget(self, run: int) -> None:
        """Forget the numbers of all runs up to this one."""
        for table in ("tally", "first_pages", "stopped", "runs"):
            self._db.execute(f"DELETE FROM {table} WHERE run <= ?", (run,))

    def first_page(self, run: int, source: int, outcome: str, message: str, *, replace: bool) -> None:
        """Note what became of a site's first page; without `replace` only when nothing is known yet."""
        known = "DO UPDATE SET outcome = excluded.outcome, message = excluded.message" if replace else "DO NOTHING"
        self._db.execute(
            f"INSERT INTO first_pages VALUES(?,?,?,?) ON CONFLICT {known}", (run, source, outcome, message)
        )

    def saved(self, run: int) -> dict[int, int]:
        """Return how many images a run has saved, by source."""
        marks = ", ".join(f"'{outcome}'" for outcome in sorted(SAVED))
        return dict(
            self._db.execute(
                "SELECT source, sum(count) FROM tally "
                f"WHERE run = ? AND kind = 2 AND outcome IN ({marks}) GROUP BY source",
                (run,),
            )
        )

    # Sources that rest

    def stop(self, run: int, source: int, why: str) -> None:
        """Note that a source rests in a run."""
        self._db.execute("INSERT OR REPLACE INTO stopped VALUES(?, ?, ?)", (run, source, why))

    def stopped(self, run: int) -> dict[int, str]:
        """Return why sources rest in a run; `""` where they are not of it."""
        return dict(self._db.execute("SELECT source, why FROM stopped WHERE run = ?", (run,)))

    def start_again(self, run: int) -> None:
        """Forget what rested in a run."""
        self._db.execute("DELETE FROM stopped WHERE run = ?", (run,))

    def totals(self, run: int) -> list[tuple[int, str, int, int]]:
        """Return (kind, outcome, number, bytes) of a run."""
        return self._db.execute(
            "SELECT kind, outcome, sum(count), sum(bytes) FROM tally WHERE run = ? GROUP BY kind, outcome", (run,)
        ).fetchall()

    def sites(self, run: int) -> list[SiteCounts]:
        firsts = {
            source: (outcome, message)
            for source, outcome, message in self._db.execute(
                "SELECT source, outcome, message FROM first_pages WHERE run = ?", (run,)
            )
        }
        stopped = self.stopped(run)
        sites: dict[int, SiteCounts] = {}
        for number, url, detail in self._db.execute("SELECT number, url, detail FROM tasks WHERE kind = 0"):
            why = stopped.get(number)
            if why == "":
                continue
            outcome, message = firsts.get(number, ("", ""))
            sites[number] = SiteCounts(
                url=url, first_outcome=outcome, first_message=message, name=site_name(url, detail), stopped=why or ""
            )
        for source, outcome, number in self._db.execute(
            "SELECT source, outcome, sum(count) FROM tally WHERE run = ? AND kind = 2 GROUP BY source, outcome", (run,)
        ):
            if source in sites and number:
                sites[source].outcomes[outcome] = number
        return list(sites.values())

    def hosts(self, run: int) -> list[tuple[str, str, int]]:
        """Return (origin, outcome, number) of images, the most frequent first, at most 1,000."""
        return self._db.execute(
            "SELECT o.url, y.outcome, sum(y.count) AS n FROM tally y JOIN origins o ON o.origin = y.origin "
            "WHERE y.run = ? AND y.kind = 2 GROUP BY o.url, y.outcome ORDER BY n DESC LIMIT 1000",
            (run,),
        ).fetchall()
