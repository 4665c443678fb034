"""What becomes of tasks and mentions that were found: new ones wait, known ones are met again."""

from __future__ import annotations

from msgspec import Raw

from crawler.brokers.records import Records
from crawler.brokers.run import LEFT_OUT, Run
from crawler.brokers.tasks import Known
from crawler.brokers.waiting import Waiting
from crawler.model import SUCCESSES, Found, Kind, Task, encode, task_id


class Putter:
    """Puts what sources and pages name into the state and the lanes."""

    def __init__(self, records: Records, waiting: Waiting, run: Run) -> None:
        self._records = records
        self._waiting = waiting
        self._run = run
        self.max_pages = 0

    def put(self, found: list[Found], parent: int, source: int) -> int:
        """Add what task `parent` named, and return how many tasks are new."""
        self._records.flush()
        new: dict[bytes, int] = {}
        for item in found:
            if item.kind not in (Kind.PAGE, Kind.IMAGE):
                continue  # only `begin` makes sources: they name files of this machine
            identity = task_id(item.kind, item.url)
            number = new.get(identity)
            if number is None:
                known = self._records.tasks.find(identity)
                if known is not None:
                    number = known.number
                    self._meet_again(item, known)
                elif item.kind is Kind.PAGE and parent != source and self._pages_full():  # a site's first is read
                    self._run.count(Kind.PAGE, source, 0, LEFT_OUT + "max_pages", 1, 0)
                    continue
                else:
                    number = new[identity] = self.insert(identity, item, source)
            if item.words is not None:
                self._records.tasks.mention(number, parent, encode(item.words), self._run.number)
        return len(new)

    def insert(self, identity: bytes, item: Found, source: int) -> int:
        """Add a new task, and return its number."""
        lane = self._waiting.of(item.url if item.kind is not Kind.SOURCE else "")
        detail = bytes(item.detail)
        number = self._records.tasks.insert(identity, item.kind, lane.number, source, item.url, detail)
        if item.kind is Kind.SOURCE:
            self._waiting.add(lane, item.kind, number, number)
        else:
            task = Task(number, item.kind, item.url, item.url, Raw(detail), 0, 0, 0)
            self._waiting.add(lane, item.kind, number, source, task)
        return number

    def rearm(self, number: int, source: int, item: Found) -> None:
        """Make a done task wait again, as if new."""
        lane = self._waiting.of(item.url if item.kind is not Kind.SOURCE else "")
        self._records.tasks.rearm(number, item.kind, lane.number, source, bytes(item.detail) or None)
        self._waiting.add(lane, item.kind, number, source)

    def _meet_again(self, item: Found, known: Known) -> None:
        """In a new run, pages and failures that are named again wait again, and what is there stays."""
        if known.outcome is None or known.run == self._run.number:
            return
        if item.kind is Kind.IMAGE and known.outcome in SUCCESSES:
            self._records.tasks.touch(known.number, self._run.number)
            self._run.already_there += 1
        else:
            self.rearm(known.number, known.source, item)

    def _pages_full(self) -> bool:
        return 0 < self.max_pages <= self._run.pages_read() + self._waiting.open[Kind.PAGE]
