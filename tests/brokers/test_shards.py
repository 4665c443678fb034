"""Shards as a broker sees them: their numbers, what is settled with them, and what is bound until then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.conftest import LOCAL, local_broker
from brokers.driver import Clock, Hand, Job, done, image, images, page, retry, spec
from crawler.brokers.sqlite import ALIVE_EVERY, SqliteBroker
from crawler.brokers.words import DEADLY_AFTER
from crawler.model import (
    ImageResult,
    Kind,
    Reply,
    Report,
    Settlement,
    ShardAnswer,
    ShardReport,
    State,
    Stored,
    Task,
    Verb,
    Words,
    decode,
    pack,
)

LEASE = spec().lease
GRACE = LEASE + ALIVE_EVERY


class Binder(Hand):
    """A worker that binds images into shards, as the test says."""

    def __init__(self, job: Job, name: str = "w") -> None:
        super().__init__(job.broker, name, {Kind.IMAGE: 1000})
        self.bound: set[int] = set()
        self.begun: list[int] = []

    def say(self, *shards: ShardReport, wants: bool = False, room: int = 0, **more: object) -> Reply:
        told = {number for shard in shards for number in shard.numbers}
        report = Report(
            held=list(self.held.keys() - self.bound),
            bound=list(self.bound - told),
            shards=list(shards),
            shard_numbers=self.begun,
            wants_shard=wants,
            room={Kind.IMAGE: room},
            heard=self.heard,
            **more,  # type: ignore[arg-type]
        )
        self.hear(self.broker.exchange(self.name, report))
        for answer in self.reply.answers:
            gone = set(answer.refused)
            if not gone:
                self.begun = [number for number in self.begun if number != answer.number]
                gone = {number for shard in shards if shard.number == answer.number for number in shard.numbers}
            self.bound -= gone
            for number in gone:
                self.held.pop(number, None)
        return self.reply

    def take(self, number: int = 1000) -> list[Task]:
        return self.say(room=number).tasks

    def begin(self) -> int:
        """Begin a shard, and return its number."""
        self.begun.append(self.say(wants=True).shard)
        return self.begun[-1]

    def bind(self, tasks: list[Task]) -> None:
        self.bound |= {task.number for task in tasks}
        self.say()


def shard(number: int, tasks: list[Task], failed: list[Task] | None = None) -> ShardReport:
    stored = Stored()
    for at, task in enumerate(tasks):
        stored.add(task.number, 10, pack(ImageResult(file=f"shards/{number:05d}.tar/{number:05d}{at:04d}.jpg")))
    table = ImageResult(file=f"shards/{number:05d}.parquet")
    return ShardReport(number, stored, [done(task, "http_404", result=table) for task in failed or []])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=LOCAL)
def job(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Job]:
    with local_broker(request.param, clock, tmp_path) as broker:
        yield Job(broker, clock)


def begin(job: Job, number: int = 6, **settings: object) -> None:
    job.begin(images(number), store="shards", **settings)


# Numbers


def test_each_shard_has_a_number_of_its_own(job: Job) -> None:
    begin(job)
    workers = [Binder(job, name) for name in "abc"]
    assert [worker.begin() for worker in [*workers, *workers]] == [0, 1, 2, 3, 4, 5]
    assert [(row.number, row.worker, row.settled) for row in job.broker.shards()][3:] == [
        (3, "a", 0.0), (4, "b", 0.0), (5, "c", 0.0),
    ]  # fmt: skip


def test_a_number_that_was_never_heard_of_is_given_again(job: Job) -> None:
    begin(job)
    worker = Binder(job)
    worker.begin()
    assert [worker.say(wants=True).shard for _ in range(3)] == [1, 1, 1]
    assert Binder(job, "other").begin() == 2


def test_a_number_is_given_only_to_who_wants_one(job: Job) -> None:
    begin(job)
    assert Binder(job).say().shard == -1
    assert job.broker.shards() == []


def test_jobs_of_files_have_no_shards(job: Job) -> None:
    job.begin(images(3))
    worker = Binder(job)
    assert worker.say(wants=True).shard == -1
    tasks = worker.take()
    worker.bind(tasks)
    assert worker.say(shard(0, tasks)).answers == [ShardAnswer(0, [task.number for task in tasks])]
    assert job.outcomes() == {}


def test_numbers_go_on_in_the_next_run(job: Job) -> None:
    begin(job)
    Binder(job).begin()
    job.finish()
    begin(job)
    assert Binder(job, "next").begin() == 1


# Settling


def test_all_of_a_shard_is_settled(job: Job) -> None:
    begin(job)
    worker = Binder(job)
    tasks = worker.take()
    worker.bind(tasks)
    number = worker.begin()
    reply = worker.say(shard(number, tasks[:4], tasks[4:]))
    assert reply.answers == [ShardAnswer(number)]
    assert sorted(job.outcomes().values()) == 2 * ["http_404"] + 4 * ["success"]
    (row,) = job.broker.shards()
    assert (row.samples, row.failures, row.bytes, row.worker, row.run) == (4, 2, 40, "w", 1)
    assert row.settled == job.clock.now
    assert job.broker.counts().held == 1, "the source"


def test_what_is_told_again_changes_nothing(job: Job) -> None:
    begin(job)
    worker = Binder(job)
    tasks = worker.take()
    number = worker.begin()
    told = shard(number, tasks)
    worker.say(told)
    before, rows = job.broker.counts(), job.broker.shards()
    job.clock.advance(1.0)
    assert worker.say(told).answers == [ShardAnswer(number)]
    assert job.broker.counts().images == before.images and job.broker.shards() == rows


def test_nothing_is_settled_where_others_told_of_some(job: Job) -> None:
    begin(job)
    slow, quick = Binder(job, "slow"), Binder(job, "quick")
    tasks = slow.take()
    slow.bind(tasks)
    number = slow.begin()
    job.clock.advance(LEASE + 2)
    again = quick.take()
    assert {task.number for task in again} == {task.number for task in tasks}
    theirs = quick.begin()
    assert quick.say(shard(theirs, again[:2])).answers == [ShardAnswer(theirs)]
    refused = [task.number for task in again[:2]]
    (answer,) = slow.say(shard(number, tasks)).answers
    assert sorted(answer.refused) == sorted(refused)
    assert len(job.outcomes()) == 2
    rest = [task for task in tasks if task.number not in refused]
    assert slow.say(shard(number, rest)).answers == [ShardAnswer(number)]
    assert list(job.outcomes().values()) == 6 * ["success"]
    (late,) = quick.say(shard(quick.begin(), again[2:])).answers
    assert sorted(late.refused) == sorted(task.number for task in again[2:])


def test_only_its_holder_tells_that_an_image_failed(job: Job) -> None:
    begin(job, 1)
    slow, quick = Binder(job, "slow"), Binder(job, "quick")
    tasks = slow.take()
    number = slow.begin()
    job.clock.advance(LEASE + 2)
    assert quick.take()
    assert slow.say(shard(number, [], tasks)).answers == [ShardAnswer(number, [tasks[0].number])]
    assert job.outcomes() == {}
    theirs = quick.begin()
    assert quick.say(shard(theirs, tasks)).answers == [ShardAnswer(theirs)]
    assert list(job.outcomes().values()) == ["success"]


def test_the_number_of_anothers_shard_settles_nothing(job: Job) -> None:
    begin(job)
    owner, thief = Binder(job, "owner"), Binder(job, "thief")
    number, tasks = owner.begin(), thief.take()
    for strange in (number, 77):
        assert thief.say(shard(strange, tasks[:3])).answers == [ShardAnswer(strange, [t.number for t in tasks[:3]])]
    assert job.outcomes() == {} and not job.broker.shards()[0].settled


@pytest.mark.parametrize("strange", [-1, 0, 1, 10**9], ids=["robots", "none", "source", "unknown"])
def test_what_is_no_image_is_refused(job: Job, strange: int) -> None:
    begin(job)
    worker = Binder(job)
    tasks = worker.take()
    number = worker.begin()
    one = Task(strange, Kind.IMAGE, "http://a.test/", "http://a.test/", pack(ImageResult()))
    for told in (shard(number, [*tasks, one]), shard(number, tasks, [one])):
        assert worker.say(told).answers == [ShardAnswer(number, [strange])]
    assert job.outcomes() == {}
    assert worker.say(shard(number, tasks)).answers == [ShardAnswer(number)]


def test_a_failure_that_may_pass_is_none(job: Job) -> None:
    begin(job, 1)
    worker = Binder(job)
    (task,) = worker.take()
    number = worker.begin()
    for said in (retry(task), done(task, "success"), Settlement(number=task.number, verb=Verb.RETURNED)):
        assert worker.say(ShardReport(number, Stored(), [said])).answers == [ShardAnswer(number, [task.number])]
    assert job.outcomes() == {} and not job.broker.shards()[0].settled


def test_an_image_that_is_told_of_twice_counts_once(job: Job) -> None:
    begin(job, 2)
    worker = Binder(job)
    tasks = worker.take()
    number = worker.begin()
    worker.say(shard(number, [*tasks, *tasks], tasks), shard(number, tasks))
    counts = job.broker.counts()
    assert counts.images == {"success": 2} and counts.held == 1
    assert worker.take() == []


def test_bound_ones_that_are_stored_or_given_back_are_free_of_it(job: Job) -> None:
    begin(job, 4)
    worker = Binder(job)
    tasks = worker.take()
    worker.bind(tasks)
    stored, returned, failed, left = tasks
    report = Report(
        stored=Stored([stored.number], [1], [pack(ImageResult())]),
        settlements=[
            Settlement(number=returned.number, verb=Verb.RETURNED), done(failed, "http_404"),
        ],
        bound=[task.number for task in tasks], room={},
    )  # fmt: skip
    for _ in range(3):
        worker.broker.exchange("w", report)
        job.clock.advance(1.0)
    assert sorted(job.outcomes().values()) == ["http_404", "success"]
    counts = job.broker.counts()
    assert counts.waiting_images == 2 and counts.held <= 3
    job.clock.advance(LEASE + 2)
    assert sorted(task.number for task in Binder(job, "next").take()) == sorted([returned.number, left.number])


# What is bound


def test_bound_ones_are_held_but_leave_room_at_their_host(job: Job) -> None:
    begin(job, 1000, requests_per_host=2)
    worker = Binder(job)
    seen = 0
    while tasks := worker.take():
        seen += len(tasks)
        worker.bind(tasks)
    assert seen == 1000
    assert job.broker.counts().held == 1001
    assert Binder(job, "other").take() == []


def test_many_deaths_with_bound_ones_kill_no_image(job: Job) -> None:
    begin(job, 3)
    for death in range(3 * DEADLY_AFTER):
        worker = Binder(job, f"w{death}")
        tasks = worker.take()
        assert len(tasks) == 3, "none is given out by itself"
        worker.begin()
        worker.bind(tasks)
        job.clock.advance(LEASE + 2)
        job.broker.counts()
    assert job.outcomes() == {}
    assert len(job.broker.shards()) == 3 * DEADLY_AFTER, "the numbers of the dead are not given again"


def test_a_worker_that_lives_on_keeps_its_bound_ones(job: Job) -> None:
    begin(job)
    worker = Binder(job)
    worker.bind(worker.take())
    for _ in range(5):
        job.clock.advance(LEASE / 2)
        worker.say()
        assert Binder(job, "other").take() == []


def test_bound_ones_keep_no_source_from_naming_more(job: Job) -> None:
    begin(job, 0, queue_limit=5, sources=spec().sources)
    job.broker.put(images(20), job.source.number)
    worker, feeder = Binder(job), Hand(job.broker, "feeder", {Kind.PAGE: 10})
    job.broker.put([page("http://site.test/more")], job.source.number)
    assert feeder.exchange() == [], "too many images wait"
    worker.bind(worker.take())
    job.clock.advance(1.1)
    assert [task.url for task in feeder.exchange()] == ["http://site.test/more"]


def test_tasks_come_with_their_words(job: Job) -> None:
    words = Words(alt="a cat", caption="it sleeps")
    job.begin([image("http://a.test/1.png", words)], store="shards")
    (task,) = Binder(job).take()
    assert [decode(packed, Words) for _, packed in task.mentions] == [words]


# When shards are to be closed


def test_shards_are_closed_when_nothing_else_waits(job: Job) -> None:
    begin(job)
    worker = Binder(job)
    some = worker.take(4)
    worker.bind(some)
    assert not worker.say().close_shards
    worker.bind(worker.take())
    assert not worker.say().close_shards, "the source may name more"
    job.end_source()
    assert worker.say().close_shards
    number = worker.begin()
    worker.say(shard(number, [*worker.held.values()]))
    assert worker.say().state is State.FINISHED


def test_who_must_wait_for_an_image_by_itself_closes_its_shard(job: Job, clock: Clock) -> None:
    begin(job, 1)
    for death in range(DEADLY_AFTER - 1):
        assert Hand(job.broker, f"dead{death}").exchange()
        clock.advance(LEASE + 2)
    job.broker.put(images(3, "b.test"), job.source.number)
    worker = Binder(job)
    seen: list[Task] = []
    for _ in range(20):
        tasks = worker.take()
        seen += tasks
        worker.bind(tasks)
        if worker.say().close_shards:
            worker.say(shard(worker.begin(), [worker.held[number] for number in worker.bound]))
        clock.advance(0.1)
    assert len(seen) == 4 and len(job.outcomes()) == 4, "none waits for the time of a shard to be over"


def test_shards_are_closed_where_no_more_images_are_wanted(job: Job) -> None:
    begin(job, 100, max_images=5)
    worker = Binder(job)
    tasks = worker.take()
    assert len(tasks) == 5
    worker.bind(tasks)
    assert worker.say().close_shards


# A broker that is started again


@pytest.mark.parametrize("clean", [False, True])
def test_bound_ones_are_named_again_after_a_restart(tmp_path: Path, clock: Clock, clean: bool) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    job = Job(broker, clock)
    begin(job)
    worker = Binder(job)
    tasks = worker.take()
    worker.bind(tasks)
    number = worker.begin()
    if clean:
        broker.close()
    else:
        broker._records.close()
    worker.broker = broker = SqliteBroker(tmp_path / "q", clock=clock)
    for _ in range(3):
        worker.say()
        clock.advance(GRACE / 2)
    other = Hand(broker, "other")
    assert other.exchange() == []
    assert worker.say(wants=True).shard == 1, "a number that it has is not given again"
    worker.begun.append(1)
    assert worker.say(shard(number, tasks)).answers == [ShardAnswer(number)]
    assert broker.counts().images == {"success": 6}
    broker.close()


def test_a_shard_is_told_of_to_a_broker_that_was_started_again(tmp_path: Path, clock: Clock) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    begin(Job(broker, clock))
    worker = Binder(Job(broker, clock))
    tasks = worker.take()
    number = worker.begin()
    for _ in range(2):
        broker._records.close()
        worker.broker = broker = SqliteBroker(tmp_path / "q", clock=clock)
        assert worker.say(shard(number, tasks[:3], tasks[3:])).answers == [ShardAnswer(number)]
        assert sum(broker.counts().images.values()) == 6
    broker.close()
