"""What a run asks of a broker that is gone for a moment."""

from __future__ import annotations

from pathlib import Path

from crawler.account import Begun, Counts, LedgerPage
from crawler.brokers.client import ServerAddress
from crawler.brokers.sqlite import SqliteBroker
from crawler.crawl import Crawl
from crawler.errors import BrokerUnreachable
from crawler.limits import Limits
from crawler.processes import Link, Place
from crawler.spec import Spec


class Returning(SqliteBroker):
    """A broker that answers each question only when it is asked again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: set[str] = set()

    def counts(self) -> Counts:
        self._gone("counts")
        return super().counts()

    def begin(self, spec: Spec) -> Begun:
        self._gone("begin")
        return super().begin(spec)

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        self._gone("ledger")
        return super().ledger(cursor, limit)

    def review(self, cursor: str) -> str:
        self._gone("review")
        return super().review(cursor)

    def conclude(self) -> None:
        self._gone("conclude")
        super().conclude()

    def workers(self) -> list[str]:
        self._gone("workers")
        return super().workers()

    def _gone(self, asked: str) -> None:
        if asked not in self.asked:
            self.asked.add(asked)
            raise BrokerUnreachable("gone")


def test_a_run_begins_and_ends_though_the_broker_is_gone_now_and_then(tmp_path: Path) -> None:
    spec = Spec(job="j", output=str(tmp_path))
    crawl = Crawl(
        spec, tmp_path / "state", Link(ServerAddress(), b""), Limits(0, 0, 0, 0),
        listen=None, processes=0, page_processes=0, place=Place(1), print_lines=False, fail_above=0.0,
    )  # fmt: skip
    crawl._broker = broker = Returning(tmp_path / "queue")  # type: ignore[assignment]
    (tmp_path / "state").mkdir()
    crawl._begin_next()
    crawl._conclude()
    crawl._finish()
    assert broker.asked == {"counts", "begin", "review", "ledger", "conclude", "workers"}
    assert (tmp_path / "j" / "metadata.jsonl").exists()
    broker.close()
