"""What a broker over Redis does beside the contract."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis as library

from brokers.driver import ALL_ROOM, Clock, Hand, Job, done, image, images, moved, page, spec
from crawler.brokers.redis import check_url, shown_url, taking
from crawler.brokers.redis.broker import RedisBroker, jobs_in
from crawler.brokers.redis.server import Server
from crawler.contracts import Broker, ResultArchive
from crawler.errors import BrokerUnreachable, StateError, UsageError
from crawler.model import Grant, Kind, Report, State, Words
from crawler.stores.directory import FileArchive
from servers.redis import redis_cluster, redis_server

_JOBS = itertools.count()
_NONE = Grant(0)


def broker_at(
    url: str,
    clock: Clock,
    name: str = "",
    archive: ResultArchive | None = None,
    look_every: float = 0,
    patrol_every: int = 0,
) -> RedisBroker:
    return RedisBroker(
        Server(url), name or f"other {next(_JOBS)}", archive,
        partitions=4, clock=clock, chance=lambda: 0.5, look_every=look_every, patrol_every=patrol_every,
    )  # fmt: skip


@contextlib.contextmanager
def no_answers(broker: Broker, *, heard: bool) -> Iterator[None]:
    """Let no call of the scripts be answered; they are `heard` all the same, or not."""
    assert isinstance(broker, RedisBroker)
    server = broker._server
    run = server.run

    def lose(calls: Sequence[tuple[str, bytes]], *, grows: bool) -> list[Any]:
        if heard:
            run(calls, grows=grows)
        raise BrokerUnreachable("no answer")

    server.run = lose  # type: ignore[method-assign]
    with pytest.raises(BrokerUnreachable):
        yield
    server.run = run  # type: ignore[method-assign]


def test_two_processes_share_a_job(redis: str) -> None:
    clock = Clock()
    first = broker_at(redis, clock, name="shared")
    second = broker_at(redis, clock, name="shared")
    job, other = Job(first, clock), Job(second, clock)
    job.begin(images(30), requests_per_host=4)
    one, two = job.worker("one", {Kind.IMAGE: 3}), other.worker("two", {Kind.IMAGE: 3})
    given = [task.number for _ in range(3) for hand in (one, two) for task in hand.exchange()]
    assert len(given) == len(set(given)) and two.held
    assert one.grants["a.test"].count + two.grants["a.test"].count <= 4
    one.exchange(*map(done, one.held.values()))
    two.exchange(*map(done, two.held.values()))
    job.end_source()
    other.drain()
    assert first.counts().state is second.counts().state is State.FINISHED
    assert second.counts().images == {"success": 30}
    assert {row.url for row in second.results("", 100).rows} == {found.url for found in images(30)}


def test_the_larger_the_fleet_the_less_often_each_asks_in_vain(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "ASKED_IN_VAIN", 4)
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin([])
    fleet = [job.worker(f"worker-{number}") for number in range(8)]
    for worker in fleet * 8:
        worker.exchange()
    assert {worker.reply.retry_in for worker in fleet} == {2.0}, "four ask within a second"
    clock.advance(taking.LONGEST_OF_FLEET)
    job.broker.put(images(1), job.source.number)
    assert fleet[0].exchange() and fleet[0].reply.retry_in < 0.1


def test_a_task_that_went_elsewhere_ends_where_it_was_named(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin([image(f"http://{name}.test/1.png") for name in "abcdefgh"])
    worker = job.worker()
    tasks = worker.exchange()
    again = worker.exchange(*(moved(task, f"http://to-{number}.test/1.png") for number, task in enumerate(tasks)))
    while len(again) < len(tasks):
        again += worker.exchange()
    job.finish()
    assert job.outcomes() == {task.url: "success" for task in tasks}
    assert len(job.rows()) == len(tasks)


def test_what_is_moved_twice_by_a_lost_answer_is_one_result(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin([image(f"http://{name}.test/1.png") for name in "abcdefgh"])
    worker = job.worker()
    tasks = worker.exchange()
    settling = job.broker._settling  # type: ignore[attr-defined]
    partitions = job.broker._partitions  # type: ignore[attr-defined]
    told = [moved(task, f"http://to-{number}.test/1.png") for number, task in enumerate(tasks)]
    calls = settling.calls_for("w", Report(settlements=told), clock.now)
    for _ in range(2):  # what is said before is said again where nobody heard the answer
        partitions.call("settle", {at: {"worker": "w", "settled": said} for at, said in calls.before.items()})
    clock.advance(spec().lease + 1)
    job.finish()
    counts = job.broker.counts()
    assert counts.state is State.FINISHED and counts.images == {"success": len(tasks)}
    assert sorted(row.url for row in job.rows()) == sorted(task.url for task in tasks)


def test_results_that_were_written_out_are_read_all_the_same(redis: str, tmp_path: Path) -> None:
    clock = Clock()
    broker = broker_at(redis, clock, archive=FileArchive(tmp_path))
    job = Job(broker, clock)
    job.begin([image(f"http://a.test/{n}.png", Words(alt=f"words {n % 3}")) for n in range(40)])
    worker = job.worker(room={Kind.IMAGE: 10})
    while tasks := worker.exchange(*map(done, worker.held.values())):
        assert len(tasks) <= 10
    before = broker.ledger("", 1000).rows
    assert broker._results.write_out(1) == 0, "a Redis without power may forget the last two seconds"
    clock.advance(3)
    assert broker._results.write_out(1) == 40
    assert broker._results.write_out(1) == 0
    after = broker.ledger("", 1000)
    assert [(row.seq, row.url, row.current, row.mentions_total) for row in after.rows] == [
        (row.seq, row.url, row.current, row.mentions_total) for row in before
    ]
    broker.put([image("http://a.test/new.png")], job.source.number)
    worker.exchange(*map(done, worker.exchange()))
    assert [row.url for row in broker.results(after.cursor, 10).rows] == ["http://a.test/new.png"]
    assert [row.url for row in broker.results("", 1000).rows][-1] == "http://a.test/new.png"
    assert broker.reopen([before[7].seq]) == 1
    blind = RedisBroker(Server(redis), broker._job.name)
    with pytest.raises(StateError, match="written into its folder"):
        blind.results("", 1000)


def test_who_is_killed_between_writing_out_and_trimming_loses_and_doubles_nothing(redis: str, tmp_path: Path) -> None:
    clock = Clock()
    broker, other = (broker_at(redis, clock, "killed between", FileArchive(tmp_path)) for _ in range(2))
    job = Job(broker, clock)
    job.begin(images(40))
    worker = job.worker(room={Kind.IMAGE: 10})
    for _ in range(2):
        worker.exchange(*map(done, worker.held.values()))
    before = [row.seq for row in broker.results("", 1000).rows]
    clock.advance(3)
    with no_answers(broker, heard=False):
        broker._results.write_out(1)
    assert list(tmp_path.rglob("*.part"))
    assert [row.seq for row in other.results("", 1000).rows] == before
    while worker.exchange(*map(done, worker.held.values())):
        pass
    clock.advance(3)
    assert other._results.write_out(1) == 40
    for reader in (broker, other, broker_at(redis, clock, "killed between", FileArchive(tmp_path))):
        rows = reader.results("", 1000).rows
        assert sorted(row.url for row in rows) == sorted(found.url for found in images(40))


def test_known_tasks_stay_known_however_many(redis: str) -> None:
    clock = Clock()
    broker = broker_at(redis, clock)
    job = Job(broker, clock)
    job.begin()
    assert broker.put(images(3000), job.source.number) == 3000
    assert broker.put(images(3100), job.source.number) == 100
    with library.Redis.from_url(redis) as client:
        buckets = list(client.scan_iter(f"*{broker._job.name.replace(' ', '%20')}*known:*", count=1000))
        assert len(buckets) > 30
        assert {client.object("encoding", key) for key in buckets} <= {"listpack", b"listpack"}


def test_a_worker_takes_whichever_job_has_work(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock, name="whichever"), clock)
    job.begin(images(1))
    for name in jobs_in(Server(redis)):
        if name != "whichever":
            broker_at(redis, clock, name)._job.refresh()
    chosen = RedisBroker(Server(redis), "", clock=clock)
    assert chosen.spec().job_id


def test_the_server_is_gone_and_comes_back_with_everything() -> None:
    with redis_server() as server:
        clock = Clock()
        job = Job(broker_at(server.url, clock, name="gone"), clock)
        job.begin(images(5))
        worker = job.worker()
        tasks = worker.exchange()
        worker.exchange(*map(done, tasks[:2]))
        server.kill()
        with pytest.raises(BrokerUnreachable):
            worker.exchange()
        server.start()
        worker.exchange(*map(done, tasks[2:4]))
        assert len(job.finish()) <= 1
        assert job.broker.counts().images == {"success": 5}


def test_a_cluster_is_gone_and_comes_back() -> None:
    with redis_cluster() as servers:
        clock = Clock()
        broker = broker_at(servers[0].url, clock)
        job = Job(broker, clock)
        job.begin(images(5))
        for server in servers:
            server.kill()
        for _ in range(3):
            with pytest.raises(BrokerUnreachable):
                job.worker().exchange()
        for server in servers:
            server.start()
        until = time.monotonic() + 30
        while True:
            try:
                assert len(job.worker("later").exchange()) == 5
                break
            except BrokerUnreachable:
                assert time.monotonic() < until
                time.sleep(0.2)
        broker.close()


def test_a_beginning_that_was_cut_off_is_tried_again(redis: str) -> None:
    clock = Clock()
    broker = broker_at(redis, clock)
    with no_answers(broker, heard=False):
        broker.begin(spec())
    begun = broker.begin(spec())
    assert (begun.run, begun.resumed) == (1, False)


def test_a_job_that_takes_a_folder_over_has_results_of_its_own(redis: str, tmp_path: Path) -> None:
    clock = Clock()
    for urls in (images(40), images(60)[20:]):
        job = Job(broker_at(redis, clock, archive=FileArchive(tmp_path)), clock)
        job.begin(urls)
        job.finish()
        clock.advance(3)
        assert job.broker._results.write_out(1) == 41  # type: ignore[attr-defined]  # with the source
        assert sorted(row.url for row in job.rows()) == sorted(found.url for found in urls)


def test_a_job_of_another_version_is_refused(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock, name="version"), clock)
    job.begin()
    with library.Redis.from_url(redis) as client:
        client.hset("crawler:{version}:job", "version", 99)
    with pytest.raises(StateError, match="version 99"):
        job.broker.counts()


def test_wrong_passwords_and_urls_are_told_without_them() -> None:
    with redis_server("--requirepass", "right") as server:
        for url in (server.url, server.url.replace("redis://", "redis://:wrong@")):
            with pytest.raises((UsageError, StateError)) as caught:
                broker_at(url, Clock()).counts()
            assert "wrong" not in str(caught.value)
    assert shown_url("rediss://ann:secret@host:6380/2?x=secret") == "rediss://ann:…@host:6380/2"
    for url in ("redis://", "http://host", "redis://host:99999/0", "host"):
        with pytest.raises(UsageError):
            check_url(url)


def test_pages_and_images_of_a_host_keep_to_its_limit(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin([*images(20), *(page(f"http://a.test/p{n}") for n in range(20))], requests_per_host=4)
    reader, worker = job.worker("reader", {Kind.PAGE: 8}), job.worker("w", ALL_ROOM)
    for _ in range(5):
        reader.exchange()
        worker.exchange()
        used = sum(hand.grants["a.test"].count for hand in (reader, worker) if "a.test" in hand.grants)
        assert used <= 4


def test_without_memory_nothing_is_put_and_everything_settled() -> None:
    with redis_server("--maxmemory-policy", "noeviction") as server:
        clock = Clock()
        job = Job(broker_at(server.url, clock, name="memory"), clock)
        job.begin(images(500))
        worker = job.worker()
        tasks = worker.exchange()
        with library.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 2**20)
            with pytest.raises(BrokerUnreachable, match="takes nothing now"):
                job.broker.put(images(600), job.source.number)
            worker.exchange(*map(done, tasks), room={})
            assert job.broker.counts().images == {"success": len(tasks)}
            client.config_set("maxmemory", 0)
        assert job.broker.put(images(600), job.source.number) == 100


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "answer lost"])
def test_a_worker_has_what_it_was_granted_until_it_says_that_it_heard_of_less(redis: str, lost: bool) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin(images(300), requests_per_host=4)
    one, two = job.worker("one", {Kind.IMAGE: 20}), job.worker("two", {Kind.IMAGE: 20})
    one.exchange()
    assert one.grants["a.test"].count == 4
    two.exchange()
    if lost:
        with no_answers(job.broker, heard=True):
            one.exchange(busy={"a.test": 2})
    told = [] if lost else [done(task) for task in list(one.held.values())[:12]]
    one.exchange(*told, busy={"a.test": 2}, room={Kind.IMAGE: 200})  # it begins two more before it hears the answer
    assert one.grants["a.test"].count == 2
    two.exchange()
    assert two.grants.get("a.test", _NONE).count == 0
    one.exchange(busy={"a.test": 2})
    two.exchange()
    assert two.grants["a.test"].count == 2


LEASE = 4.0


@pytest.fixture
def taken(redis: str) -> tuple[Job, Hand, Hand]:
    """A job whose images a first worker holds, and a second worker, of another process."""
    clock, name = Clock(), f"taken {next(_JOBS)}"
    brokers = [broker_at(redis, clock, name, look_every=0.5, patrol_every=1) for _ in range(2)]
    job = Job(brokers[0], clock)
    job.begin(images(3), lease=LEASE)
    one, two = job.worker("one"), Hand(brokers[1], "two")
    assert len(one.exchange()) == 3
    return job, one, two


def takes(worker: Hand) -> int:
    """Return how many tasks a worker is given; somebody else may just have looked at all partitions."""
    given = 0
    for _ in range(3):
        time.sleep(0.002)
        given += len(worker.exchange())
    return given


def test_a_lease_counts_from_the_last_report_though_not_each_renews_it(taken: tuple[Job, Hand, Hand]) -> None:
    job, one, two = taken
    job.clock.advance(LEASE / 5)
    one.exchange()
    for _ in range(3):
        job.clock.advance(0.3 * LEASE)
        assert takes(two) == 0
    job.clock.advance(0.4 * LEASE)
    assert takes(two) == 3


def test_a_report_that_was_not_heard_renews_no_lease(taken: tuple[Job, Hand, Hand]) -> None:
    job, one, two = taken
    job.clock.advance(0.6 * LEASE)
    assert takes(two) == 0
    with no_answers(job.broker, heard=False):
        one.exchange()
    job.clock.advance(0.2 * LEASE)
    one.exchange()
    job.clock.advance(0.6 * LEASE)
    assert takes(two) == 0


def test_what_workers_hold_is_theirs_after_a_server_was_gone(taken: tuple[Job, Hand, Hand]) -> None:
    job, one, two = taken
    job.clock.advance(20 * LEASE)
    assert takes(two) == 0
    job.clock.advance(LEASE / 4)
    one.exchange(*map(done, one.held.values()))
    assert job.broker.counts().images == {"success": 3}


def test_who_died_while_the_server_was_gone_is_missed_in_the_end(taken: tuple[Job, Hand, Hand]) -> None:
    job, _, two = taken
    job.clock.advance(20 * LEASE)
    given = 0
    for _ in range(8):
        job.clock.advance(LEASE / 4)
        given += takes(two)
    assert given == 3


def test_what_nobody_heard_of_was_lost_by_nobody(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin(images(8, host="b.test"))
    for number in range(3):
        with no_answers(job.broker, heard=True):
            job.worker(f"unlucky {number}").exchange()
        job.worker(f"unlucky {number}").exchange(room={})
        clock.advance(spec().lease + 1)
        job.worker("other").exchange(room={})
    job.finish()
    assert job.broker.counts().images == {"success": 8}


def test_redirects_that_go_there_and_back_lose_nothing(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin([image(f"http://{name}.test/1.png") for name in "abcdefgh"])
    worker = job.worker()
    for hop in range(4):
        tasks = worker.exchange()
        while len(tasks) < 8:
            tasks += worker.exchange()
        there = [task.url.replace(".test", "-b.test") if hop % 2 == 0 else task.url for task in tasks]
        worker.exchange(*(moved(task, at, hop + 1) for task, at in zip(tasks, there, strict=True)), room={})
    job.finish()
    assert sorted(job.outcomes().values()) == ["success"] * 8 and len(job.rows()) == 8


def test_what_is_put_after_the_end_waits_for_the_next_run(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin(images(2))
    source = job.source
    job.finish()
    job.broker.put([*images(4), image("no url")], source.number)
    job.begin()
    job.finish()
    assert job.broker.counts().state is State.FINISHED
    assert job.outcomes() == {**{found.url: "success" for found in images(4)}, "no url": "bad_url"}


def test_only_its_holder_says_that_what_moved_failed(redis: str) -> None:
    clock = Clock()
    first, second = broker_at(redis, clock, name="holders"), broker_at(redis, clock, name="holders")
    job = Job(first, clock)
    job.begin([image(f"http://{name}.test/1.png") for name in "abcdefgh"])
    one, two = job.worker("one"), Hand(second, "two")
    tasks = one.exchange()
    again = one.exchange(*(moved(task, task.url.replace(".test", "-b.test")) for task in tasks))
    while len(again) < 8:
        again += one.exchange()
    clock.advance(spec().lease + 3)
    held = two.exchange()
    while len(held) < 8:
        held += two.exchange()
    one.exchange(*(done(task, "http_404") for task in again), room={})
    two.exchange(*map(done, held))
    job.finish()
    assert set(job.outcomes().values()) == {"success"} and len(job.rows()) == 8


def test_what_moved_and_failed_is_one_row(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock), clock)
    job.begin([image(f"http://{name}.test/1.png") for name in "abcdefgh"])
    worker = job.worker()
    again = worker.exchange(*(moved(task, task.url.replace(".test", "-b.test")) for task in worker.exchange()))
    while len(again) < 8:
        again += worker.exchange()
    worker.exchange(*(done(task, "http_404", message="gone") for task in again), room={})
    job.finish()
    assert [(row.outcome, row.message) for row in job.rows()] == [("http_404", "gone")] * 8


@pytest.mark.parametrize("tail", ["/two", "/0?nonsense=1", "/0?socket_timeout=abc"])
def test_what_an_url_must_not_say_is_a_message(redis: str, tail: str) -> None:
    with pytest.raises(UsageError):
        broker_at(check_url(redis.removesuffix("/0") + tail), Clock()).counts()


def test_a_password_with_signs_is_not_shown() -> None:
    for url in ("redis://ann:12/secret@host", "redis://ann:12#secret@host", "redis://ann:12?secret@host"):
        with pytest.raises(UsageError) as caught:
            check_url(url)
        assert "secret" not in str(caught.value)


def test_a_redis_that_was_emptied_is_told(redis: str) -> None:
    clock = Clock()
    job = Job(broker_at(redis, clock, name="emptied"), clock)
    job.begin(images(1))
    with library.Redis.from_url(redis) as client:
        client.delete("crawler:{emptied}:job")
    with pytest.raises(StateError, match="is gone from"):
        job.worker().exchange()


def lose_lock(redis: str, name: str) -> None:
    """Free a job's lock as time does while its holder is stopped."""
    with library.Redis.from_url(redis) as client:
        assert client.delete(f"crawler:{{{name}}}:lock") == 1


