"""A client that reads the ledger page by page has the next page looked for meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.driver import KEY, Clock, Job, image, served
from crawler.account import LedgerPage
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.listen import listen_unix
from crawler.brokers.sqlite import SqliteBroker
from crawler.errors import BrokerUnreachable

URLS = [f"http://a.test/{number}.png" for number in range(40)]


class Counting(SqliteBroker):
    """Notes which pages it is asked for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(None, clock=clock)
        self.asked: list[tuple[str, int]] = []

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        self.asked.append((cursor, limit))
        return super().ledger(cursor, limit)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock, tmp_path: Path) -> Iterator[Counting]:
    broker = Counting(clock)
    with served(broker, listen_unix(tmp_path / "s")):
        yield broker


@pytest.fixture
def client(state: Counting, clock: Clock, tmp_path: Path) -> Iterator[ManagerBroker]:
    broker = ManagerBroker(ServerAddress(path=str(tmp_path / "s")), KEY)
    job = Job(broker, clock)
    job.begin([image(url) for url in URLS])
    job.finish()
    yield broker
    broker.close()


def urls(page: LedgerPage) -> list[str]:
    return [row.url for row in page.rows]


def test_each_page_is_asked_for_once(state: Counting, client: ManagerBroker) -> None:
    found: list[str] = []
    page = client.ledger("", 7)
    while page.rows:
        found += urls(page)
        page = client.ledger(page.cursor, 7)
    client.counts()
    assert found == URLS
    assert len(state.asked) == len(set(state.asked)) == 7, "six with rows, and one without"


def test_one_page_alone_is_all_that_is_asked_for(state: Counting, client: ManagerBroker) -> None:
    assert urls(client.ledger("", 7)) == URLS[:7]
    client.counts()
    assert state.asked == [("", 7)]


def test_other_calls_may_come_between(client: ManagerBroker) -> None:
    first = client.ledger("", 7)
    second = client.ledger(first.cursor, 7)
    assert client.counts().images == {"success": 40}
    third = client.ledger(second.cursor, 7)
    assert urls(third) == URLS[14:21]
    assert urls(client.ledger(second.cursor, 9)) == URLS[14:23], "as many as are asked for now"
    assert urls(client.ledger("", 3)) == URLS[:3]


def test_a_connection_that_breaks_between_is_told_and_made_anew(client: ManagerBroker) -> None:
    first = client.ledger("", 7)
    second = client.ledger(first.cursor, 7)
    assert client._socket is not None
    client._socket.close()  # shut down, it would still give what had arrived
    with pytest.raises(BrokerUnreachable):
        client.ledger(second.cursor, 7)
    assert urls(client.ledger(second.cursor, 7)) == URLS[14:21]
