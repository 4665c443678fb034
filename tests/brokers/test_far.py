"""What a worker that has the key can do from another machine, and what it cannot."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from brokers.driver import KEY, Hand, done, image, page, raw, served, spec
from crawler.brokers import manager, plain, wire
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.listen import listen_tcp
from crawler.brokers.shards import MOST_UNSETTLED
from crawler.brokers.sqlite import SqliteBroker
from crawler.errors import BrokerUnreachable
from crawler.model import (
    ImageResult,
    Kind,
    Move,
    Report,
    RobotsFile,
    Settlement,
    ShardReport,
    Stored,
    Verb,
    encode,
    pack,
)

A, B = "127.0.0.1", "127.0.0.2"
SOURCE, PAGE, IMAGES = 1, 2, (3, 4, 5)


class From(ManagerBroker):
    """A worker at an address of loopback: each of these is another machine to the manager."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(ServerAddress(A, port), KEY, encrypt=False)
        self._address = address

    def _open(self) -> socket.socket:
        return socket.create_connection((A, self._server.port), 10, (self._address, 0))

    def send(self, message: bytes) -> None:
        self.connect()
        assert self._socket is not None
        self._socket.sendall(wire.frame(message))

    def call(self, ident: str, method: str, *args: object) -> Any:
        """Call as a stock client does; raises what the manager does, or EOFError where it ends the connection."""
        self.send(plain.dumps((ident, method, args, {})))
        kind, value = plain.loads(self._receive(), exceptions=True)
        if kind != "#RETURN":
            raise value
        return value


class Network:
    """A job of a source, a page and three images, and workers at any address."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.made: list[From] = []

    def at(self, address: str) -> From:
        self.made.append(From(address, self.port))
        return self.made[-1]

    def worker(self, name: str, address: str = A) -> Hand:
        return Hand(self.at(address), name, {Kind.IMAGE: 10, Kind.ROBOTS: 10})


@pytest.fixture
def broker() -> SqliteBroker:
    made = SqliteBroker(None)
    made.begin(spec())
    made.put([page("http://site.test/a"), *(image(f"http://a.test/{n}.png") for n in range(3))])
    return made


@pytest.fixture
def network(broker: SqliteBroker) -> Iterator[Network]:
    listener = listen_tcp(A, 0)
    with served(broker, listener):
        made = Network(listener.getsockname()[1])
        yield made
        for worker in made.made:
            worker.close()


@contextlib.contextmanager
def refused(caplog: pytest.LogCaptureFixture, why: str, address: str = A) -> Iterator[None]:
    """What is done inside ends the connection, and the log says why, with the peer's address."""
    with caplog.at_level(logging.WARNING), pytest.raises((BrokerUnreachable, EOFError, ConnectionError)):
        yield
    told = [line for line in caplog.messages if line.startswith(f"the connection from {address}:")]
    assert any(why in line for line in told), caplog.messages


def told(*, of: int = IMAGES[0], verb: Verb = Verb.DONE, outcome: str = "success", **more: object) -> Report:
    return Report(settlements=[Settlement(number=of, verb=verb, outcome=outcome, **more)])  # type: ignore[arg-type]


def shard(stored: object = None, **failed: object) -> Report:
    """Return a report of a shard with one image, or with the failure of one."""
    if stored is not None:
        body = pack(stored) if isinstance(stored, ImageResult) else stored
        return Report(shards=[ShardReport(0, Stored([3], [1], [body]))])  # type: ignore[list-item]
    said = Settlement(number=3, verb=Verb.DONE, **{"outcome": "http_404", **failed})  # type: ignore[arg-type]
    return Report(shards=[ShardReport(0, Stored(), [said])])


def robots(file: object) -> Report:
    return told(of=-1, result=raw(msgspec.to_builtins(file)))