def test_who_was_stopped_while_it_ended_a_run_does_not_end_the_next(
    redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    stopped, other = broker_at(redis, clock, name="stopped"), broker_at(redis, clock, name="stopped")
    job = Job(stopped, clock)
    job.begin()
    look, ended = stopped._pass_by, []

    def stop_at_the_last() -> dict[int, list[bytes]]:
        sums = look()
        if stopped._job._token and not ended:
            lose_lock(redis, "stopped")
            ended.append(other.counts().state)
            Job(other, clock).begin(images(3))
        return sums

    monkeypatch.setattr(stopped, "_pass_by", stop_at_the_last)
    job.end_source()
    assert ended == [State.FINISHED]
    for broker in (other, stopped):
        assert (broker.counts().state, broker.counts().run) == (State.OPEN, 2)


def test_nor_one_that_another_joined_meanwhile(redis: str) -> None:
    clock = Clock()
    stopped, other = broker_at(redis, clock, name="joined"), broker_at(redis, clock, name="joined")
    Job(stopped, clock).begin()
    with stopped._job.lock():
        lose_lock(redis, "joined")
        assert other.begin(spec(job="joined")).resumed
        stopped._job.end(clock.now)
    assert other.counts().state is State.OPEN and not stopped._job.run.ended


def test_who_was_stopped_while_it_began_a_run_looks_again(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    stopped, other = broker_at(redis, clock, name="slow"), broker_at(redis, clock, name="slow")
    there = stopped._taking.images_there

    def stop() -> int:
        lose_lock(redis, "slow")
        Job(other, clock).begin()
        return there()

    monkeypatch.setattr(stopped._taking, "images_there", stop)
    with pytest.raises(BrokerUnreachable, match="went on with job slow"):
        stopped.begin(spec(job="slow"))
    monkeypatch.undo()
    begun = stopped.begin(spec(job="slow"))
    assert begun.resumed and begun.run == 1 and begun.job_id == other.spec().job_id


def test_the_lock_of_another_is_not_freed(redis: str) -> None:
    clock = Clock()
    stopped, other = broker_at(redis, clock, name="freed"), broker_at(redis, clock, name="freed")
    Job(stopped, clock).begin()
    with contextlib.ExitStack() as held:
        with stopped._job.lock():
            lose_lock(redis, "freed")
            held.enter_context(other._job.lock())
        with library.Redis.from_url(redis) as client:
            assert client.exists("crawler:{freed}:lock")


def test_a_run_that_was_not_looked_at_is_not_changed_with_the_lock_either(redis: str) -> None:
    clock = Clock()
    broker = broker_at(redis, clock, name="promoted")
    Job(broker, clock).begin()
    with broker._job.lock(), library.Redis.from_url(redis) as client:
        client.hset("crawler:{promoted}:job", "run", 2)  # by who has the lock of a server that is no more
        broker._job.end(clock.now)
    assert (broker.counts().state, broker.counts().run) == (State.OPEN, 2)


def die_with_lock(broker: RedisBroker) -> None:
    """Take the job's lock, and never free it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(broker._server, "unlock", lambda *_: None)
        with broker._job.lock():
            pass


@pytest.mark.alone
def test_the_lock_of_who_died_is_free_before_others_lose_their_leases(redis: str) -> None:
    clock = Clock()
    broker, other = broker_at(redis, clock, name="died"), broker_at(redis, clock, name="died")
    job = Job(broker, clock)
    job.begin(images(3), lease=LEASE, max_images=2)
    die_with_lock(broker)
    began = time.monotonic()
    assert len(Hand(other, "two").exchange()) == 2
    assert LEASE / 4 < time.monotonic() - began < 0.75 * LEASE
    die_with_lock(broker)
    began = time.monotonic()
    assert broker_at(redis, clock, name="died").begin(spec(job="died", lease=60.0)).resumed
    assert time.monotonic() - began < 0.75 * LEASE


@pytest.mark.alone
def test_nobody_waits_for_a_lock_to_end_a_run(redis: str) -> None:
    clock = Clock()
    broker, other = broker_at(redis, clock, name="ends"), broker_at(redis, clock, name="ends")
    job = Job(broker, clock)
    job.begin()
    die_with_lock(other)
    began = time.monotonic()
    job.end_source()
    assert broker.counts().state is State.OPEN
    assert time.monotonic() - began < 1.0
    lose_lock(redis, "ends")
    assert other.counts().state is State.FINISHED
