from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from acceptance.here import asked, wait_for
from crawler.contracts import Broker, ShardStore
from crawler.errors import StoreError
from crawler.images import loop, sharding
from crawler.images.checking import checked
from crawler.images.engine import Engine
from crawler.images.filing import FileLoop
from crawler.images.loop import DownloadLoop
from crawler.images.sharding import ShardLoop
from crawler.images.transfer import Transfer
from crawler.images.verify import Picture
from crawler.model import Grant, ImageDetail, Kind, Reply, Report, State, Task, Verb, pack
from crawler.spec import Spec
from crawler.stores.names import file_name
from crawler.urls import address
from servers.faulty import FaultySite
from servers.pictures import jpeg

Done = Callable[[Exception | None], None]
IMAGES, SIZE = 30, 3000


class Tasks:
    """A broker with images of one host, two requests at a time, that is finished when all are stored."""

    def __init__(self, site: FaultySite) -> None:
        urls = [f"{site.url}/i/{n}.jpg" for n in range(IMAGES)]
        self.authority = address(urls[0]).authority
        self.waiting = [Task(n, Kind.IMAGE, url, url, pack(ImageDetail())) for n, url in enumerate(urls, 1)]
        self.given: dict[int, Task] = {}
        self.stored: list[int] = []
        self.rooms: list[int] = []
        self.bound = 0
        self.notice = ""
        self.reaches: list[bool] = []
        self.refused: list[int] = []

    def exchange(self, worker: str, report: Report) -> Reply:
        for number in report.stored.numbers:
            self.stored.append(self.given.pop(number).number)
        for said in report.settlements:
            task = self.given.pop(said.number)
            if said.outcome == "http_429":
                self.refused.append(task.number)
            else:
                assert said.verb is Verb.RETURNED, said
                self.waiting.append(task)
        self.bound = len(report.bound)
        self.reaches.append(report.reaches)
        self.rooms.append(report.room.get(Kind.IMAGE, 0))
        tasks = self.waiting[: self.rooms[-1]]
        del self.waiting[: len(tasks)]
        self.given.update({task.number: task for task in tasks})
        state = State.OPEN if self.waiting or self.given else State.FINISHED
        return Reply(
            serial=len(self.rooms), state=state, tasks=tasks, grants={self.authority: Grant(2)}, robots={},
            retry_in=0.01, spec_digest="1", notice=self.notice,
        )  # fmt: skip

    def robots(self, digest: str) -> str:
        return ""


class Held:
    """A store that ends what it is asked when the test says so."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, Done]] = []
        self.probes: list[Done] = []

    def put(self, name: str, body: bytes, done: Done) -> None:
        self.puts.append((name, done))

    def put_now(self, name: str, body: bytes) -> bool:
        return False

    def probe(self, done: Done) -> None:
        self.probes.append(done)

    def close(self) -> None: ...

    def end(self, error: Exception | None = None) -> None:
        while self.puts:
            self.puts.pop(0)[1](error)


class Running:
    """A worker's loop in a thread of its own, over a store that is held."""

    def __init__(self, site: FaultySite, *, shards: bool = False) -> None:
        self.shards = shards
        self.store, self.broker = Held(), Tasks(site)
        self.ended: list[State | None] = []
        self.gone = False
        self._site = site
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        spec = Spec(job="j", user_agent="crawler/1", allow_net=("127.0.0.0/8",), lease=3.0)
        broker, how = cast(Broker, self.broker), {"connections": 16, "patience": 60.0}
        made: DownloadLoop
        if self.shards:
            made = ShardLoop(broker, "w1", spec, cast(ShardStore, self.store), **how)
        else:
            made = FileLoop(broker, "w1", spec, self.store, file_name, **how)
        self.ended.append(made.run(lambda: not self.gone))


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        for n in range(IMAGES):
            made.add(f"/i/{n}.jpg", jpeg(n, SIZE))
        yield made


