"""What the tests of brokers share: a clock that they turn, workers that they move by hand, a manager in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import msgspec

from crawler.account import Begun, LedgerRow
from crawler.brokers.manager import Manager
from crawler.brokers.sqlite import SqliteBroker
from crawler.contracts import Broker
from crawler.model import (
    Found,
    Grant,
    ImageDetail,
    ImageResult,
    Kind,
    Message,
    Move,
    PageDetail,
    PageResult,
    Reply,
    Report,
    RobotsFile,
    Settlement,
    SourceDetail,
    State,
    Stored,
    Task,
    Verb,
    Words,
    pack,
)
from crawler.spec import Spec

KEY = b"0123456789abcdef" * 4
SITE = "http://site.test/"
ALL_ROOM = {Kind.SOURCE: 1, Kind.PAGE: 64, Kind.ROBOTS: 64, Kind.IMAGE: 1000}
DOWNLOADS = {Kind.ROBOTS: 64, Kind.IMAGE: 1000}


class Clock:
    """The time as the tests set it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def spec(**settings: object) -> Spec:
    """Return a job of one site; without robots.txt unless it is asked for."""
    given = {"job": "job", "sources": ((SITE, SourceDetail()),), "obey_robots": False} | settings
    return Spec(**given)  # type: ignore[arg-type]


def image(url: str, words: Words | None = None) -> Found:
    return Found(Kind.IMAGE, url, pack(ImageDetail()), words)


def images(number: int, host: str = "a.test") -> list[Found]:
    return [image(f"http://{host}/{i}.png") for i in range(number)]


def page(url: str, depth: int = 1) -> Found:
    return Found(Kind.PAGE, url, pack(PageDetail(depth=depth, scope_base=SITE)))


def done(
    task: Task, outcome: str = "success", size: int = 0, result: Message | None = None, **more: object
) -> Settlement:
    if result is None:
        result = PageResult() if task.kind is Kind.PAGE else ImageResult()
    return Settlement(number=task.number, verb=Verb.DONE, outcome=outcome, size=size, result=pack(result), **more)  # type: ignore[arg-type]


def retry(task: Task, outcome: str = "http_500", **more: object) -> Settlement:
    return Settlement(number=task.number, verb=Verb.RETRY, outcome=outcome, **more)  # type: ignore[arg-type]


def returned(task: Task, cursor: int | None = None) -> Settlement:
    return Settlement(number=task.number, verb=Verb.RETURNED, cursor=cursor)


def moved(task: Task, at: str, hops: int = 1, candidate: int = 0) -> Settlement:
    return Settlement(number=task.number, verb=Verb.MOVED, move=Move(at, hops, candidate))


def robots_of(task: Task, file: RobotsFile, outcome: str = "success") -> Settlement:
    return done(task, outcome, result=file)


class Hand:
    """A worker that does what the test says, and remembers what it was told.

    As our download workers do, it tells of stored images in columns, unless `columns` is off.
    """

    def __init__(self, broker: Broker, name: str, room: dict[Kind, int] | None = None) -> None:
        self.broker = broker
        self.name = name
        self.room = DOWNLOADS if room is None else room
        self.columns = True
        self.held: dict[int, Task] = {}
        self.images: set[int] = set()
        self.grants: dict[str, Grant] = {}
        self.heard = 0
        self.reply = Reply(serial=0, state=State.OPEN)

    def exchange(
        self,
        *settlements: Settlement,
        room: dict[Kind, int] | None = None,
        busy: dict[str, int] | None = None,
        latency: dict[str, float] | None = None,
        reaches: bool = False,
    ) -> list[Task]:
        for said in settlements:
            self.held.pop(said.number, None)
        columns, others = {"success": Stored(), "unchanged": Stored()}, []
        for said in settlements:
            plain = Settlement(
                number=said.number, verb=Verb.DONE, outcome=said.outcome, size=said.size, result=said.result
            )
            if self.columns and said == plain and said.number in self.images and said.outcome in columns:
                columns[said.outcome].add(said.number, said.size, said.result)
            else:
                others.append(said)
        report = Report(
            stored=columns["success"],
            unchanged=columns["unchanged"],
            settlements=others,
            held=list(self.held),
            busy=busy or {},
            latency=latency or {},
            room=self.room if room is None else room,
            heard=self.heard,
            reaches=reaches,
        )
        self.hear(self.broker.exchange(self.name, report))
        return self.reply.tasks

    def hear(self, reply: Reply) -> None:
        self.reply = reply
        self.heard = reply.serial
        self.grants.update(reply.grants)
        self.held.update({task.number: task for task in reply.tasks})
        self.images |= {task.number for task in reply.tasks if task.kind is Kind.IMAGE}

    def one(self, *settlements: Settlement) -> Task:
        (task,) = self.exchange(*settlements)
        return task


class Job:
    """A broker with a run under way whose source the hand `collector` holds, so that the run does not end early."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self.broker = broker
        self.clock = clock
        self.collector = Hand(broker, "collector", {Kind.SOURCE: 1})

    def begin(self, found: list[Found] | None = None, **settings: object) -> Begun:
        """Begin a run, and put what its source names."""
        begun = self.broker.begin(spec(**settings))
        self.source = self.collector.one()
        self.broker.put(found or [], self.source.number)
        return begun

    def end_source(self) -> None:
        self.collector.exchange(done(self.source), room={})

    def worker(self, name: str = "w", room: dict[Kind, int] | None = None) -> Hand:
        return Hand(self.broker, name, room)

    def drain(self, settle: Callable[[Task], Settlement] = done, name: str = "drain", rounds: int = 300) -> list[Task]:
        """Take and settle all there is, as one worker; return what it was given."""
        worker = self.worker(name, ALL_ROOM)
        given: list[Task] = []
        for _ in range(rounds):
            tasks = worker.exchange(*(settle(task) for task in worker.held.values()))
            given += tasks
            if worker.reply.state is State.FINISHED:
                return given
            self.clock.advance(0.0 if tasks else 1.0)
        raise AssertionError(f"not finished after {rounds} exchanges: {self.broker.counts()}")

    def finish(self, settle: Callable[[Task], Settlement] = done) -> list[Task]:
        self.end_source()
        given = self.drain(settle)
        self.conclude()
        return given

    def conclude(self) -> None:
        """Let the next run begin, as a door does."""
        cursor = self.broker.review("")
        while cursor:
            cursor = self.broker.review(cursor)
        self.broker.conclude()

    def rows(self) -> list[LedgerRow]:
        return self.broker.results("", 100_000).rows

    def outcomes(self) -> dict[str, str]:
        """Return the current outcome of every image by URL."""
        return {row.url: row.outcome for row in self.rows() if row.current}


@contextlib.contextmanager
def served(broker: SqliteBroker, *listeners: socket.socket, key: bytes = KEY) -> Iterator[Manager]:
    """Serve `broker` from a thread, until the block ends."""
    manager = Manager(broker, key)
    for listener in listeners:
        manager.listen(listener)
    stop = threading.Event()
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            while not stop.is_set():
                manager.turn()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            manager.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield manager
    finally:
        stop.set()
        thread.join(10)
        broker.close()
    assert not failures, f"the manager's loop ended: {failures[0]!r}"


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))