NAN, ENDLESS = float("nan"), float("inf")
FOREIGN: dict[str, tuple[Report, str]] = {
    "takes sources": (Report(room={Kind.SOURCE: 1}), "asks for sources or pages"),
    "takes pages": (Report(room={Kind.PAGE: 1}), "asks for sources or pages"),
    "names a file to read": (told(found=[page("file:///etc/passwd")]), "of length <= 0"),
    "names tasks by and by": (told(verb=Verb.FOUND), "how far a source was read"),
    "moves a source on": (told(verb=Verb.RETURNED, cursor=7), "how far a source was read"),
    "counts links": (told(left_out={"scope": 7}), "of length <= 0"),
    "makes up an outcome": (told(outcome="x" * 1000), "unknown outcome"),
    "tells a long story": (told(message="x" * 10_000), "of length <= 2000"),
    "moves to a long URL": (told(verb=Verb.MOVED, move=Move("http://a.test/" + "x" * 10_000, 0)), "too long"),
    "moves to a candidate before the first": (told(verb=Verb.MOVED, move=Move("http://a.test/", 0, -1)), ">= 0"),
    "climbs out of the directory": (told(result=pack(ImageResult(file="a/../../passwd"))), "outside of the job's"),
    "names a device": (told(result=pack(ImageResult(file="/dev/zero"))), "outside of the job's"),
    "stores a device": (Report(stored=Stored([3], [1], [pack(ImageResult(file="/dev/zero"))])), "outside of the job's"),
    "has a result that is none": (told(result=raw({"file": 7})), "a report is none"),
    "stores what is none": (Report(stored=Stored([3], [1], [raw(7)])), "a report is none"),
    "tells of huge robots": (robots(RobotsFile(text="x" * 600_000)), "too long"),
    "waits for no number": (told(verb=Verb.RETRY, outcome="timeout", retry_after=NAN), ">= 0.0"),
    "crawls with no number": (robots(RobotsFile(crawl_delay=NAN)), ">= 0.0"),
    "crawls for ever": (robots(RobotsFile(crawl_delay=ENDLESS)), "<= 1"),
    "answers before it is asked": (Report(latency={"a.test": -1.0}), ">= 0.0"),
    "stores more than there is": (told(size=2**53), "<= 1099511627776"),
    "stores less than nothing": (told(size=-1), ">= 0"),
    "is busy less than nothing": (Report(busy={"a.test": -1}), ">= 0"),
    "binds out of the directory": (shard(ImageResult(file="../passwd")), "outside of the job's"),
    "binds what is none": (shard(raw(7)), "a report is none"),
    "makes up the failure of a shard": (shard(outcome="x"), "unknown outcome"),
    "fails out of the directory": (shard(result=pack(ImageResult(file="/etc/passwd"))), "outside of the job's"),
    "names tasks in a shard": (shard(found=[page("http://a.test/")]), "of length <= 0"),
    "tells of a shard below the first": (Report(shards=[ShardReport(-1, Stored())]), ">= 0"),
    "has begun one below the first": (Report(shard_numbers=[-1]), ">= 0"),
    "binds the world": (Report(bound=[1] * 200_000), "of length <= 100000"),
    "holds the world": (Report(held=[1] * 200_000), "of length <= 100000"),
}  # fmt: skip


@pytest.mark.parametrize(("report", "why"), FOREIGN.values(), ids=FOREIGN)
def test_what_no_worker_of_another_machine_may_say(
    network: Network, caplog: pytest.LogCaptureFixture, report: Report, why: str
) -> None:
    with refused(caplog, why):
        network.at(A).exchange("w", report)
    assert len(network.worker("honest").exchange()) == len(IMAGES), "nothing came of it, and others are served"


