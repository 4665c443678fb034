"""One contract, five brokers: in memory, on a file, behind the manager, over Redis and over a Cluster of it."""

import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from brokers.conftest import LOCAL, local_broker
from brokers.driver import (
    ALL_ROOM,
    DOWNLOADS,
    SITE,
    Clock,
    Hand,
    Job,
    done,
    image,
    images,
    moved,
    page,
    retry,
    returned,
    robots_of,
    spec,
)
from crawler.brokers import words
from crawler.brokers.redis.broker import RedisBroker
from crawler.brokers.redis.server import Server
from crawler.brokers.words import DEADLY_AFTER, ORPHANS_AT_A_TIME
from crawler.errors import CrawlerError, UsageError
from crawler.model import (
    Found,
    ImageDetail,
    ImageResult,
    Kind,
    Move,
    PageDetail,
    Report,
    RobotsFile,
    Settlement,
    SourceDetail,
    State,
    Stored,
    Task,
    Verb,
    Words,
    decode,
    pack,
)
from crawler.urls import address

LEASE = spec().lease
JOBS = itertools.count()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[*LOCAL, "redis", "cluster"])
def job(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Job]:
    if request.param in ("redis", "cluster"):
        shared = over_redis(request.getfixturevalue(request.param), clock)
        yield Job(shared, clock)
        shared.close()
        return
    with local_broker(request.param, clock, tmp_path) as broker:
        yield Job(broker, clock)


def over_redis(url: str, clock: Clock) -> RedisBroker:
    """Return a broker that looks at everything in every call, since the tests turn the clock by hand."""
    name = f"job {next(JOBS)}"
    return RedisBroker(Server(url), name, partitions=4, clock=clock, chance=lambda: 0.5, look_every=0, patrol_every=0)


def failed(task: Task) -> Settlement:
    return done(task, "http_403")


# Runs


def test_the_first_run_is_opened(job: Job) -> None:
    begun = job.broker.begin(spec(timeout=7.0))
    assert (begun.run, begun.resumed, begun.rebooted_since) == (1, False, 0.0)
    assert begun.job_id
    assert job.broker.spec().timeout == 7.0
    assert job.broker.spec().job_id == begun.job_id


def test_an_unfinished_run_is_resumed_with_the_new_settings(job: Job) -> None:
    first = job.begin(images(2))
    again = job.broker.begin(spec(timeout=9.0))
    assert (again.run, again.resumed, again.job_id) == (1, True, first.job_id)
    assert job.broker.spec().timeout == 9.0
    assert job.broker.counts().waiting_images == 2


def test_after_its_end_the_next_run_is_opened(job: Job) -> None:
    first = job.begin(images(2))
    job.finish()
    begun = job.begin()
    assert (begun.run, begun.resumed, begun.job_id) == (2, False, first.job_id)


def test_other_sources_are_refused_and_change_nothing(job: Job) -> None:
    job.begin(images(1))
    with pytest.raises(UsageError, match="--job"):
        job.broker.begin(spec(sources=(("http://other.test/", SourceDetail()),)))
    assert [url for url, _ in job.broker.spec().sources] == [SITE]
    assert job.broker.counts().waiting_images == 1
    job.finish()


def test_workers_hear_when_the_settings_change(job: Job) -> None:
    job.begin()
    worker = job.worker()
    worker.exchange()
    before = worker.reply.spec_digest
    worker.exchange()
    assert worker.reply.spec_digest == before
    job.broker.begin(spec(timeout=9.0))
    worker.exchange()
    assert worker.reply.spec_digest != before


# Putting


def test_put_counts_new_tasks_once(job: Job) -> None:
    job.begin()
    assert job.broker.put([*images(3), *images(3)], job.source.number) == 3
    assert job.broker.put(images(4), job.source.number) == 1
    assert job.broker.counts().waiting_images == 4
    assert len(job.finish()) == 4


def test_one_url_may_be_a_page_and_an_image(job: Job) -> None:
    job.begin()
    assert job.broker.put([image("http://a.test/x"), page("http://a.test/x")], job.source.number) == 2


def test_a_done_image_is_not_new_in_the_same_run(job: Job) -> None:
    job.begin(images(1))
    worker = job.worker()
    worker.exchange(failed(worker.one()))
    assert job.broker.put(images(1), job.source.number) == 0
    assert worker.exchange() == []


def test_what_a_settlement_found_is_put(job: Job) -> None:
    job.begin([page("http://a.test/")])
    worker = job.worker(room=ALL_ROOM)
    (task,) = worker.exchange()
    found = [image("http://b.test/1.png", Words(found_in="img")), page("http://a.test/2")]
    kinds = {t.kind for t in worker.exchange(done(task, found=found, left_out={"other_host": 3}))}
    assert kinds == {Kind.IMAGE, Kind.PAGE}
    assert job.broker.counts().left_out == {"other_host": 3}


def test_workers_cannot_make_sources(job: Job) -> None:
    job.begin()
    source = image("/etc/passwd")
    source.kind = Kind.SOURCE
    assert job.broker.put([source], job.source.number) == 0


# Settling


@pytest.mark.parametrize("columns", [True, False])
def test_done_is_one_result(job: Job, clock: Clock, columns: bool) -> None:
    job.begin(images(1))
    worker = job.worker("w-1")
    worker.columns = columns
    task = worker.one()
    assert (task.kind, task.url, task.at) == (Kind.IMAGE, "http://a.test/0.png", "http://a.test/0.png")
    assert worker.reply.grants["a.test"].count == 8
    clock.advance(1)
    body = ImageResult(file="a.test/0.png", width=3)
    worker.exchange(done(task, size=70, result=body))
    worker.exchange(done(task, size=70, result=body))
    (row,) = job.rows()
    assert (row.run, row.url, row.outcome, row.size, row.worker) == (1, task.url, "success", 70, "w-1")
    assert row.time == clock.now
    assert row.current
    assert decode(row.result, ImageResult) == body
    assert job.broker.counts().images == {"success": 1}
    assert job.broker.counts().bytes == 70


@pytest.mark.parametrize("columns", [True, False])
def test_done_twice_in_one_report_is_one_result(job: Job, columns: bool) -> None:
    job.begin(images(1))
    worker = job.worker()
    worker.columns = columns
    task = worker.one()
    worker.exchange(done(task), done(task), failed(task))
    assert [row.outcome for row in job.rows()] == ["success"]


def test_stored_images_of_many_hosts_and_sources(job: Job) -> None:
    job.begin([image(f"http://{host}.test/{i}.png") for i in range(5) for host in "abc"])
    worker = job.worker()
    tasks = worker.exchange()
    worker.exchange(*(done(task, size=task.number, result=ImageResult(file=task.url)) for task in tasks))
    rows = job.rows()
    assert {row.url: (decode(row.result, ImageResult).file, row.outcome) for row in rows} == {
        task.url: (task.url, "success") for task in tasks
    }
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    assert job.broker.counts().bytes == sum(task.number for task in tasks)
    assert sorted(job.broker.counts().hosts) == [(f"http://{host}.test", "success", 5) for host in "abc"]
    assert job.finish() == []


