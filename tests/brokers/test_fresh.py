"""Stretches in which all is new are put in few statements: with the same result as one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from brokers.driver import Clock, Job, done, image, page
from crawler.brokers import waiting
from crawler.brokers.forgetting import Forgotten
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import Found, Kind, Words, task_id
from crawler.sources.feed import STRETCH
from crawler.spec import Spec

HOSTS = ("a.test", "b.test", "c.test", "")
TABLES = ("tasks", "waiting", "mentions", "origins")


def broker(*, careful: bool) -> SqliteBroker:
    made = SqliteBroker(None, clock=Clock(), chance=lambda: 0.5)
    if careful:
        made._putter._fresh.put = lambda *_: False  # type: ignore[method-assign]
    return made


@st.composite
def stretches(draw: st.DrawFn) -> list[list[Found]]:
    """Draw stretches of a list, in which what was named before may be named again."""
    numbers = st.integers(0, 30) | st.integers(31, 10_000)
    named = st.tuples(st.sampled_from(HOSTS), numbers, st.sampled_from(["", "a cat", "a dog"]), st.booleans())
    return [
        [
            named_image(
                f"http://{host}/{number}.png" if host else f"no URL {number}", alt, "noai" if out and number < 4 else ""
            )
            for host, number, alt, out in part
        ]
        for part in draw(st.lists(st.lists(named, max_size=12), max_size=6))
    ]


def named_image(url: str, alt: str = "", opted_out: str = "") -> Found:
    return replace(image(url, Words(alt=alt)), opted_out=opted_out)


def state(of: SqliteBroker) -> dict[str, list[tuple[object, ...]]]:
    of._records.flush()
    return {name: of._records._db.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}


@given(stretches(), st.sampled_from([0, 5, 20, 1000]), st.integers(0, 6))
def test_it_is_the_same_as_one_by_one(named: list[list[Found]], kept: int, taken: int) -> None:
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "MOST_KEPT", kept)
        for careful in (False, True):
            made = broker(careful=careful)
            job = Job(made, made._clock)  # type: ignore[arg-type]
            job.begin([])
            hand, new, given_out = job.worker(room={Kind.IMAGE: taken}), [], []
            for stretch in named:
                new.append(made.put(stretch, job.source.number))
                given_out += hand.exchange(*map(done, hand.held.values()))
            before = state(made)
            given_out += [*hand.exchange(*map(done, hand.held.values()), room={}), *job.finish()]
            # Where not all fit into memory, which of two hosts is asked first may differ.
            order = [before, given_out, state(made)] if kept in (0, 1000) else []
            told.append((new, sorted(task.number for task in given_out), job.outcomes(), order))
            made.close()
    assert told[0] == told[1]


@pytest.fixture
def job() -> Iterator[Job]:
    clock = Clock()
    made = SqliteBroker(None, clock=clock)
    yield Job(made, clock)
    made.close()


def test_a_url_that_is_too_long_costs_nothing_but_itself(job: Job) -> None:
    assert isinstance(job.broker, SqliteBroker)
    job.begin([])
    stretch = [named_image("http://a.test/" + "é" * 3000), named_image("http://a.test/1.png")]
    job.broker.put(stretch, job.source.number)
    job.finish()
    assert sorted(job.outcomes().values()) == ["bad_url", "success"]


def test_what_a_list_lets_wait_is_all_kept_in_memory(job: Job) -> None:
    assert isinstance(job.broker, SqliteBroker)
    job.begin([])
    put, limit = 0, Spec(job="x").queue_limit
    while put <= limit:  # so many wait when it is given out for the last time
        stretch = [named_image(f"http://a.test/{number}.png") for number in range(put, put + STRETCH)]
        put += job.broker.put(stretch, job.source.number)
    numbers = [number for number in job.broker._waiting.resident if number != job.source.number]
    assert len(numbers) == put > limit


def tries(job: Job) -> list[bool]:
    """Have it noted whether each further stretch is put as a fresh one."""
    assert isinstance(job.broker, SqliteBroker)
    fresh, noted = job.broker._putter._fresh, []
    put = fresh.put

    def note(*arguments: object) -> bool:
        noted.append(put(*arguments))  # type: ignore[arg-type]
        return noted[-1]

    fresh.put = note  # type: ignore[method-assign]
    return noted


def some(*numbers: int) -> list[Found]:
    return [named_image(f"http://a.test/{number}.png") for number in numbers]


def test_known_images_are_no_longer_tried_until_all_are_new_again(job: Job) -> None:
    job.begin([])
    noted = tries(job)
    for stretch in (some(1, 2), some(2, 3), some(3, 4), some(4, 5, 6), some(7, 8), some(9)):
        job.broker.put(stretch, job.source.number)
    assert noted == [True, False, True], "not with known ones at hand; then one stretch shows that all is new"
    assert len(job.finish()) == 9


def test_an_image_that_is_named_twice_waits_once(job: Job) -> None:
    job.begin([])
    noted = tries(job)
    assert job.broker.put(some(1, 2, 1), job.source.number) == 2
    assert noted == [False]
    assert [task.number for task in job.finish()] == [2, 3]


def test_what_pages_name_is_looked_up(job: Job) -> None:
    job.begin([page("http://a.test/page")])
    noted = tries(job)
    assert job.broker.put(some(1, 2), job.source.number + 1) == 2
    assert noted == []


def test_a_full_disk_is_told_as_such(job: Job) -> None:
    job.begin([])
    noted = tries(job)
    assert isinstance(job.broker, SqliteBroker)
    db = job.broker._records._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        job.broker.put(some(*range(5000)), job.source.number)
    assert noted == []
    db.execute("PRAGMA max_page_count = 1000000")


def test_not_even_the_host_is_noted_of_what_was_forgotten_before_it_was_met(job: Job) -> None:
    assert isinstance(job.broker, SqliteBroker)
    job.begin(some(1))
    job.finish()
    forgetting, url = job.broker._records.forgetting, "http://private.test/1.png"
    identity = task_id(Kind.IMAGE, url)
    forgetting.refuse(Forgotten(urls=[identity.hex()]))
    forgetting.forget([forgetting.number_of(identity)])
    job.broker._records.tasks._next += 1  # as when the state is opened again
    job.begin([])
    job.broker.put([named_image(url)], job.source.number)
    assert job.finish() == []
    assert "private.test" not in str(state(job.broker))