def test_text_that_is_no_text_ends_its_own_connection_only(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    broken = encode(told(outcome="timeout")).replace(b"timeout", b"\xff" * 7)
    with refused(caplog, "a report is none"):
        network.at(A).call("broker", "exchange", "w", broken)
    assert network.worker("honest").exchange()


def test_sources_and_pages_are_not_its_to_hold_or_settle(network: Network, broker: SqliteBroker) -> None:
    worker = network.at(A)
    for outcome in ("success", "http_404"):
        for number in range(20):
            worker.exchange("w", told(of=number, outcome=outcome))
    worker.exchange("w", Report(held=[SOURCE, PAGE]))
    counts = worker.counts()
    assert (counts.waiting_pages, counts.held, counts.pages) == (1, 0, {})
    assert counts.images == {"success": len(IMAGES)}, "it can lie about images"
    assert counts.state.value == "open"


@pytest.mark.parametrize("name", ["", "broker", "stock-127.0.0.1:1-1", "with a blank", "a\nb", "x" * 201])
def test_names_that_no_worker_may_give_itself(network: Network, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with refused(caplog, "is no name for a worker"):
        network.at(A).exchange(name, Report())


def test_shards_settle_images_alone_and_under_numbers_of_their_own(broker: SqliteBroker, network: Network) -> None:
    broker.begin(spec(store="shards"))
    honest, thief = network.worker("honest"), network.at(B)
    task, *_ = honest.exchange()
    assert network.made[0].exchange("honest", Report(wants_shard=True, held=list(honest.held))).shard == 0
    body = pack(ImageResult())
    for number in (0, 1, 2**40):
        for strange in (SOURCE, PAGE, -1, task.number):
            (answer,) = thief.exchange(
                "thief", Report(shards=[ShardReport(number, Stored([strange], [1], [body]))])
            ).answers
            assert answer.refused == [strange]
    mine = thief.exchange("thief", Report(wants_shard=True)).shard
    for strange in (SOURCE, PAGE, -1):
        told = Report(shards=[ShardReport(mine, Stored([strange], [1], [body]))])
        (answer,) = thief.exchange("thief", told).answers
        assert answer.refused == [strange]
    failed = Settlement(number=task.number, verb=Verb.DONE, outcome="http_404")
    (answer,) = thief.exchange("thief", Report(shards=[ShardReport(mine, Stored(), [failed])])).answers
    assert answer.refused == [task.number], "only its holder says that it failed"
    assert thief.counts().images == {}


def test_numbers_that_are_asked_for_without_end_come_to_one(broker: SqliteBroker, network: Network) -> None:
    broker.begin(spec(store="shards"))
    peer, begun = network.at(A), list[int]()
    for _ in range(50):
        number = peer.exchange("w", Report(wants_shard=True, shard_numbers=begun)).shard
        begun += [number] if number >= 0 else []
    assert begun == list(range(MOST_UNSETTLED)) and len(broker.shards()) == MOST_UNSETTLED
    assert network.at(B).exchange("other", Report(wants_shard=True)).shard == MOST_UNSETTLED


def test_nobody_speaks_for_a_worker_of_another_machine(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    honest = network.worker("honest")
    task, *_ = honest.exchange()
    with refused(caplog, "it speaks for honest, a worker of 127.0.0.1", B):
        network.at(B).exchange("honest", told(of=task.number, outcome="http_404"))
    honest.exchange(done(task), room={})
    assert network.at(B).counts().images == {"success": 1}


def test_a_connection_speaks_for_one_worker(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    peer = network.at(A)
    peer.exchange("one", Report())
    with refused(caplog, "it speaks for 'two' after 'one'"):
        peer.exchange("two", Report())


def test_what_another_holds_is_not_its_to_fail(network: Network) -> None:
    honest, other = network.worker("honest"), network.at(B)
    task, *_ = honest.exchange()
    other.exchange("other", told(of=task.number, outcome="http_404"))
    other.call("results", "put", f"{task.url}--->http_404")
    other.call("results", "put", f"{task.url}--->whatever it was")
    assert other.counts().images == {}
    honest.exchange(done(task), room={})
    assert other.counts().images == {"success": 1}


def test_of_stock_clients_only_those_of_the_same_machine_tell_of_a_failure(network: Network) -> None:
    """Threads of one program have a connection each: one takes, another tells."""
    taker, teller, other = network.at(A), network.at(A), network.at(B)
    url = taker.call("tasks", "get", True, 5)
    other.call("results", "put", f"{url}--->http_404")
    assert other.counts().images == {}
    teller.call("results", "put", f"{url}--->http_404")
    assert other.counts().images == {"http_404": 1}
    assert taker.call("tasks", "get", True, 5) != url, "and it has room for the next"


# What it cannot use up


def test_a_short_message_does_not_become_huge(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    for opcode in (b"]", b"N\x94"):  # a list each, an entry of the memo each
        with refused(caplog, "too many values"):
            peer = network.at(A)
            peer.send(b"\x80\x04" + opcode * 4_000_000 + b".")
            peer._receive()
    assert network.worker("honest").exchange()


def test_who_sends_on_while_its_request_waits_is_left(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    with refused(caplog, "it sends on while its request waits"):
        peer = network.at(A)
        peer.send(plain.dumps(("results", "get", (), {})))
        for _ in range(64):
            peer.send(bytes(2**20))
    assert network.worker("honest").exchange()


def test_who_asks_again_before_it_has_its_answer_is_left(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    with refused(caplog, "it asks again before it has its answer"):
        peer = network.at(A)
        peer.connect()
        assert peer._socket is not None
        peer._socket.sendall(wire.frame(plain.dumps(("broker", "counts", (), {}))) * 1000)
        while True:
            peer._receive()
    assert network.worker("honest").exchange()


def test_unfinished_messages_are_bounded_in_all(
    network: Network, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "MOST_HELD", 4 * 2**20)
    honest = network.worker("honest")
    honest.exchange(room={})
    with refused(caplog, "bytes are kept for it"):
        peer = network.at(A)
        peer.connect()
        assert peer._socket is not None
        peer._socket.sendall((8 * 2**20).to_bytes(4, "big") + bytes(6 * 2**20))
        peer._receive()
    assert honest.exchange()
