"""The ledger's files in a job's folder: written into a directory, or written here and put into an object store."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crawler.contracts import Broker, BrokerClient, JobFolder
from crawler.errors import BrokerUnreachable, StoreError
from crawler.ledger import FAILURES, METADATA, Results, See, unseen, write_ledger
from crawler.manifest import FailureTable, conclude_shards
from crawler.report import (
    REPORT,
    RUNS,
    Record,
    earlier_runs,
    forget_records,
    latest_record,
    scrub_records,
    write_record,
    write_report,
)
from crawler.stores.files import sweep

log = logging.getLogger(__name__)

#: Seconds between ledgers that are put while a run goes on, and times what the last one took.
EVERY, TIMES = 600.0, 20.0


class Keeper:
    """Keeps the ledger's files of a job: at the end of a run, when asked, and on object stores now and then.

    Objects cannot be appended to, and the machine with the job's state may be gone tomorrow: so there what a run has
    come to is put every few minutes.
    """

    def __init__(self, folder: JobFolder, state: Path) -> None:
        self._folder = folder
        self._directory = folder.path or state / "ledger"
        self._over = threading.Event()
        self._one_at_a_time = threading.Lock()

    def write(self, broker: Results, see: See = unseen) -> tuple[int, int]:
        """Write both files as things stand, and return how many rows each has; raises StoreError.

        `see` is shown all rows (see `write_ledger`).
        """
        with self._one_at_a_time:
            if self._folder.path is None:
                self._make_directory()
            counts = write_ledger(broker, self._directory, see)
            for name in (METADATA, FAILURES):
                self._folder.upload(self._directory / name, name)
        return counts

    def failures(self, order: Sequence[str]) -> FailureTable:
        """Return what writes the failures that are in no shard; `order` is that of the kinds of words for captions."""
        if self._folder.path is None:
            self._make_directory()
        return FailureTable(self._folder, self._directory, order)

    def conclude_shards(self, broker: Broker) -> None:
        """Write which shards there are after a finished run, and which are missing; raises StoreError."""
        with self._one_at_a_time:
            if self._folder.path is None:
                self._make_directory()
            conclude_shards(broker, self._folder, self._directory)

    def keep(self, record: Record, most: int) -> None:
        """Write the record of a run, and remove those before the last `most` (0: none) here; raises StoreError."""
        file = write_record(record, self._directory)
        self._folder.upload(file, f"{RUNS}/{file.name}")
        if most:
            forget_records(self._directory, record.job, record.run - most)

    def report(self, record: Record) -> None:
        """Write the report of a run whose record is kept; raises StoreError."""
        from crawler.report_page import MOST_RUNS, report_page  # with modules that a start need not wait for

        earlier = earlier_runs(self._directory, record.job, record.run, MOST_RUNS - 1)
        file = write_report(report_page(record, earlier), self._directory)
        self._folder.upload(file, REPORT)

    def scrub(self, job: str, is_forgotten: Callable[[str], bool], is_removed: Callable[[str], bool]) -> None:
        """Take what is forgotten out of the records of `job` and its report; raises StoreError."""
        for file in scrub_records(self._directory, job, is_forgotten, is_removed):
            self._folder.upload(file, f"{RUNS}/{file.name}")
        latest = latest_record(self._directory, job, sys.maxsize)
        if latest is not None:
            self.report(latest)

    def latest(self, job: str, before: int) -> Record | None:
        """Return the last record of a run before run `before`."""
        return latest_record(self._directory, job, before)

    def begin(self, connect: Callable[[], BrokerClient]) -> None:
        """Write them also while the run goes on, where the folder is in an object store."""
        if self._folder.path is None:
            threading.Thread(target=self._go_on, args=(connect,), name="ledger", daemon=True).start()

    def end(self) -> None:
        """Write none by ourselves any more."""
        self._over.set()

    def _go_on(self, connect: Callable[[], BrokerClient]) -> None:
        pause = EVERY
        while not self._over.wait(pause):
            began = time.monotonic()
            try:
                with contextlib.closing(connect()) as broker:
                    self.write(broker)
            except (BrokerUnreachable, StoreError) as error:
                if not self._over.is_set():
                    log.warning("%s; the ledger is put again later", error)
            pause = max(EVERY, TIMES * (time.monotonic() - began))

    def _make_directory(self) -> None:
        try:
            for directory in (self._directory.parent, self._directory):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"{self._directory} cannot be made: {error.strerror}") from error
        sweep(self._directory)
