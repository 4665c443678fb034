"""The loop that feeds a job: take a source, read a stretch of it, settle it with what it names."""

from __future__ import annotations

from crawler.contracts import Broker
from crawler.leave import Leave
from crawler.model import Kind, Settlement, SourceDetail, Task, Verb, decode
from crawler.outcomes import Outcome
from crawler.pooled import PooledLoop
from crawler.sources.feed import Feed
from crawler.spec import Spec


class SourceLoop(PooledLoop):
    """Reads the sources of one job, one stretch at a time."""

    def __init__(self, broker: Broker, worker: str, spec: Spec, *, patience: float) -> None:
        super().__init__(broker, worker, spec, patience, 1)
        self._feed = Feed()

    def _room(self, now: float) -> dict[Kind, int]:
        return {Kind.SOURCE: int(not self._running)}

    def _do(self, task: Task, leave: Leave) -> tuple[Settlement, None]:
        found, cursor, left_out = self._feed(task, decode(task.detail, SourceDetail))
        if cursor is None:
            settlement = Settlement(
                number=task.number, verb=Verb.DONE, outcome=Outcome.SUCCESS, found=found, left_out=left_out
            )
        else:
            settlement = Settlement(
                number=task.number, verb=Verb.RETURNED, cursor=cursor, found=found, left_out=left_out
            )
        return settlement, None