@pytest.fixture
def running(site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(loop, "PROBE_EVERY", 0.05)
    made = Running(site)
    yield made
    made.gone = True
    made.thread.join(30)


def test_bytes_that_wait_for_the_store_are_bounded(site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_WAITING", 3 * SIZE)
    running = Running(site)
    wait_for(lambda: len(running.store.puts) >= 3)
    exchanges = len(running.broker.rooms)
    wait_for(lambda: len(running.broker.rooms) > exchanges, 20)
    assert len(running.store.puts) == len(asked(site)) <= 5, "three, and the two requests that were under way"
    wait_for(lambda: running.store.end() or running.ended)
    running.thread.join(30)
    assert running.ended == [State.FINISHED] and sorted(running.broker.stored) == list(range(1, IMAGES + 1))


def test_images_that_wait_for_a_shard_are_bounded(site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "LARGE_ROOM", 5)
    monkeypatch.setattr(ShardLoop, "_least_room", 5)
    running = Running(site, shards=True)
    wait_for(lambda: running.broker.bound >= 5)
    exchanges = len(running.broker.rooms)
    wait_for(lambda: len(running.broker.rooms) > exchanges + 3, 20)
    assert 5 <= len(asked(site)) <= 7, "five, and the two requests that were under way"
    running.gone = True
    running.thread.join(30)


def test_a_store_that_fails_is_probed_and_nothing_is_taken_meanwhile(site: FaultySite, running: Running) -> None:
    wait_for(lambda: running.store.puts)
    failed = StoreError("s3://b: no answer")
    wait_for(lambda: running.store.end(failed) or (running.store.probes and not running.broker.given))
    before, exchanges = len(asked(site)), len(running.broker.rooms)
    running.store.probes[0](StoreError("still none"))
    wait_for(lambda: len(running.store.probes) == 2)
    wait_for(lambda: len(running.broker.rooms) > exchanges, 20)
    assert len(asked(site)) == before and set(running.broker.rooms[exchanges:]) == {0}
    assert len(running.store.probes) == 2, "one at a time"
    running.store.probes[1](None)
    wait_for(lambda: running.store.end() or running.ended)
    assert running.ended == [State.FINISHED] and sorted(running.broker.stored) == list(range(1, IMAGES + 1))


def test_the_next_requests_are_sent_before_images_are_looked_at(
    site: FaultySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_at_looks: list[int] = []

    def looked_at(body: bytes, spec: Spec) -> Picture:
        under_way = min(len(asked_at_looks) + 1 + 2, IMAGES)
        wait_for(lambda: len(asked(site)) >= under_way, 20)
        asked_at_looks.append(under_way)
        return checked(body, spec)

    monkeypatch.setattr(loop, "checked", looked_at)
    monkeypatch.setattr(Held, "put_now", lambda *_: True)
    running = Running(site)
    running.thread.join(60)
    assert running.ended == [State.FINISHED] and sorted(running.broker.stored) == list(range(1, IMAGES + 1))
    assert len(asked_at_looks) == IMAGES


def test_a_host_that_complains_is_asked_nothing_more_by_images_that_came_with_it(
    site: FaultySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Transfer] = []

    def wait_for_two(engine: Engine, timeout: float) -> list[Transfer]:
        came.extend(wait(engine, timeout))
        two = came[:] if len(came) == 2 else []
        del came[: len(two)]
        return two

    wait = Engine.wait
    monkeypatch.setattr(Engine, "wait", wait_for_two)
    monkeypatch.setattr(Held, "put_now", lambda *_: True)
    site.add("/i/1.jpg", status=429)
    running = Running(site)
    wait_for(lambda: running.broker.refused, 20)
    assert sorted(asked(site)) == ["/i/0.jpg", "/i/1.jpg"]
    running.gone = True
    running.thread.join(30)


def test_while_the_network_is_taken_to_be_down_the_broker_is_told_that_it_works(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.1)
    wait_for(lambda: running.store.puts)
    assert not any(running.broker.reaches)
    running.broker.notice = "the network is down"
    wait_for(lambda: sum(running.broker.reaches) >= 2)
    assert not all(running.broker.reaches[-20:]), "not with each report"
    running.broker.notice = ""
    before = len(running.broker.reaches)
    wait_for(lambda: len(running.broker.reaches) > before + 20)
    assert not any(running.broker.reaches[-10:])