def test_what_a_worker_wrongly_says_it_stored_harms_nothing(job: Job) -> None:
    """Its own image is stored; twice, another's, a page, an unknown number and robots are looked at one by one."""
    job.begin([*images(1), *images(1, "b.test"), page(SITE + "page.html")])
    other, worker = job.worker("other"), job.worker("w-1", room={Kind.IMAGE: 1, Kind.PAGE: 1})
    (others,) = other.exchange(room={Kind.IMAGE: 1})
    tasks = {task.kind: task.number for task in worker.exchange()}
    stored = Stored()
    for number in (tasks[Kind.IMAGE], tasks[Kind.IMAGE], others.number, tasks[Kind.PAGE], 10**6, -1, 0):
        stored.add(number, 10, pack(ImageResult(file=str(number))))
    job.broker.exchange("w-1", Report(stored=stored, heard=1))
    assert sorted((row.outcome, decode(row.result, ImageResult).file) for row in job.rows()) == sorted(
        [("success", str(tasks[Kind.IMAGE])), ("success", str(others.number))]
    )
    assert job.broker.counts().images == {"success": 2}
    assert job.broker.counts().bytes == 20
    job.end_source()
    assert job.broker.counts().state is State.FINISHED


def test_failure_is_a_result(job: Job) -> None:
    job.begin(images(1))
    worker = job.worker()
    worker.exchange(done(worker.one(), "too_large", message="60 MB"))
    assert [(row.outcome, row.message) for row in job.rows()] == [("too_large", "60 MB")]


def test_only_the_holder_may_say_that_it_failed(job: Job) -> None:
    job.begin(images(1))
    holder, other = job.worker("holder"), job.worker("other")
    task = holder.one()
    other.exchange(failed(task), room={})
    assert job.rows() == []
    other.exchange(retry(task), room={})
    other.exchange(returned(task), room={})
    other.exchange(moved(task, "http://b.test/"), room={})
    assert other.exchange() == []
    assert job.broker.counts().held == 2
    holder.exchange(done(task))
    assert job.outcomes() == {task.url: "success"}


@pytest.mark.parametrize("columns", [True, False])
def test_success_is_accepted_from_anyone(job: Job, columns: bool) -> None:
    job.begin(images(1))
    holder, other = job.worker("holder"), job.worker("other")
    task = holder.one()
    if columns:
        other.images.add(task.number)
    other.exchange(done(task))
    holder.exchange(failed(task))
    assert [(row.outcome, row.worker) for row in job.rows()] == [("success", "other")]
    assert job.broker.counts().held == 1


def test_unknown_numbers_are_ignored(job: Job) -> None:
    job.begin(images(1))
    worker = job.worker()
    task = worker.one()
    for verb in Verb:
        for number in (10**6, -(10**6), 0):
            worker.exchange(Settlement(number=number, verb=verb, outcome="success", move=Move("http://b.test/", 1)))
    worker.exchange(done(task))
    assert job.broker.counts().images == {"success": 1}


def test_retries_burn_three_attempts(job: Job, clock: Clock) -> None:
    job.begin(images(1))
    worker = job.worker()
    for attempt in range(3):
        task = worker.one()
        assert task.attempts == attempt
        assert worker.exchange(retry(task, message=f"try {attempt}")) == []
        clock.advance(10)
    assert worker.exchange() == []
    assert [(row.outcome, row.message) for row in job.rows()] == [("http_500", "try 2")]


def test_a_retry_waits(job: Job, clock: Clock) -> None:
    job.begin(images(1))
    worker = job.worker()
    assert worker.exchange(retry(worker.one())) == []
    clock.advance(0.7)
    assert worker.exchange() == []
    clock.advance(0.1)
    assert len(worker.exchange()) == 1


def test_retry_after_is_kept(job: Job, clock: Clock) -> None:
    job.begin(images(1))
    worker = job.worker()
    worker.exchange(retry(worker.one(), "http_429", retry_after=60.0))
    clock.advance(10)
    assert worker.exchange() == []
    clock.advance(10)
    worker.exchange()
    clock.advance(10)
    worker.exchange()
    clock.advance(29.9)
    assert worker.exchange() == []
    clock.advance(0.2)
    assert len(worker.exchange()) == 1


def test_returned_burns_none(job: Job) -> None:
    job.begin(images(1))
    worker = job.worker()
    task = worker.one()
    for _ in range(10):
        (task,) = worker.exchange(returned(task))
        assert task.attempts == 0
    assert job.rows() == []


def test_a_source_goes_on_at_its_cursor(job: Job) -> None:
    job.begin()
    (task,) = job.collector.exchange(returned(job.source, cursor=500))
    assert decode(task.detail, SourceDetail).cursor == 500


def test_moved_goes_to_the_other_host(job: Job) -> None:
    job.begin(images(1))
    worker = job.worker()
    task = worker.one()
    again = worker.one(moved(task, "http://b.test/real.png", hops=2, candidate=1))
    assert (again.number, again.url, again.at) == (task.number, task.url, "http://b.test/real.png")
    assert (again.hops, again.candidate, again.attempts) == (2, 1, 0)
    assert worker.reply.grants["b.test"].count == 8
    worker.exchange(done(again))
    assert job.outcomes() == {task.url: "success"}


def test_a_move_hears_the_other_hosts_robots_first(job: Job) -> None:
    job.begin(images(1), obey_robots=True)
    worker = job.worker()
    task = worker.one(robots_of(worker.one(), RobotsFile()))
    robots = worker.one(moved(task, "http://b.test/real.png"))
    assert (robots.kind, robots.at) == (Kind.ROBOTS, "http://b.test/robots.txt")
    assert worker.one(robots_of(robots, RobotsFile())).at == "http://b.test/real.png"


def test_a_settlement_that_makes_no_sense_loses_nothing(job: Job, clock: Clock) -> None:
    job.begin(images(1))
    worker = job.worker()
    task = worker.one()
    with contextlib.suppress(CrawlerError, msgspec.MsgspecError):
        worker.exchange(returned(task, cursor=7), room={})  # an image has no cursor
    clock.advance(LEASE + 1.5)
    assert [t.number for t in job.worker("other").exchange()] == [task.number]


def test_robots_that_make_no_sense_lose_nothing(job: Job, clock: Clock) -> None:
    job.begin(images(1), obey_robots=True)
    worker = job.worker()
    robots = worker.one()
    with contextlib.suppress(CrawlerError, msgspec.MsgspecError):
        worker.exchange(Settlement(number=robots.number, verb=Verb.DONE, outcome="success"), room={})
    clock.advance(LEASE + 1.5)
    assert [t.kind for t in job.worker("other").exchange()] == [Kind.ROBOTS]


# Leases


def silence(job: Job, worker: Hand) -> list[Task]:
    """Let whoever holds something be silent for too long, and have `worker` ask."""
    job.clock.advance(LEASE + 1.5)
    return worker.exchange()


