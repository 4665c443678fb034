"""The run that is under way: its numbers in memory and in the state."""

from __future__ import annotations

from collections.abc import Iterable

from crawler.account import Counts
from crawler.brokers.records import Records, RunRow
from crawler.brokers.words import LEFT_OUT
from crawler.model import Kind, State
from crawler.outcomes import SAVED, Outcome


class Run:
    """The latest run of a job; number 0 is before the first."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.number, self.began, self.ended, self.already_there, self.concluded = records.run
        self.totals: dict[tuple[int, str], int] = {}
        self._saved_of: dict[int, int] = {}
        self._bytes = 0
        for kind, outcome, number, size in records.tally.totals(self.number):
            self._add(kind, outcome, number, size)

    def open_next(self, now: float) -> None:
        self.number, self.began, self.ended, self.already_there = self.number + 1, now, 0.0, 0
        self.concluded = 0
        self.totals.clear()
        self._bytes = 0
        self.save()

    def save(self) -> None:
        if self.number:
            self._records.set_run(RunRow(self.number, self.began, self.ended, self.already_there, self.concluded))

    @property
    def is_open(self) -> bool:
        return bool(self.number) and not self.ended

    @property
    def is_concluded(self) -> bool:
        """Tell whether the next run may begin."""
        return not self.number or bool(self.concluded)

    def end(self, now: float) -> None:
        self.ended = now
        self.save()

    def conclude(self) -> None:
        self.concluded = 1
        self.save()

    def reopen(self) -> None:
        """Take up a run again that had ended."""
        self.concluded = 0
        self.end(0.0)

    def count(
        self, kind: Kind, source: int, origin: int, outcome: str, number: int, size: int, run: int | None = None
    ) -> None:
        """Count `number` tasks that came to `outcome`, of this run or of an earlier one; `size` is of what is there."""
        run, size = run or self.number, 0 if outcome == Outcome.UNCHANGED else size
        self._records.tally.count(run, kind, source, origin, outcome, number, size)
        if run == self.number:
            self._add(kind, outcome, number, size)
            if source in self._saved_of and kind is Kind.IMAGE and outcome in SAVED:
                self._saved_of[source] += number

    def watch(self, sources: Iterable[int]) -> None:
        """Count from now on what is saved of these sources."""
        self._records.flush()
        saved = self._records.tally.saved(self.number)
        self._saved_of = {source: saved.get(source, 0) for source in sources}

    def saved_of(self, source: int) -> int:
        """Return how many images of a watched source this run has saved."""
        return self._saved_of[source]

    def _add(self, kind: int, outcome: str, number: int, size: int) -> None:
        self.totals[kind, outcome] = self.totals.get((kind, outcome), 0) + number
        self._bytes += size if kind == Kind.IMAGE else 0

    def images_saved(self) -> int:
        return sum(self.totals.get((Kind.IMAGE, outcome), 0) for outcome in SAVED)

    def pages_read(self) -> int:
        return sum(n for (kind, outcome), n in self.totals.items() if kind == Kind.PAGE and ":" not in outcome)

    def counts(self, state: State) -> Counts:
        """Return the run in numbers, as far as it knows them."""
        images = {outcome: n for (kind, outcome), n in self.totals.items() if kind == Kind.IMAGE and n}
        pages = {outcome: n for (kind, outcome), n in self.totals.items() if kind == Kind.PAGE and n}
        return Counts(
            run=self.number, state=state, began=self.began, ended=self.ended, images=images,
            pages={outcome: n for outcome, n in pages.items() if not outcome.startswith(LEFT_OUT)},
            left_out={o.removeprefix(LEFT_OUT): n for o, n in pages.items() if o.startswith(LEFT_OUT)},
            bytes=self._bytes, already_there=self.already_there,
            sites=self._records.tally.sites(self.number), hosts=self._records.tally.hosts(self.number),
        )  # fmt: skip
