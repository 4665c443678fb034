"""How a run is begun, or gone on with: its sources, and what is to be read anew."""

from __future__ import annotations

import logging
from pathlib import Path

from crawler.brokers.put import Putter
from crawler.brokers.records import Records
from crawler.brokers.run import Run
from crawler.brokers.waiting import Waiting
from crawler.model import Found, Kind, SourceDetail, encode, pack, task_id
from crawler.spec import Spec

log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


class Beginning:
    """Begins the runs of a job."""

    def __init__(self, records: Records, waiting: Waiting, putter: Putter, run: Run) -> None:
        self._records = records
        self._waiting = waiting
        self._putter = putter
        self._run = run

    def heed_reading(self, spec: Spec) -> None:
        """Let all pages be read anew where they are read for other links than before."""
        if self._run.ended and not self._run.is_concluded:
            return
        reading = encode(spec.reading)
        if self._records.meta("reading") != reading:
            self._records.tasks.forget_links()
            self._records.set_meta("reading", reading)
            self._records.set_meta("reading_run", self._run.number + self._run.is_concluded)

    def reads_as_before(self) -> bool:
        """Tell whether pages are read for the same links as in the run before, so that what is not named is gone."""
        return int(self._records.meta("reading_run") or 0) < self._run.number

    def open_run(self, now: float) -> None:
        """Open the next run, in which nothing was looked at yet."""
        self._run.open_next(now)
        self._waiting.new_run(self._run.number)
        self._putter.new_run()

    def of_run(self, spec: Spec) -> list[tuple[str, SourceDetail]]:
        """Return the sources that the run has: those that are chosen, and not forgotten."""
        forgotten = set(self._records.forgetting.forgotten().sites)
        chosen = [(url, detail) for url, detail in spec.sources if not spec.only or detail.name in spec.only]
        for url, detail in chosen:
            if url in forgotten:
                log.warning("%s was forgotten, and is not read", detail.name or url)
        return [(url, detail) for url, detail in chosen if url not in forgotten]

    def put_sources(self, sources: list[tuple[str, SourceDetail]]) -> None:
        """Let those sources of the run wait that it has not had yet."""
        for url, detail in sources:
            source, identity = Found(Kind.SOURCE, url, pack(detail)), task_id(Kind.SOURCE, url)
            self._records.flush()
            known = self._records.tasks.find(identity)
            if known is None:
                self._putter.insert(identity, source, 0)
            elif known.outcome is not None and known.run < self._run.number:
                self._putter.rearm(known.number, known.number, source)

    def rebooted_since(self) -> float:
        """Return when the last commit was before the machine restarted, or 0."""
        before = self._records.meta("boot_id")
        self._records.set_meta("boot_id", _boot_id())
        if before and before != _boot_id():
            return float(self._records.meta("alive") or 0.0)
        return 0.0