def test_what_is_named_is_kept(job: Job, clock: Clock) -> None:
    job.begin(images(3))
    worker, other = job.worker("w"), job.worker("other")
    worker.exchange()
    for _ in range(5):
        clock.advance(LEASE * 0.9)
        worker.exchange()
        assert other.exchange() == []


def test_what_is_not_named_goes_back(job: Job, clock: Clock) -> None:
    job.begin(images(3))
    worker = job.worker("w")
    tasks = worker.exchange()
    del worker.held[tasks[0].number]
    for _ in range(3):
        clock.advance(LEASE * 0.6)
        worker.exchange(room={})
    assert {task.number for task in worker.exchange()} == {tasks[0].number}


def test_after_the_lease_tasks_go_to_another_worker(job: Job) -> None:
    job.begin(images(3))
    lost = job.worker("lost").exchange()
    other = job.worker("other")
    assert other.exchange() == []
    assert {t.number for t in silence(job, other)} == {t.number for t in lost}
    assert job.broker.workers() == ["other"]
    other.exchange(*map(done, lost))
    assert job.broker.counts().images == {"success": 3}


def test_a_late_success_still_counts_once(job: Job) -> None:
    job.begin(images(1))
    slow, other = job.worker("slow"), job.worker("other")
    task = slow.one()
    assert len(silence(job, other)) == 1
    slow.exchange(done(task))
    other.exchange(done(task))
    assert [row.worker for row in job.rows()] == ["slow"]


def test_lost_twice_is_given_out_alone(job: Job) -> None:
    job.begin([*images(3), *images(3, "b.test")])
    assert len(job.worker("one").exchange()) == 6
    assert len(silence(job, job.worker("two"))) == 6
    third = job.worker("three")
    (alone,) = silence(job, third)
    assert third.exchange() == []
    (next_one,) = third.exchange(done(alone))
    assert next_one.number != alone.number
    fourth = job.worker("four")
    assert len(fourth.exchange()) == 1


def test_what_is_lost_twice_while_it_is_alone_is_worker_died(job: Job) -> None:
    job.begin(images(2))
    job.worker("one").exchange()
    silence(job, job.worker("two"))
    alone = [silence(job, job.worker(f"alone {number}")) for number in range(3)]
    assert [len(tasks) for tasks in alone] == [1, 1, 1] and job.outcomes() == {}
    silence(job, job.worker("last"))
    assert list(job.outcomes().values()) == ["worker_died"]


def numbers(tasks: Iterable[Task]) -> set[int]:
    return {task.number for task in tasks}


def spread(number: int, hosts: int, name: str = "") -> list[Found]:
    """Return images of several hosts, by turns."""
    return [image(f"http://{i % hosts}.test/{name}{i}.png") for i in range(number)]


def lose_many(job: Job, hosts: int) -> set[int]:
    """Begin a job, and let a worker die with 200 tasks of it; return these."""
    job.begin(spread(200, hosts), requests_per_host=64)
    lost = numbers(job.worker("lost").exchange())
    assert len(lost) == 200
    return lost


def test_a_source_that_is_named_twice_is_one(job: Job) -> None:
    job.begin(sources=(("http://a.test/", SourceDetail()),) * 2)
    assert len(job.collector.held) == 1 and job.worker("other", {Kind.SOURCE: 2}).exchange() == []


@pytest.mark.parametrize("hosts", [1, 40])
def test_few_orphans_are_held_at_a_time_beside_other_tasks(job: Job, hosts: int) -> None:
    orphans = lose_many(job, hosts)
    job.broker.put(spread(100, hosts, "more"), job.source.number)
    worker = job.worker()
    silence(job, worker)
    others = [task for task in worker.held.values() if task.number not in orphans]
    assert len(others) == 100 and len(worker.held) == 100 + ORPHANS_AT_A_TIME
    worker.exchange(*map(done, others))
    while orphans:
        assert worker.held.keys() <= orphans
        assert len(worker.held) == min(ORPHANS_AT_A_TIME, len(orphans))
        settled = list(worker.held.values())[:5]
        orphans -= numbers(settled)
        worker.exchange(*map(done, settled))
    assert job.broker.counts().images == {"success": 300}


def test_orphans_stay_few_when_they_are_returned_or_wait_to_be_tried_again(job: Job) -> None:
    lose_many(job, 3)
    worker = job.worker()
    silence(job, worker)
    for settle in (returned, lambda task: retry(task, "truncated"), returned, done):
        assert len(worker.exchange(*map(settle, worker.held.values()))) == ORPHANS_AT_A_TIME
        job.clock.advance(LEASE / 2)
    worker.exchange(*map(done, worker.held.values()), room={})
    job.finish()
    assert job.broker.counts().images == {"success": 200}


def test_orphans_of_a_host_that_is_down_end_with_it(job: Job) -> None:
    lose_many(job, 1)
    worker = job.worker()
    silence(job, worker)
    for _ in range(3):
        worker.exchange(*(done(task, "connect") for task in worker.held.values()))
        job.clock.advance(LEASE / 2)
        worker.exchange()
    assert job.broker.counts().images == {"connect": 2 * ORPHANS_AT_A_TIME, "host_down": 200 - 2 * ORPHANS_AT_A_TIME}


@pytest.mark.parametrize("hosts", [1, 40])
def test_only_orphans_that_die_again_are_given_out_alone(job: Job, hosts: int) -> None:
    orphans = lose_many(job, hosts)
    job.broker.put(spread(50, hosts, "more"), job.source.number)
    second = job.worker("second")
    silence(job, second)
    twice = second.held.keys() & orphans
    assert len(twice) == ORPHANS_AT_A_TIME and len(second.held) == 50 + ORPHANS_AT_A_TIME
    third, alone = job.worker("third"), 0
    silence(job, third)
    job.end_source()
    while third.reply.state is State.OPEN:
        assert len(third.held) == 1 or not third.held.keys() & twice
        assert len(third.held) <= ORPHANS_AT_A_TIME
        alone += bool(third.held.keys() & twice)
        third.exchange(*map(done, third.held.values()))
    assert alone == len(twice)
    assert job.broker.counts().images == {"success": 250}


def test_what_is_given_out_alone_is_followed_by_the_next_at_once(job: Job) -> None:
    job.begin([*images(5), *images(5, "b.test")])
    job.worker("one").exchange()
    silence(job, job.worker("two"))
    job.broker.put(images(50, "c.test"), job.source.number)
    worker = job.worker()
    silence(job, worker)
    while not worker.reply.tasks or len(worker.held) > 1:
        worker.exchange(*map(done, worker.held.values()))
    for _ in range(4):
        (task,) = worker.held.values()
        assert address(task.at).authority != "c.test"
        worker.exchange(done(task))


def test_what_is_given_out_alone_is_followed_by_the_next_before_any_robots_txt(job: Job) -> None:
    job.begin(images(3), obey_robots=True)
    first = job.worker("first")
    assert len(first.exchange(robots_of(first.one(), RobotsFile()))) == 3
    silence(job, job.worker("second"))
    worker = job.worker()
    (task,) = silence(job, worker)
    job.broker.put(images(1, "b.test"), job.source.number)
    for _ in range(2):
        task = worker.one(done(task))
        assert (task.kind, address(task.at).authority) == (Kind.IMAGE, "a.test")
    assert worker.exchange(done(task)) or worker.one().kind is Kind.ROBOTS


