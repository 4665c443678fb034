"""The broker dies at any moment, and nothing is lost or told twice."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from brokers.driver import ALL_ROOM, DOWNLOADS, SITE, Clock, Hand, Job, done, image, images, retry, returned, spec
from crawler.account import LedgerRow
from crawler.brokers.offline import read_counts
from crawler.brokers.sqlite import ALIVE_EVERY, SqliteBroker
from crawler.model import Found, ImageDetail, Kind, Settlement, SourceDetail, State, Task, pack

WORKERS = ("a", "b", "c")
#: Seconds after a crash in which workers may hold what they were given before.
GRACE = spec().lease + ALIVE_EVERY
SAYS = {"success": done, "http_404": lambda task: done(task, "http_404"), "retry": retry, "returned": returned}


def crash(broker: SqliteBroker) -> None:
    """End `broker` as the system does: its files are closed, nothing more is written."""
    broker._records.close()


class Crashes(RuleBasedStateMachine):
    """Workers that live on while the broker under them dies and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="crawler-"))
        self.clock = Clock()
        self.broker = self.open()
        self.put: set[str] = set()
        self.told: dict[str, str] = {}  #: outcomes whose reply was heard
        self.hands: dict[str, Hand] = {}

    def open(self) -> SqliteBroker:
        return SqliteBroker(self.directory / "queue.sqlite", clock=self.clock, chance=lambda: 0.5)

    @initialize()
    def begin(self) -> None:
        self.broker.begin(spec())
        self.hands = {name: Hand(self.broker, name, DOWNLOADS) for name in WORKERS}

    def reopen(self) -> None:
        self.broker = self.open()
        for hand in self.hands.values():
            hand.broker = self.broker

    @rule(host=st.sampled_from("xyz"), first=st.integers(0, 20), number=st.integers(1, 12))
    def put_images(self, host: str, first: int, number: int) -> None:
        urls = {f"http://{host}.test/{i}.png" for i in range(first, first + number)}
        new = self.broker.put([image(url) for url in urls])
        assert new == len(urls - self.put)
        self.put |= urls

    def said(self, name: str, says: list[str]) -> list[Settlement]:
        return [SAYS[how](task) for how, task in zip(says, self.hands[name].held.values(), strict=False)]

    @rule(
        name=st.sampled_from(WORKERS), says=st.lists(st.sampled_from(list(SAYS)), max_size=8), room=st.integers(0, 10)
    )
    def exchange(self, name: str, says: list[str], room: int) -> None:
        hand = self.hands[name]
        urls = {task.number: task.url for task in hand.held.values()}
        said = self.said(name, says)
        hand.exchange(*said, room={Kind.IMAGE: room})
        for settlement in said:
            if settlement.outcome == "success":
                self.told.setdefault(urls[settlement.number], "success")

    @rule(names=st.lists(st.sampled_from(WORKERS), unique=True, max_size=2))
    def crash(self, names: list[str]) -> None:
        """The broker dies, and with it some workers."""
        crash(self.broker)
        self.reopen()
        for name in names:
            self.hands[name] = Hand(self.broker, name + "'", DOWNLOADS)

    @rule(name=st.sampled_from(WORKERS), says=st.lists(st.sampled_from(list(SAYS)), min_size=1, max_size=8))
    def crash_before_the_commit(self, name: str, says: list[str]) -> None:
        """The worker hears no reply, so it still holds what it held."""
        group = self.broker.group()
        group.__enter__()
        hand = self.hands[name]
        held = dict(hand.held)
        self.broker.put(images(5, "never.test"))
        hand.exchange(*self.said(name, says))
        hand.held = held
        crash(self.broker)
        self.reopen()

    @precondition(lambda self: self.hands)
    @rule()
    def stop_and_start(self) -> None:
        self.broker.close()
        self.reopen()

    @rule(seconds=st.sampled_from([0.5, 2.0, GRACE, 10.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.broker.tick()

    def rows(self) -> list[LedgerRow]:
        return self.broker.results("", 100_000).rows

    @invariant()
    def nothing_is_lost_or_told_twice(self) -> None:
        rows = self.rows()
        urls = [row.url for row in rows]
        assert len(urls) == len(set(urls))
        assert set(urls) <= self.put
        counts = self.broker.counts()
        assert len(rows) + counts.waiting_images == len(self.put)
        tally: dict[str, int] = {}
        for row in rows:
            tally[row.outcome] = tally.get(row.outcome, 0) + 1
        assert counts.images == tally
        known = {row.url: row.outcome for row in rows}
        for url, outcome in self.told.items():
            assert url in known
            assert known[url] == outcome or known[url] in ("http_404", "http_500", "worker_died")
        if self.hands:
            assert counts.state is State.OPEN  # its source waits

    def teardown(self) -> None:
        try:
            if self.hands:
                self.drain()
            self.broker.close()
            if self.hands:
                counts = read_counts(self.directory / "queue.sqlite")
                assert sum(counts.images.values()) == len(self.put)
        finally:
            shutil.rmtree(self.directory)

    def drain(self) -> None:
        hand = Hand(self.broker, "drain", ALL_ROOM)
        for _ in range(300):
            tasks = hand.exchange(*map(done, list(hand.held.values())))
            if hand.reply.state is State.FINISHED:
                break
            self.clock.advance(0.0 if tasks else 1.0)
        assert hand.reply.state is State.FINISHED
        assert {row.url for row in self.rows()} == self.put
        assert len(self.rows()) == len(self.put)
        assert self.broker.counts().waiting_images == 0


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


# What single crashes leave


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(path: Path, clock: Clock, number: int = 3) -> tuple[SqliteBroker, Hand, list[Task]]:
    broker = SqliteBroker(path, clock=clock)
    broker.begin(spec())
    broker.put(images(number))
    hand = Hand(broker, "w")
    return broker, hand, hand.exchange()


def test_what_a_worker_names_after_a_crash_is_its_again(tmp_path: Path, clock: Clock) -> None:
    broker, hand, tasks = started(tmp_path / "q", clock)
    crash(broker)
    hand.broker = broker = SqliteBroker(tmp_path / "q", clock=clock)
    for seconds in (0, GRACE / 2, GRACE / 2):
        clock.advance(seconds)
        assert hand.exchange() == []
    assert Hand(broker, "other").exchange() == []
    assert broker.counts().held == 3
    hand.exchange(*(done(task, "http_404") for task in tasks))  # a failure is its holder's to tell
    assert broker.counts().images == {"http_404": 3}
    broker.close()


def test_after_a_crash_nothing_is_given_at_once(tmp_path: Path, clock: Clock) -> None:
    broker, _, _ = started(tmp_path / "q", clock)
    crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    other = Hand(broker, "other")
    assert other.exchange() == []
    clock.advance(GRACE)
    assert len(other.exchange()) == 3
    broker.close()


def test_after_a_crash_workers_together_ask_no_more_than_before(tmp_path: Path, clock: Clock) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    broker.begin(spec(requests_per_host=4))
    broker.put(images(100))
    hands = [Hand(broker, name) for name in "ab"]
    for hand in 4 * hands:
        hand.exchange(busy={"a.test": hand.grants["a.test"].count} if hand.grants else {})
    assert [hand.grants["a.test"].count for hand in hands] == [2, 2]
    crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    for seconds in (0.0, 1.0, *5 * [GRACE / 4]):
        clock.advance(seconds)
        for hand in hands:
            hand.broker = broker
            hand.exchange(busy={"a.test": min(2, hand.grants["a.test"].count)})
            assert sum(hand.grants["a.test"].count for hand in hands) <= 4
    assert [hand.grants["a.test"].count for hand in hands] == [2, 2]
    broker.close()


@pytest.mark.parametrize("clean", [True, False])
def test_after_a_restart_the_delay_is_kept(tmp_path: Path, clock: Clock, clean: bool) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    broker.begin(spec(delay=60.0))
    broker.put(images(3))
    hand = Hand(broker, "a")
    hand.exchange(done(hand.exchange()[0]), busy={"a.test": 1}, room={})
    if clean:
        broker.drain()
        hand.exchange(*map(returned, hand.held.values()), room={})
        broker.close()
    else:
        crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    other = Hand(broker, "b")
    clock.advance(59.0)
    assert other.exchange() == []
    clock.advance(1.0 if clean else GRACE + 1.0)
    assert other.exchange()
    broker.close()


def test_after_a_proper_end_there_is_no_grace(tmp_path: Path, clock: Clock) -> None:
    broker, hand, tasks = started(tmp_path / "q", clock)
    broker.drain()
    hand.exchange(*map(returned, tasks), room={})
    broker.close()
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    assert len(Hand(broker, "other").exchange()) == 3
    broker.close()


def test_an_end_while_a_worker_goes_on_is_no_proper_one(tmp_path: Path, clock: Clock) -> None:
    """As where the door of the broker was killed."""
    broker, _, _ = started(tmp_path / "q", clock)
    broker.close()
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    assert Hand(broker, "other").exchange() == []
    broker.close()


def test_attempts_survive(tmp_path: Path, clock: Clock) -> None:
    broker, hand, tasks = started(tmp_path / "q", clock, 1)
    for attempt in (1, 2):
        assert hand.exchange(retry(tasks[0])) == []
        crash(broker)
        hand.broker = broker = SqliteBroker(tmp_path / "q", clock=clock)
        clock.advance(GRACE)
        tasks = hand.exchange()
        assert tasks[0].attempts == attempt
    hand.exchange(retry(tasks[0]))
    assert broker.counts().images == {"http_500": 1}
    broker.close()


def test_lost_leases_survive(tmp_path: Path, clock: Clock) -> None:
    broker, _, _ = started(tmp_path / "q", clock)
    for name in ("two", "three"):
        clock.advance(20)
        Hand(broker, name).exchange()
    crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    clock.advance(GRACE)
    assert len(Hand(broker, "four").exchange()) == 1
    broker.close()


def test_an_uncommitted_finish_is_no_finish(tmp_path: Path, clock: Clock) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    broker.begin(spec())
    hand = Hand(broker, "w", ALL_ROOM)
    source = hand.one()
    group = broker.group()
    group.__enter__()
    hand.exchange(done(source))
    assert hand.reply.state is State.FINISHED
    crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    assert broker.state is State.OPEN
    begun = broker.begin(spec())
    assert (begun.run, begun.resumed) == (1, True)
    broker.close()


def test_the_source_of_a_killed_collector_is_read_again_from_its_cursor(tmp_path: Path, clock: Clock) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    broker.begin(spec())
    hand = Hand(broker, "w", ALL_ROOM)
    hand.exchange(returned(hand.one(), cursor=42), room={})
    crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    clock.advance(GRACE)
    (task,) = Hand(broker, "v", ALL_ROOM).exchange()
    assert task.url == SITE
    assert bytes(task.detail) == bytes(pack(SourceDetail(cursor=42)))
    broker.close()


def test_an_opt_out_of_a_page_is_known_after_a_crash(tmp_path: Path) -> None:
    clock = Clock()
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    job = Job(broker, clock)
    url = "http://a.test/0.png"
    job.begin([Found(Kind.IMAGE, url, pack(ImageDetail()), None, "noai: noai")])
    crash(broker)
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    clock.advance(GRACE + 1)
    broker.put([image(url)], job.source.number)
    assert [task.url for task in Hand(broker, "w").exchange()] == [url]
    assert (tmp_path / "q").stat().st_mode & 0o077 == 0