def test_no_robots_txt_is_an_orphan(job: Job) -> None:
    job.begin(spread(40, 40), obey_robots=True)
    assert len(job.worker("first").exchange()) == 40
    for number in range(DEADLY_AFTER + 1):
        given = silence(job, job.worker(f"next {number}"))
        assert [task.kind for task in given] == [Kind.ROBOTS] * 40


@pytest.mark.parametrize("hosts", [1, 40])
def test_what_kills_its_workers_takes_few_others_along(job: Job, hosts: int) -> None:
    job.begin(spread(200, hosts), requests_per_host=64)
    job.end_source()
    url = f"http://{77 % hosts}.test/77.png"
    deaths, most_held = 0, []
    worker = job.worker("first")
    worker.exchange()
    for _ in range(300):
        if url in {task.url for task in worker.held.values()}:
            deaths += 1
            most_held.append(len(worker.held))
            worker = job.worker(f"after {deaths}")
            silence(job, worker)
        else:
            worker.exchange(*map(done, worker.held.values()))
        if worker.reply.state is State.FINISHED:
            break
    assert deaths == DEADLY_AFTER and most_held[2:] == [1, 1] and most_held[1] <= ORPHANS_AT_A_TIME
    assert [it for it, outcome in job.outcomes().items() if outcome == "worker_died"] == [url]
    assert job.broker.counts().images == {"success": 199, "worker_died": 1}


def test_a_list_that_is_read_on_after_each_death_loses_nothing(job: Job) -> None:
    job.begin(sources=(("file:///list.csv", SourceDetail(sort="list", path="/list.csv")),))
    source, reader = job.source, job.collector
    for cursor in range(1, 6):
        reader = job.worker(f"reader {cursor}", {Kind.SOURCE: 1})
        (source,) = silence(job, reader)
        (source,) = reader.exchange(returned(source, cursor))
    assert decode(source.detail, SourceDetail).cursor == 5
    reader.exchange(done(source))
    assert job.broker.counts().state is State.FINISHED


def test_a_job_of_lists_has_no_pages(job: Job) -> None:
    job.begin(
        [page("http://a.test/"), *images(1)], sources=(("file:///l", SourceDetail(sort="list", path="/l")),)
    )  # nobody would read them
    assert (job.broker.counts().waiting_pages, job.broker.counts().waiting_images) == (0, 1)


# Asking again


@pytest.mark.parametrize("room", [{Kind.SOURCE: 1}, {Kind.PAGE: 64, Kind.ROBOTS: 16}, DOWNLOADS])
def test_only_those_who_take_images_are_download_workers(job: Job, room: dict[Kind, int]) -> None:
    job.begin()
    assert job.broker.counts().workers == 0, "the collector takes sources"
    job.worker("w", room).exchange()
    assert job.broker.counts().workers == (Kind.IMAGE in room)


def test_who_hears_no_news_asks_ever_less_often(job: Job) -> None:
    job.begin(images(1))
    worker = job.worker()
    task = worker.one()
    rests = [worker.exchange() or worker.reply.retry_in for _ in range(8)]
    assert rests == sorted(rests) and rests[0] < 0.1 and rests[-1] == rests[-2] <= 0.5
    job.broker.put(images(2)[1:], job.source.number)
    worker.one(done(task))
    assert worker.reply.retry_in < 0.1


# robots.txt


def test_robots_is_the_first_request_of_a_host(job: Job) -> None:
    job.begin(images(5), obey_robots=True)
    worker = job.worker()
    robots = worker.one()
    assert (robots.kind, robots.at) == (Kind.ROBOTS, "http://a.test/robots.txt")
    assert worker.reply.grants["a.test"].count >= 1
    other = job.worker("other")
    assert other.exchange() == []
    text = "User-agent: *\nDisallow: /private\n"
    tasks = worker.exchange(robots_of(robots, RobotsFile(text=text, crawl_delay=0.0)))
    assert [task.kind for task in tasks] == [Kind.IMAGE] * 5
    assert job.broker.robots(worker.reply.robots["http://a.test"]) == text


def test_no_robots_is_the_empty_digest(job: Job) -> None:
    job.begin(images(1), obey_robots=True)
    worker = job.worker()
    worker.one(robots_of(worker.one(), RobotsFile()))
    assert worker.reply.robots == {"http://a.test": ""}
    assert job.broker.robots("") == ""


def test_crawl_delay_becomes_the_grants_delay(job: Job, clock: Clock) -> None:
    job.begin(images(5), obey_robots=True)
    worker = job.worker()
    assert worker.exchange(robots_of(worker.one(), RobotsFile(crawl_delay=3.0))) == []
    clock.advance(3.1)  # the request for robots.txt counts
    assert len(worker.exchange()) == 1
    assert (worker.grants["a.test"].count, worker.grants["a.test"].delay) == (1, 3.0)


def test_http_and_https_have_their_own_robots(job: Job) -> None:
    job.begin([image("http://a.test/1.png"), image("https://a.test/1.png")], obey_robots=True)
    ats = {task.at for task in job.worker().exchange()}
    assert ats == {"http://a.test/robots.txt", "https://a.test/robots.txt"}


def test_unreachable_robots_end_the_hosts_tasks_after_three_attempts(job: Job, clock: Clock) -> None:
    job.begin([*images(4), page("http://a.test/p"), image("http://b.test/1.png")], obey_robots=True)
    worker = job.worker()
    answer = RobotsFile(reachable=False, message="robots.txt answered 500")
    asked = 0
    for _ in range(12):
        tasks = worker.exchange(
            *(
                robots_of(t, answer, "http_500")
                if "a.test" in t.at
                else robots_of(t, RobotsFile())
                if t.kind is Kind.ROBOTS
                else done(t)
                for t in worker.held.values()
            )
        )
        asked += sum(task.at == "http://a.test/robots.txt" for task in tasks)
        clock.advance(5)
    assert asked == 3
    counts = job.broker.counts()
    assert counts.images == {"robots_unreachable": 4, "success": 1}
    assert counts.pages == {"robots_unreachable": 1}
    assert {row.message for row in job.rows() if "a.test" in row.url} == {"robots.txt answered 500"}
    job.broker.put(images(6), job.source.number)  # two more
    clock.advance(2)
    worker.exchange()
    assert job.broker.counts().images["robots_unreachable"] == 6


def test_robots_that_moved_are_asked_there(job: Job) -> None:
    job.begin(images(1), obey_robots=True)
    worker = job.worker()
    robots = worker.one(moved(worker.one(), "http://b.test/robots.txt"))
    assert (robots.kind, robots.at, robots.hops) == (Kind.ROBOTS, "http://b.test/robots.txt", 1)
    task = worker.one(robots_of(robots, RobotsFile(text="User-agent: *\nDisallow: /x\n")))
    assert task.at == "http://a.test/0.png"
    assert job.broker.robots(worker.reply.robots["http://a.test"]).startswith("User-agent")


def test_a_silent_workers_robots_are_asked_by_another(job: Job) -> None:
    job.begin(images(1), obey_robots=True)
    job.worker("lost").one()
    (robots,) = silence(job, job.worker("other"))
    assert robots.kind is Kind.ROBOTS


# Politeness


class Busy(Hand):
    """A worker that keeps to its grants: `busy` are its requests under way."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.under_way: dict[int, Task] = {}
        self.ended: list[Settlement] = []
        self.told = 0

    def start(self) -> None:
        for task in self.held.values():
            if task.number in self.under_way:
                continue
            if len(self.under_way) < self.grants["a.test"].count:
                self.under_way[task.number] = task

    def end(self, number: int) -> None:
        for task in list(self.under_way.values())[:number]:
            del self.under_way[task.number]
            self.ended.append(done(task))

    def report(self) -> None:
        said, self.ended = self.ended, []
        self.exchange(*said, busy={"a.test": len(self.under_way)})
        self.told += len(said)
        self.start()


def test_rising_latency_slows_a_host_though_pages_may_take_longer_than_images(job: Job) -> None:
    job.begin([*images(60), page(SITE + "slow"), page(SITE + "slower")])
    reader, worker = job.worker("reader", {Kind.PAGE: 1}), job.worker()
    reader.exchange()
    worker.exchange()
    worker.exchange(latency={"a.test": 0.01})
    before = worker.grants["a.test"].count
    reader.exchange(latency={"a.test": 4.0})
    worker.exchange()
    assert worker.grants["a.test"].count == before > 2
    worker.exchange(latency={"a.test": 4.0})
    worker.exchange()
    assert worker.grants["a.test"].count < before


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_all_workers_together_keep_to_the_hosts_limit(job: Job, clock: Clock, seed: int, delay: float) -> None:
    most, chance = 5, random.Random(seed)
    found = [*images(60), *(page(f"http://a.test/p{i}") for i in range(20))]
    job.begin(found, requests_per_host=most, delay=delay)
    readers = [Busy(job.broker, f"pages-{i}", {Kind.PAGE: 10}) for i in range(3)]
    workers = [*readers, *(Busy(job.broker, f"images-{i}", DOWNLOADS) for i in range(3))]
    worked = set()
    for _ in range(5000):
        worker = chance.choice(workers)
        worker.end(chance.randrange(4))
        if worker.ended or not worker.under_way or chance.random() < 0.5:
            worker.report()
        clock.advance(chance.random() * 0.5)
        busy = {w.name: len(w.under_way) for w in workers}
        assert sum(busy.values()) <= (1 if delay else most)
        assert sum(len(w.under_way) for w in readers) <= 2
        worked |= {name for name, number in busy.items() if number}
        if sum(w.told for w in workers) == len(found):
            break
    else:
        raise AssertionError(f"not done: {job.broker.counts()}")
    counts = job.broker.counts()
    assert len(worked) >= 4  # nobody keeps the host to itself
    assert (counts.waiting_images, counts.waiting_pages) == (0, 0)
    assert (counts.images, counts.pages) == ({"success": 60}, {"success": 20})


def test_pages_have_at_most_two_requests(job: Job) -> None:
    job.begin([page(f"http://a.test/p{i}") for i in range(50)])
    readers = [job.worker(f"r{i}", {Kind.PAGE: 10}) for i in range(4)]
    for _ in range(5):
        for reader in readers:
            reader.exchange(busy={"a.test": min(len(reader.held), 1)})
        assert 1 <= sum(r.grants["a.test"].count for r in readers if r.held) <= 2


def test_with_a_delay_one_worker_asks_one_at_a_time(job: Job) -> None:
    job.begin(images(50), delay=2.0)
    workers = [job.worker(f"w{i}") for i in range(4)]
    for worker in workers:
        worker.exchange()
    (holder,) = (worker for worker in workers if worker.held)
    assert (holder.grants["a.test"].count, holder.grants["a.test"].delay) == (1, 2.0)
    assert len(holder.held) <= 3  # a turn of five seconds


def test_a_delay_ends_with_the_settings_that_had_it(job: Job) -> None:
    job.begin(images(5), delay=3.0)
    job.broker.begin(spec())
    worker = job.worker()
    worker.exchange()
    assert worker.grants["a.test"].count > 1 and worker.grants["a.test"].delay == 0.0


def test_a_complaint_blocks_the_host_for_all(job: Job, clock: Clock) -> None:
    job.begin(images(100))
    one, two = job.worker("one"), job.worker("two")
    one.exchange()
    task = next(iter(one.held.values()))
    one.exchange(retry(task, "http_503", retry_after=30.0), room={})
    assert one.grants["a.test"].wait == pytest.approx(30.0)
    assert two.exchange() == []
    clock.advance(10)
    one.exchange()
    assert one.grants["a.test"].wait == pytest.approx(20.0)


def test_a_slow_host_stops_nobody_else(job: Job) -> None:
    job.begin([*images(300, "slow.test"), *images(5, "b.test")])
    worker = job.worker()
    hosts = Counter(task.at.split("/")[2] for task in worker.exchange())
    assert hosts["b.test"] == 5
    assert 0 < hosts["slow.test"] < 300


@pytest.mark.parametrize(
    "url", ["http://", "nonsense", "ftp://a.test/x", "http://a b/", "http://a.test:99999/", "https://"]
)
def test_what_is_no_url_is_told_and_nothing_waits_for_it(job: Job, url: str) -> None:
    job.begin([image(url), *images(2)])
    job.finish(done)
    assert job.broker.counts().images == {"bad_url": 1, "success": 2}


def test_room_is_kept(job: Job) -> None:
    job.begin([*images(10), *images(10, "b.test")])
    assert len(job.worker().exchange(room={Kind.IMAGE: 7})) == 7


def test_pages_wait_while_too_many_images_do(job: Job) -> None:
    job.begin([*images(20), page("http://a.test/p")], queue_limit=10)
    reader, worker = job.worker("r", {Kind.PAGE: 1}), job.worker("w")
    assert reader.exchange() == []
    tasks = worker.exchange(room={Kind.IMAGE: 20})
    assert len(tasks) == 20
    worker.exchange(*map(done, tasks[:15]), room={})
    assert len(reader.exchange()) == 1


# Dead hosts


def test_a_host_is_down_after_twenty_failed_connections(job: Job) -> None:
    job.begin([*images(60), *images(3, "b.test")])
    worker = job.worker(room={Kind.IMAGE: 1000})
    tasks = [task for task in worker.exchange() if "a.test" in task.at]
    assert len(tasks) == 32
    worker.exchange(*(done(task, "connect") for task in tasks[:19]), room={})
    assert "host_down" not in job.broker.counts().images
    worker.exchange(done(tasks[19], "connect"), room={})
    assert job.broker.counts().images == {"connect": 20, "host_down": 28}
    worker.exchange(*map(returned, tasks[20:]))
    assert job.broker.counts().images == {"connect": 20, "host_down": 40}
    assert len(worker.held) == 3


def test_a_host_that_is_silent_is_down_after_ten(job: Job) -> None:
    job.begin(images(60))
    worker = job.worker(room={Kind.IMAGE: 1000})
    tasks = worker.exchange()
    worker.exchange(*(done(task, "timeout") for task in tasks[:9]), room={})
    assert "host_down" not in job.broker.counts().images
    worker.exchange(done(tasks[9], "timeout"), room={})
    assert job.broker.counts().images["host_down"] > 0


def test_a_host_that_has_answered_is_down_after_twenty_time_outs(job: Job) -> None:
    job.begin(images(60))
    worker = job.worker(room={Kind.IMAGE: 1000})
    tasks = worker.exchange()
    worker.exchange(done(tasks[0]), *(done(task, "timeout") for task in tasks[1:20]), room={})
    assert "host_down" not in job.broker.counts().images
    worker.exchange(done(tasks[20], "timeout"), room={})
    assert job.broker.counts().images["host_down"] > 0


def test_the_next_run_tries_a_dead_host_again(job: Job) -> None:
    job.begin(images(60))
    job.finish(lambda task: done(task, "connect"))
    assert job.broker.counts().images["host_down"] > 0
    job.begin(images(60))
    assert len(job.worker().exchange()) > 0


def test_our_own_networks_failure_burns_no_attempts(job: Job, clock: Clock) -> None:
    job.begin([image(f"http://h{i}.test/1.png") for i in range(12)])
    worker = job.worker()
    tasks = worker.exchange()
    worker.exchange(*(retry(task, "dns", suspect=True) for task in tasks), room={})
    assert worker.reply.notice
    for _ in range(5):
        clock.advance(10)
        probe = worker.exchange()
        assert len(probe) <= 1
        worker.exchange(*(retry(task, "dns", suspect=True) for task in probe), room={})
    assert job.rows() == []
    clock.advance(10)
    worker.exchange(*map(done, worker.exchange()), room={})
    assert not worker.reply.notice
    clock.advance(10)
    assert len(worker.exchange()) == 11


def test_silence_is_the_hosts_own_where_a_workers_network_works(job: Job, clock: Clock) -> None:
    job.begin([image(f"http://h{i}.test/1.png") for i in range(12)])
    job.end_source()
    worker = job.worker()
    worker.exchange(*(retry(task, "timeout", suspect=True) for task in worker.exchange()), room={})
    assert worker.reply.notice
    worker.exchange(room={}, reaches=True)
    assert not worker.reply.notice
    for _ in range(30):
        clock.advance(1)
        worker.exchange(*(retry(task, "timeout", suspect=True) for task in worker.exchange()), room={})
    clock.advance(1)
    worker.exchange()
    assert worker.reply.state is State.FINISHED, "and so is the run"
    assert {row.outcome for row in job.rows()} == {"timeout"}


# The end


def test_finished_exactly_when_nothing_waits_or_is_held(job: Job, clock: Clock) -> None:
    job.begin(images(2))
    worker = job.worker()

    def state() -> State:
        clock.advance(1.1)
        worker.exchange(room={})
        assert worker.reply.state is job.broker.counts().state
        return worker.reply.state

    first, second = worker.exchange()
    assert state() is State.OPEN
    job.end_source()
    worker.exchange(done(first), room={})
    assert state() is State.OPEN
    worker.exchange(retry(second), room={})
    assert state() is State.OPEN  # it waits for its second attempt
    clock.advance(10)
    (second,) = worker.exchange()
    assert state() is State.OPEN
    worker.exchange(done(second))
    assert worker.reply.state is State.FINISHED
    assert state() is State.FINISHED
    assert job.broker.counts().ended > 0


def test_a_source_that_waits_keeps_the_run_open(job: Job) -> None:
    job.broker.begin(spec())
    worker = job.worker()
    worker.exchange()
    assert worker.reply.state is State.OPEN


def test_children_of_the_last_task_keep_the_run_open(job: Job) -> None:
    job.begin()
    job.collector.exchange(done(job.source, found=images(1)), room={})
    assert job.collector.reply.state is State.OPEN
    assert len(job.drain()) == 1


def test_max_images_gives_out_no_more(job: Job) -> None:
    job.begin(images(20), max_images=5)
    one, two = job.worker("one"), job.worker("two")
    job.collector.exchange(returned(job.source), room={})
    assert len(one.exchange()) == 5
    assert two.exchange() == []
    one.exchange(*map(failed, list(one.held.values())[:2]), room={})  # failures do not count
    assert len(one.exchange()) == 2
    one.exchange(*map(done, list(one.held.values())))
    assert one.exchange() == two.exchange() == []
    assert job.broker.counts().images == {"success": 5, "http_403": 2}


def test_max_images_counts_from_each_start(job: Job) -> None:
    job.begin(images(20), max_images=5)
    worker = job.worker()
    worker.exchange(*map(done, worker.exchange()))
    assert worker.exchange() == []
    job.broker.begin(spec(max_images=5))
    assert len(worker.exchange()) == 5
    assert worker.exchange() == []


def test_max_images_counts_images_only(job: Job) -> None:
    """A collector at work on sources and pages takes nothing from what may be fetched."""
    job.begin([*images(5), page("http://b.test/p1"), page("http://b.test/p2")], max_images=1)
    reader = job.worker("reader", {Kind.PAGE: 2})
    assert len(reader.exchange()) > 0
    assert len(job.worker("w").exchange()) == 1


def test_max_images_counts_what_stock_clients_fetched(job: Job) -> None:
    job.begin(images(5), max_images=2)
    job.collector.exchange(returned(job.source), room={})
    worker = job.worker()
    tasks = worker.exchange()
    assert worker.exchange(*(done(task, "reported") for task in tasks)) == []


def test_max_pages_leaves_the_rest_out(job: Job) -> None:
    job.begin([page("http://a.test/")], max_pages=2)
    (first,) = job.worker("r", {Kind.PAGE: 1}).exchange()
    assert job.broker.put([page(f"http://a.test/{i}") for i in range(5)], first.number) == 1
    assert job.broker.put(images(3), first.number) == 3
    counts = job.broker.counts()
    assert (counts.waiting_pages, counts.left_out) == (2, {"max_pages": 4})
    job.finish()
    assert job.broker.counts().pages == {"success": 2}


def test_the_first_page_of_each_site_is_read_whatever_max_pages_says(job: Job) -> None:
    job.begin([page(f"http://{name}.test/") for name in "abc"], max_pages=1)
    job.finish()
    assert job.broker.counts().pages == {"success": 3}


# The next run


def test_successes_are_not_fetched_again(job: Job) -> None:
    job.begin(images(3))
    job.finish()
    job.begin(refresh="new")
    assert job.broker.put(images(4), job.source.number) == 1
    assert job.broker.counts().already_there == 3
    assert [task.url for task in job.finish()] == ["http://a.test/3.png"]
    counts = job.broker.counts()
    assert (counts.run, counts.images, counts.already_there) == (2, {"success": 1}, 3)


def test_already_there_is_counted_once_an_image(job: Job) -> None:
    job.begin(images(2))
    job.finish()
    job.begin(images(2), refresh="new")
    job.broker.put(images(2), job.source.number)
    assert job.broker.counts().already_there == 2


def test_failures_are_tried_again(job: Job) -> None:
    job.begin(images(2))
    job.finish(failed)
    job.begin()
    job.broker.put(images(1), job.source.number)
    assert [(task.url, task.attempts) for task in job.finish()] == [("http://a.test/0.png", 0)]
    rows = [(row.run, row.url[-5:], row.outcome) for row in job.rows() if row.current]
    assert sorted(rows) == [(1, "1.png", "http_403"), (2, "0.png", "success")]


def test_pages_and_sources_are_read_again(job: Job) -> None:
    job.begin([page("http://a.test/")])
    first = job.source
    job.finish()
    job.begin([page("http://a.test/")])
    assert job.source.url == first.url
    assert [task.url for task in job.finish()] == ["http://a.test/"]
    assert job.broker.counts().pages == {"success": 1}


def test_a_list_is_read_from_its_beginning_again(job: Job) -> None:
    job.begin()
    (job.source,) = job.collector.exchange(returned(job.source, cursor=500))
    job.finish()
    job.begin()
    assert decode(job.source.detail, SourceDetail).cursor == 0


# Reopening


def test_reopened_images_are_tasks_again(job: Job) -> None:
    job.begin(images(3))
    job.finish(lambda task: failed(task) if task.url.endswith("1.png") else done(task, size=10))
    (seq,) = (row.seq for row in job.rows() if row.outcome == "http_403")
    assert job.broker.reopen([seq]) == 1
    counts = job.broker.counts()
    assert (counts.state, counts.images, counts.waiting_images) == (State.OPEN, {"success": 2}, 1)
    assert [task.url for task in job.drain()] == ["http://a.test/1.png"]
    assert job.broker.counts().images == {"success": 3}
    assert [row.current for row in job.rows() if row.url.endswith("1.png")] == [False, True]


def test_reopening_takes_the_bytes_back(job: Job) -> None:
    job.begin(images(2))
    job.finish(lambda task: done(task, size=10))
    job.broker.reopen([row.seq for row in job.rows()][:1])
    assert job.broker.counts().bytes == 10


def test_only_current_results_reopen(job: Job) -> None:
    job.begin(images(1))
    job.finish(failed)
    (old,) = (row.seq for row in job.rows())
    assert job.broker.reopen([old]) == 1
    assert job.broker.reopen([old]) == 0
    job.drain()
    assert job.broker.reopen([old, 10**6]) == 0
    assert job.broker.reopen([]) == 0


def test_reopened_from_an_earlier_run(job: Job) -> None:
    job.begin(images(2))
    job.finish()
    job.begin(images(2), refresh="new")
    (seq, _) = (row.seq for row in job.rows())
    assert job.broker.reopen([seq]) == 1
    job.finish()
    assert job.broker.counts().images == {"success": 1}
    assert sorted(row.run for row in job.rows() if row.current) == [1, 2]


# Results


def test_a_finished_run_is_taken_up_again_with_what_is_reopened_alone(job: Job, clock: Clock) -> None:
    job.begin([*images(3), page(SITE)])
    job.finish(lambda task: failed(task) if task.url.endswith("/1.png") else done(task))
    clock.advance(100.0)
    begun = job.broker.take_up(spec(timeout=9.0))
    assert (begun.run, begun.resumed, job.broker.spec().timeout) == (1, True, 9.0)
    assert job.broker.counts().state is State.FINISHED, "nothing is reopened yet"
    assert job.broker.reopen([row.seq for row in job.rows() if row.outcome == "http_403"]) == 1
    assert [task.url for task in job.drain(name="again")] == ["http://a.test/1.png"]
    counts = job.broker.counts()
    assert (counts.run, counts.state, counts.images) == (1, State.FINISHED, {"success": 3})
    job.conclude()
    assert job.begin().run == 2
    job.finish()


def test_what_is_open_or_was_never_begun_is_not_taken_up(job: Job) -> None:
    with pytest.raises(UsageError, match="has no run whose failures"):
        job.broker.take_up(spec())
    job.begin(images(1))
    with pytest.raises(UsageError, match="run 1 of job 'job' is not finished"):
        job.broker.take_up(spec())
    job.finish()
    with pytest.raises(UsageError, match="--job"):
        job.broker.take_up(spec(sources=(("http://other.test/", SourceDetail()),)))


def test_a_host_that_was_down_is_asked_again_for_what_is_reopened(job: Job, clock: Clock) -> None:
    job.begin(images(30))
    job.end_source()
    job.drain(lambda task: retry(task, "connect"), rounds=1000)
    job.conclude()
    down = [row.seq for row in job.rows() if row.current and row.outcome == "host_down"]
    assert down
    job.broker.take_up(spec())
    assert job.broker.reopen(down) == len(down)
    assert len(job.drain(name="again")) == len(down)
    assert job.broker.counts().images["success"] == len(down)


def test_results_go_on_at_the_cursor(job: Job) -> None:
    job.begin([*images(7), page("http://a.test/p")])
    worker = job.worker(room=ALL_ROOM)
    worker.exchange(*map(done, worker.exchange()))
    seen: list[str] = []
    cursor, sizes = "", []
    while (part := job.broker.results(cursor, 3)).rows:
        cursor = part.cursor
        sizes.append(len(part.rows))
        seen += [row.url for row in part.rows]
    assert sizes == [3, 3, 1]
    assert sorted(seen) == sorted(found.url for found in images(7))
    assert job.broker.results(cursor, 3).cursor == cursor
    job.broker.put(images(8), job.source.number)
    worker.exchange(*map(done, worker.exchange()))
    assert [row.url for row in job.broker.results(cursor, 3).rows] == ["http://a.test/7.png"]


def mentions_of(job: Job) -> tuple[list[tuple[str, Words]], int]:
    (row,) = job.broker.ledger("", 10).rows
    return [(page, decode(words, Words)) for page, words in row.mentions], row.mentions_total


def test_mentions_name_their_pages(job: Job) -> None:
    job.begin([page("http://a.test/1"), page("http://a.test/2")])
    worker = job.worker(room=ALL_ROOM)
    words = {"http://a.test/1": Words(found_in="img", alt="one"), "http://a.test/2": Words(title="two")}
    pages = worker.exchange()
    while len(pages) < 2:
        pages += worker.exchange()
    for task in pages:
        said = image("http://a.test/0.png", words[task.url])
        job.broker.put([said, said], task.number)
        job.broker.put([said], task.number)
    worker.exchange(*map(done, worker.held.values()))
    worker.exchange(*map(done, worker.held.values()))
    shown, total = mentions_of(job)
    assert sorted(shown, key=lambda mention: mention[0]) == sorted(words.items())
    assert total == 2


def test_the_ledger_has_images_that_no_page_names(job: Job) -> None:
    job.begin([image("http://a.test/1.png", Words(alt="one"))])
    job.broker.put([image("http://a.test/2.png", Words(found_in="task_queue"))])
    job.broker.put([image("http://a.test/3.png", Words(alt=f"words {i}")) for i in range(61)])
    job.finish()
    page = job.broker.ledger("", 1)  # few mentions at a time are read at once, of many only some
    rows = [*page.rows, *job.broker.ledger(page.cursor, 1).rows, *job.broker.ledger("", 10).rows]
    rows = sorted({row.url: row for row in rows}.values(), key=lambda row: row.url)
    assert [row.mentions_total for row in rows] == [1, 1, 61]
    assert {page for row in rows for page, _ in row.mentions if page} == {SITE}


def test_twenty_mentions_are_shown_and_all_are_counted(job: Job) -> None:
    job.begin([image("http://a.test/0.png", Words(alt=f"words {i}")) for i in range(33)])
    worker = job.worker()
    worker.exchange(done(worker.one()))
    shown, total = mentions_of(job)
    assert (len(shown), total) == (20, 33)


ROWS = ((SITE, SourceDetail(sort="list", path="x", per_row=True)),)


def test_where_rows_are_samples_all_of_them_are_shown(job: Job) -> None:
    said = [image("http://a.test/0.png", Words(caption="the same", row=row)) for row in range(1, 34)]
    job.begin([*said, *said[:9]], sources=ROWS)
    worker = job.worker()
    worker.exchange(done(worker.one()))
    shown, total = mentions_of(job)
    assert sorted(words.row for _, words in shown) == list(range(1, 34))
    assert total == 33


def test_what_rows_say_fits_into_one_message(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ROWS_BYTES", 20_000)
    said = [image("http://a.test/0.png", Words(caption="x" * 1000, row=row)) for row in range(1, 34)]
    job.begin(said, sources=ROWS)
    worker = job.worker()
    worker.exchange(done(worker.one()))
    shown, total = mentions_of(job)
    assert 15 <= len(shown) < 20 and total == 33


def test_a_known_image_gains_mentions_after_its_end(job: Job) -> None:
    job.begin([image("http://a.test/0.png", Words(alt="first"))])
    worker = job.worker()
    worker.exchange(done(worker.one()))
    job.broker.put([image("http://a.test/0.png", Words(alt="second"))], job.source.number)
    shown, _ = mentions_of(job)
    assert {words.alt for _, words in shown} == {"first", "second"}


def test_counts_by_site_and_host(job: Job) -> None:
    job.begin([*images(2), *images(1, "b.test"), page(SITE, depth=0)])
    job.finish(lambda task: failed(task) if "b.test" in task.url else done(task))
    counts = job.broker.counts()
    (site,) = counts.sites
    assert (site.url, site.outcomes, site.first_outcome) == (SITE, {"success": 2, "http_403": 1}, "success")
    assert sorted(map(tuple, counts.hosts)) == [("http://a.test", "success", 2), ("http://b.test", "http_403", 1)]


@pytest.mark.parametrize("cursor", ["12 or so", "\0", "-"])
def test_a_cursor_that_is_none_harms_nobody(job: Job, cursor: str) -> None:
    job.begin(images(1))
    with pytest.raises(UsageError):
        job.broker.results(cursor, 3)
    assert job.broker.counts().run == 1


# What pages want left alone, and pages without end


def freely(url: str) -> Found:
    return image(url, Words(alt="free"))


def left_alone(url: str) -> Found:
    return Found(Kind.IMAGE, url, pack(ImageDetail()), Words(alt="reserved"), "noai: noai")


URL = "http://a.test/0.png"


def test_what_a_page_wants_left_alone_is_told_and_not_given_out(job: Job) -> None:
    job.begin([left_alone(URL), left_alone(URL), *images(1, "b.test")])
    assert [task.url for task in job.worker().exchange()] == ["http://b.test/0.png"]
    (row,) = job.rows()
    assert (row.url, row.outcome, row.message) == (URL, "opted_out", "noai: noai")
    assert job.broker.counts().images == {"opted_out": 1}
    (row,) = job.broker.ledger("", 10).rows
    assert [decode(words, Words).alt for _, words in row.mentions] == ["reserved"]


def test_it_is_taken_where_another_page_names_it_freely(job: Job) -> None:
    job.begin([left_alone(URL)])
    job.broker.put([freely(URL)], job.source.number)
    job.broker.put([left_alone(URL)], job.source.number)
    assert job.finish() and job.outcomes() == {URL: "success"}
    assert job.broker.counts().images == {"success": 1}


def test_what_was_named_freely_first_is_taken(job: Job) -> None:
    job.begin([freely(URL)])
    job.broker.put([left_alone(URL)], job.source.number)
    assert job.finish() and job.outcomes() == {URL: "success"}


def test_what_the_image_itself_said_is_not_asked_again_in_the_run(job: Job) -> None:
    job.begin([freely(URL)])
    worker = job.worker()
    worker.exchange(done(worker.one(), "opted_out", message="x-robots-tag: noai"))
    job.broker.put([freely(URL)], job.source.number)
    assert worker.exchange() == []
    assert job.broker.counts().images == {"opted_out": 1}


def test_the_next_run_asks_again_whether_it_is_to_be_left_alone(job: Job) -> None:
    job.begin([left_alone(URL)])
    job.finish()
    job.begin([left_alone(URL)])
    job.finish()
    assert job.broker.counts().images == {"opted_out": 1}
    assert [row.run for row in job.rows() if row.current] == [2]
    job.begin([freely(URL)])
    assert job.finish()
    assert job.broker.counts().images == {"success": 1}
    job.begin([left_alone(URL)])
    job.finish()
    assert job.broker.counts().images == {} and job.broker.counts().already_there == 1


def test_pages_that_are_alike_are_left_out_in_every_run(job: Job) -> None:
    for _ in range(2):
        job.begin([], max_alike=10)
        first = job.worker("reader", ALL_ROOM)
        job.broker.put([page(SITE, 0)], job.source.number)
        parent = first.one()
        calendar = [page(f"{SITE}calendar?month={n}") for n in range(30)]
        job.broker.put(calendar, parent.number)
        job.broker.put(calendar[:20], parent.number)
        job.broker.put([page(f"{SITE}about")], parent.number)
        first.exchange(done(parent))
        job.finish()
        counts = job.broker.counts()
        assert counts.pages == {"success": 12}
        assert counts.left_out == {"alike": 30}


def test_pages_that_a_sitemap_lists_are_no_trap(job: Job) -> None:
    job.begin([], max_alike=10)
    reader = job.worker("reader", ALL_ROOM)
    job.broker.put([page(SITE, 0)], job.source.number)
    parent = reader.one()
    listed = pack(PageDetail(depth=1, scope_base=SITE, listed=True))
    job.broker.put([Found(Kind.PAGE, f"{SITE}photo/{n}", listed) for n in range(30)], parent.number)
    reader.exchange(done(parent))
    job.finish()
    assert job.broker.counts().pages == {"success": 31}
