"""What a job that runs again knows: in memory, on a file and behind the manager."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brokers.conftest import LOCAL, local_broker
from brokers.driver import ALL_ROOM, SITE, Clock, Job, done, image, images, page, retry, spec
from crawler.brokers import schema
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import (
    Found,
    ImageDetail,
    ImageResult,
    Kind,
    PageDetail,
    PageResult,
    Settlement,
    State,
    Task,
    Words,
    decode,
    pack,
)
from crawler.outcomes import REST

URL = "http://a.test/0.png"
DAY = 86400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=LOCAL)
def job(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Job]:
    with local_broker(request.param, clock, tmp_path) as broker:
        yield Job(broker, clock)


def stored(task: Task) -> Settlement:
    """Return what a worker says of a page that it read, or an image that it stored."""
    name = task.url.rpartition("/")[2]
    if task.kind is Kind.PAGE:
        return done(task, result=PageResult(etag=f'"{name}"', status=200))
    return done(task, size=100, result=ImageResult(file=f"a/{name}", sha256="5" * 64, etag='"1"', status=200))


def unchanged(task: Task) -> Settlement:
    if task.kind is Kind.SOURCE:
        return done(task)
    assert task.known is not None, f"{task.url} is not known"
    kind = PageResult if task.kind is Kind.PAGE else ImageResult
    return done(task, "unchanged", size=task.known.size, result=decode(task.known.result, kind))


def missing(task: Task) -> Settlement:
    return done(task, "http_404")


def images_given(tasks: list[Task]) -> list[str]:
    return [task.url for task in tasks if task.kind is Kind.IMAGE]


# Images


def test_what_is_there_is_asked_for_by_what_is_known_of_it(job: Job, clock: Clock) -> None:
    job.begin(images(3))
    job.finish(stored)
    told = clock.now
    clock.advance(DAY)
    job.begin(images(4))
    given = job.finish(lambda task: unchanged(task) if task.known else stored(task))
    known = {task.url: task.known for task in given}
    assert set(known) == {f"http://a.test/{n}.png" for n in range(4)} and known.pop("http://a.test/3.png") is None
    assert all(entry is not None and (entry.time, entry.size) == (told, 100) for entry in known.values())
    entry = known[URL]
    assert entry is not None and decode(entry.result, ImageResult).file == "a/0.png"
    counts = job.broker.counts()
    assert (counts.images, counts.already_there) == ({"unchanged": 3, "success": 1}, 0)
    assert counts.bytes == 100, "of what is unchanged nothing came"
    (row,) = (row for row in job.broker.ledger("", 1000).rows if row.url == URL)
    assert (row.run, row.outcome, row.size) == (2, "unchanged", 100)


@pytest.mark.parametrize("columns", [True, False])
def test_unchanged_is_told_in_columns_or_one_by_one(job: Job, columns: bool) -> None:
    job.begin(images(3))
    job.finish(stored)
    job.begin(images(3))
    job.end_source()
    worker = job.worker()
    worker.columns = columns
    worker.exchange()
    worker.exchange(*[unchanged(task) for task in worker.held.values()])
    counts = job.broker.counts()
    assert (counts.state, counts.images, counts.bytes) == (State.FINISHED, {"unchanged": 3}, 0)


def test_each_run_knows_what_the_last_one_came_to(job: Job, clock: Clock) -> None:
    job.begin(images(1))
    job.finish(stored)
    for tag in ('"2"', '"3"'):
        clock.advance(DAY)
        job.begin(images(1))
        job.finish(lambda task, tag=tag: done(task, "unchanged", 100, ImageResult(file="a/0.png", etag=tag)))  # type: ignore[misc]
    job.begin(images(1))
    (task,) = job.finish(unchanged)
    assert task.known is not None and decode(task.known.result, ImageResult).etag == '"3"'


def test_a_new_body_is_what_is_known_next(job: Job) -> None:
    job.begin(images(1))
    job.finish(stored)
    job.begin(images(1))
    job.finish(lambda task: done(task, size=7, result=ImageResult(file="a/new.png", previous="a/0.png")))
    job.begin(images(1))
    (task,) = job.finish(unchanged)
    assert task.known is not None and (task.known.size, decode(task.known.result, ImageResult).file) == (7, "a/new.png")


def test_the_file_of_an_image_that_fails_later_stays_known(job: Job) -> None:
    job.begin(images(2))
    job.finish(stored)
    for _ in range(2):
        job.begin(images(1))
        job.finish(lambda task: done(task, "http_403"))
    (row,) = (row for row in job.broker.ledger("", 1000).rows if row.url == URL)
    assert (row.run, row.outcome, row.kept_size) == (3, "http_403", 100)
    assert decode(row.kept, ImageResult).file == "a/0.png"
    job.begin(images(1))
    (task,) = job.finish(unchanged)
    assert task.known is not None and task.known.size == 100
    (row,) = (row for row in job.broker.ledger("", 1000).rows if row.url == URL)
    assert (row.outcome, row.kept_size) == ("unchanged", 0)


def test_failures_without_a_file_know_nothing(job: Job) -> None:
    job.begin(images(1))
    job.finish(lambda task: done(task, "too_small"))
    (row,) = job.rows()
    assert row.kept_size == 0
    job.begin(images(1))
    assert [task.known for task in job.finish(stored)] == [None]


def test_who_is_given_a_task_again_hears_what_is_known_of_it(job: Job, clock: Clock) -> None:
    job.begin(images(1))
    job.finish(stored)
    job.begin(images(1))
    job.worker("dies").one()
    clock.advance(2 * spec().lease)
    task = job.worker("other").one()
    assert task.known is not None and task.known.size == 100


def test_what_is_reopened_is_fetched_whatever_is_known(job: Job) -> None:
    job.begin(images(1))
    job.finish(stored)
    job.begin(images(1))
    job.finish(unchanged)
    assert job.broker.reopen([row.seq for row in job.rows() if row.current]) == 1
    assert job.broker.counts().images == {"unchanged": 0} or not job.broker.counts().images
    assert [task.known for task in job.drain(stored)] == [None]
    counts = job.broker.counts()
    assert (counts.images, counts.bytes) == ({"success": 1}, 100)


def test_new_asks_for_nothing_that_is_there(job: Job) -> None:
    job.begin(images(2))
    job.finish(stored)
    job.begin(images(3), refresh="new")
    assert images_given(job.finish(stored)) == ["http://a.test/2.png"]
    assert job.broker.counts().already_there == 2


@pytest.mark.parametrize("outcome", ["http_404", "http_410"])
@pytest.mark.parametrize("first", [stored, None])
def test_what_is_missing_is_asked_for_once_a_week(job: Job, clock: Clock, outcome: str, first: object) -> None:
    if first:
        job.begin(images(1))
        job.finish(stored)
    job.begin(images(1))
    job.finish(lambda task: done(task, outcome))
    clock.advance(REST - DAY)
    job.begin(images(1))
    assert images_given(job.finish(stored)) == []
    counts = job.broker.counts()
    assert (counts.already_there, counts.images) == (0, {outcome: 1})
    (row,) = (row for row in job.rows() if row.current)
    assert row.outcome == outcome, "the ledger still tells it"
    clock.advance(DAY + 1)
    job.begin(images(1))
    assert images_given(job.finish(stored)) == [URL]


def test_always_asks_also_for_what_is_missing(job: Job) -> None:
    job.begin(images(1))
    job.finish(missing)
    job.begin(images(1), refresh="always")
    assert images_given(job.finish(stored)) == [URL]


def test_an_image_that_is_there_is_not_asked_for_where_a_page_wants_it_left_alone(job: Job) -> None:
    job.begin(images(1))
    job.finish(stored)
    job.begin([Found(Kind.IMAGE, URL, pack(ImageDetail()), None, "noai: noai")])
    assert images_given(job.finish(stored)) == []
    assert job.broker.counts().already_there == 1


def test_what_a_stock_client_brought_again_is_asked_for_by_what_is_known(job: Job) -> None:
    job.begin(images(1))
    job.finish(stored)
    job.begin(images(1))
    job.finish(lambda task: done(task, "reported"))
    job.begin(images(1))
    (task,) = job.finish(unchanged)
    assert task.known is not None and task.known.size == 100


def test_a_clock_that_was_ahead_lets_nothing_rest(clock: Clock, tmp_path: Path) -> None:
    clock.advance(300 * DAY)
    with local_broker("file", clock, tmp_path) as broker:
        job = Job(broker, clock)
        job.begin(images(1))
        job.finish(missing)
    clock.advance(-290 * DAY)
    with local_broker("file", clock, tmp_path) as broker:
        clock.advance(DAY)
        job = Job(broker, clock)
        job.begin(images(1))
        assert job.broker.counts().waiting_images == 1


@pytest.mark.parametrize("spared", [True, False])
def test_only_what_was_asked_for_tells_of_the_network(job: Job, spared: bool) -> None:
    hosts = [image(f"http://h{n}.test/0.png") for n in range(12)]
    job.begin([*hosts, *images(12)])
    job.finish(stored)
    job.begin([*hosts, *images(12)])
    job.end_source()
    worker = job.worker()
    tasks = worker.exchange()
    there = [task for task in tasks if "a.test" in task.url]
    down = [task for task in tasks if "a.test" not in task.url]
    for fine, broken in zip(there, down, strict=False):
        said = unchanged(fine)
        said.unasked = spared
        worker.exchange(retry(broken, "connect", suspect=True), said)
    assert bool(job.broker.counts().notice) is spared


# Pages that name what they named before

HOME, NEXT = "http://a.test/home", "http://a.test/next"
NOTHING: Mapping[str, str] = {}


def read(
    job: Job, links: dict[str, list[Found]], failing: Mapping[str, str] = NOTHING, **settings: object
) -> list[Task]:
    """Conduct a run whose pages name `links`; those that are not in it are unchanged. Return what was given out.

    What is in `failing` comes to the outcome there.
    """
    job.begin([page(HOME)], **settings)

    def settle(task: Task) -> Settlement:
        if task.url in failing:
            return done(task, failing[task.url])
        if task.kind is Kind.PAGE and task.url not in links:
            return unchanged(task)
        if task.kind is Kind.PAGE:
            said = stored(task)
            said.found = links[task.url]
            return said
        return unchanged(task) if task.known else stored(task)

    return job.finish(settle)


def test_a_page_that_is_unchanged_names_what_it_named(job: Job) -> None:
    read(job, {HOME: [page(NEXT), image(URL, Words(alt="words"))], NEXT: [image("http://b.test/1.png", Words())]})
    for run in (2, 3):
        given = {task.url: task for task in read(job, {})}
        assert given.keys() == {HOME, NEXT, URL, "http://b.test/1.png"}
        assert all(task.known is not None for task in given.values())
        counts = job.broker.counts()
        assert (counts.run, counts.pages, counts.images) == (run, {"unchanged": 2}, {"unchanged": 2})
    (row,) = (row for row in job.broker.ledger("", 100).rows if row.current and row.url == URL)
    assert [(where, decode(words, Words).alt) for where, words in row.mentions] == [(HOME, "words")]


def test_pages_that_are_unchanged_name_the_same_again(job: Job) -> None:
    last = "http://a.test/last"
    both = image(URL, Words(alt="both"))
    read(job, {HOME: [page(NEXT), page(last), both], NEXT: [page(HOME), page(last), both], last: [page(NEXT), both]})
    for links in ({}, {last: [page(NEXT), page(HOME), both]}, {}):
        given = Counter(task.url for task in read(job, links))
        assert given == {HOME: 1, NEXT: 1, last: 1, URL: 1}
        (row,) = (row for row in job.broker.ledger("", 100).rows if row.current and row.url == URL)
        assert {where for where, _ in row.mentions} == {HOME, NEXT, last}
    assert "gone" not in {row.outcome for row in job.broker.ledger("", 100).rows}


def test_a_page_that_changed_names_what_it_names_now(job: Job) -> None:
    read(job, {HOME: [page(NEXT), *images(2)], NEXT: []})
    assert [task.url for task in read(job, {HOME: images(1)}, {NEXT: "http_404"})] == [HOME, URL, NEXT], (
        "it may still be there"
    )
    assert [task.url for task in read(job, {})] == [HOME, URL]


def test_what_a_sitemap_said_is_not_said_by_a_page(job: Job) -> None:
    dated = Found(Kind.PAGE, NEXT, pack(PageDetail(depth=1, scope_base=SITE, lastmod="2026-01-01")))
    read(job, {HOME: [dated], NEXT: []})
    details = {task.url: decode(task.detail, PageDetail) for task in read(job, {}) if task.kind is Kind.PAGE}
    assert details[NEXT] == PageDetail(depth=1, scope_base=SITE)


def test_with_a_depth_pages_are_read(job: Job) -> None:
    read(job, {HOME: [page(NEXT)], NEXT: named(1)}, depth=3)
    known = {task.url: task.known for task in read(job, {HOME: [page(NEXT)], NEXT: named(1)}, depth=3)}
    assert known[HOME] is None and known[NEXT] is None and known["http://a.test/1.png"] is not None


def test_a_page_that_names_a_lot_is_remembered_whole(job: Job) -> None:
    job.begin([page(HOME)])
    reader = job.worker("reader", ALL_ROOM)
    task = reader.one()
    for part in range(3):
        job.broker.put([image(f"http://a.test/{part}-{n}.png") for n in range(700)], task.number)
    reader.exchange(stored(task))
    job.finish(stored)
    assert len(images_given(read(job, {}))) == 2100


def test_a_page_that_failed_in_between_is_asked_for_by_what_it_was(job: Job) -> None:
    read(job, {HOME: images(1)})
    job.begin([page(HOME)])
    assert images_given(job.finish(lambda task: done(task, "http_500") if task.kind is Kind.PAGE else done(task))) == []
    assert {task.url for task in read(job, {})} == {HOME, URL}


@pytest.mark.parametrize("settings", [{"icons": True}, {"exclude": ("x",)}, {"scope": "domain"}, {"css": True}])
def test_pages_are_read_anew_for_other_links(job: Job, settings: dict[str, object]) -> None:
    read(job, {HOME: images(1)})
    known = {task.url: task.known for task in read(job, {HOME: images(1)}, **settings)}
    assert known[HOME] is None and known[URL] is not None
    known = {task.url: task.known for task in read(job, {}, **settings)}
    assert known[HOME] is not None


def test_what_pages_want_left_alone_is_left_alone_while_they_are_unchanged(job: Job) -> None:
    alone = Found(Kind.IMAGE, URL, pack(ImageDetail()), None, "noai: noai")
    read(job, {HOME: [alone]})
    for _ in range(2):
        assert [task.url for task in read(job, {})] == [HOME]
        assert job.broker.counts().images == {"opted_out": 1}
    (row,) = (row for row in job.rows() if row.current)
    assert (row.run, row.outcome, row.message) == (3, "opted_out", "noai: noai")
    assert images_given(read(job, {HOME: [image(URL)]})) == [URL]


def test_pages_beyond_the_limits_stay_left_out(job: Job) -> None:
    links = [page(f"http://a.test/p/{n}") for n in range(5)]
    first = read(job, {HOME: links, **{link.url: [] for link in links}}, max_pages=3)
    again = read(job, {}, max_pages=3)
    assert {task.url for task in again} == {task.url for task in first} and len(first) == 3


# The state


def test_a_state_of_an_older_version_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    job = Job(broker, clock)
    read(job, {HOME: images(1)})
    broker.close()
    make_older(tmp_path / "q")
    clock.advance(DAY)
    job = Job(SqliteBroker(tmp_path / "q", clock=clock), clock)
    given = {task.url: task.known for task in read(job, {HOME: images(1)})}
    assert given[HOME] is None, "what it named is not remembered"
    known = given[URL]
    assert known is not None and decode(known.result, ImageResult).file == "a/0.png"
    assert {task.url for task in read(job, {})} == {HOME, URL}
    job.broker.close()  # type: ignore[attr-defined]


def test_several_processes_may_open_an_older_state_at_once(tmp_path: Path) -> None:
    SqliteBroker(tmp_path / "q", clock=Clock()).close()
    make_older(tmp_path / "q")
    with ThreadPoolExecutor(4) as pool:
        for opened in [pool.submit(schema.open_database, tmp_path / "q") for _ in range(4)]:
            assert opened.result().execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_an_older_state_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    SqliteBroker(tmp_path / "q", clock=Clock()).close()
    make_older(tmp_path / "q")
    tables = [
        {name: columns(db, name) for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for db in (schema.open_database(tmp_path / "q"), schema.open_database(None))
    ]
    assert tables[0] == tables[1]


def columns(db: sqlite3.Connection, table: str) -> set[tuple[object, ...]]:
    return {row[1:] for row in db.execute(f"PRAGMA table_info({table})")}


def make_older(path: Path) -> None:
    """Make a state of version 4 of one of version 8."""
    db = sqlite3.connect(path)
    db.executescript(
        "ALTER TABLE waiting DROP COLUMN known; ALTER TABLE settled DROP COLUMN kept; "
        "ALTER TABLE settled DROP COLUMN before; ALTER TABLE settled DROP COLUMN gone; "
        "ALTER TABLE runs DROP COLUMN concluded; DROP TABLE named; DROP TABLE resting; DROP TABLE stopped; "
        "DROP TABLE shards; DROP TABLE identities; DELETE FROM meta WHERE key = 'put_away'; DROP INDEX sources; "
        "CREATE TABLE older(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, "
        "origin INTEGER NOT NULL, source INTEGER NOT NULL, url TEXT NOT NULL, detail BLOB NOT NULL); "
        "INSERT INTO older SELECT * FROM tasks; DROP TABLE tasks; ALTER TABLE older RENAME TO tasks; "
        "CREATE INDEX sources ON tasks(number) WHERE kind = 0; "
        "DELETE FROM meta WHERE key = 'reading'; "
        "PRAGMA user_version = 4"
    )
    db.close()
    assert schema.VERSION == 8, "another version: this test is to undo it, too"


# What is gone


def gone(job: Job) -> dict[str, int]:
    """Return the runs that found images gone, by URL."""
    return {row.url: row.gone for row in job.broker.ledger("", 1000).rows if row.gone}


def test_an_image_that_is_missing_is_gone_until_it_is_back(job: Job, clock: Clock) -> None:
    read(job, {HOME: images(2)})
    assert gone(job) == {}
    read(job, {}, {URL: "http_404"})
    assert gone(job) == {URL: 2}
    read(job, {})
    assert gone(job) == {URL: 2}, "it is not asked for so soon, and was found gone then"
    clock.advance(2 * REST)
    read(job, {})
    assert gone(job) == {}


@pytest.mark.parametrize("outcome", ["http_403", "http_500", "timeout", "host_down", "not_an_image"])
def test_an_image_that_fails_in_another_way_is_not_gone(job: Job, outcome: str) -> None:
    read(job, {HOME: images(2)})
    read(job, {}, {URL: outcome})
    assert gone(job) == {}


def test_an_image_that_no_page_names_any_more_is_gone(job: Job) -> None:
    read(job, {HOME: [page(NEXT), *named(0, 1)], NEXT: named(1)})
    read(job, {HOME: [page(NEXT), *named(1)]})
    assert gone(job) == {URL: 2}
    read(job, {HOME: [page(NEXT)]})
    assert gone(job) == {URL: 2}, "another page still names the other one"
    read(job, {HOME: [page(NEXT), *named(0)], NEXT: []})
    assert gone(job) == {"http://a.test/1.png": 4}


@pytest.mark.parametrize("outcome", ["http_500", "timeout", "login_required", "robots_denied", "not_html"])
def test_nothing_is_gone_while_a_page_that_named_it_cannot_be_read(job: Job, outcome: str) -> None:
    read(job, {HOME: [page(NEXT), *named(0)], NEXT: named(0, 1)})
    read(job, {HOME: [page(NEXT)]}, {NEXT: outcome})
    assert gone(job) == {}
    read(job, {NEXT: []})
    assert gone(job) == {URL: 3, "http://a.test/1.png": 3}


def test_the_images_of_a_page_that_is_gone_are_gone(job: Job) -> None:
    read(job, {HOME: [page(NEXT), *named(0)], NEXT: named(0, 1)})
    given = read(job, {HOME: named(0)}, {NEXT: "http_404"})
    assert [task.url for task in given] == [HOME, URL, NEXT], "nobody names it: it is asked whether it is there"
    assert gone(job) == {"http://a.test/1.png": 2}
    assert NEXT not in {task.url for task in read(job, {})}, "asked once"
    read(job, {HOME: [page(NEXT), *named(0)], NEXT: named(1)})
    assert gone(job) == {}


def test_a_page_that_nobody_names_and_that_is_there_is_looked_at_once_a_week(job: Job, clock: Clock) -> None:
    read(job, {HOME: [page(NEXT)], NEXT: named(1)})
    for looked_at in (True, False, False, True):
        rest = {NEXT, "http://a.test/1.png"} if looked_at else set()
        assert {task.url for task in read(job, {HOME: []})} == {HOME} | rest
        assert gone(job) == {}
        clock.advance(3 * DAY)
    assert NEXT in {task.url for task in read(job, {HOME: [page(NEXT)]})}
    assert NEXT in {task.url for task in read(job, {HOME: []})}, "named in between, it is looked at at once"


@pytest.mark.parametrize(("settings", "most"), [({"max_pages": 6}, 6), ({"max_alike": 4}, 7)])
def test_looking_back_keeps_to_the_limits(job: Job, settings: dict[str, int], most: int) -> None:
    for night in range(4):
        links = [page(f"http://a.test/p?day={10 * night + n}") for n in range(5)]
        given = read(job, {HOME: links, **{link.url: [] for link in links}}, **settings)
        assert len([task for task in given if task.kind is Kind.PAGE]) <= most


def test_icons_that_are_no_longer_wanted_are_not_gone(job: Job) -> None:
    read(job, {HOME: named(0, 1)}, icons=True)
    read(job, {HOME: named(0)})
    assert gone(job) == {}


def test_a_gone_image_that_is_named_again_and_fails_is_not_gone(job: Job) -> None:
    read(job, {HOME: named(0)})
    read(job, {HOME: []})
    assert gone(job) == {URL: 2}
    read(job, {HOME: named(0)}, {URL: "http_500"})
    assert gone(job) == {}


def test_a_page_of_scripts_tells_nothing_of_what_it_named(job: Job) -> None:
    read(job, {HOME: [page(NEXT)], NEXT: named(1)})
    read(job, {}, {NEXT: "script_only"})
    assert gone(job) == {}


def test_what_other_settings_leave_out_is_not_gone(job: Job) -> None:
    read(job, {HOME: [page(NEXT)], NEXT: named(1)})
    for looked_at in (False, True, False):
        given = read(job, {HOME: []}, {NEXT: "out_of_scope"}, exclude=("next",))
        assert gone(job) == {} and (NEXT in {task.url for task in given}) is looked_at
    assert NEXT not in {task.url for task in read(job, {HOME: []}, exclude=("next",))}


def test_what_a_list_names_no_more_is_gone(job: Job) -> None:
    job.begin(named(0, 1))
    job.finish(stored)
    job.begin(named(1))
    job.finish(unchanged)
    assert gone(job) == {URL: 2}


def named(*numbers: int) -> list[Found]:
    return [image(f"http://a.test/{number}.png", Words(alt=f"{number}")) for number in numbers]


# What need not be remembered


def test_the_ledger_is_in_the_order_in_which_images_were_named(job: Job) -> None:
    job.begin(images(600))
    job.finish(stored)
    worker_order = [row.url for row in job.rows()]
    job.begin(images(600)[::-1])
    job.end_source()
    hand = job.worker()
    hand.exchange()
    while hand.held:
        hand.exchange(*[unchanged(task) for task in list(hand.held.values())[:-150:-1]])
    job.conclude()
    assert [row.url for row in job.broker.ledger("", 10_000).rows] == [found.url for found in images(600)]
    assert sorted(worker_order) == sorted(found.url for found in images(600))
    rows, cursor = [], ""
    while (part := job.broker.ledger(cursor, 77)).rows:
        rows += part.rows
        cursor = part.cursor
    assert [(row.url, row.run, row.outcome) for row in rows] == [(f.url, 2, "unchanged") for f in images(600)]


def test_what_later_results_replaced_is_forgotten(job: Job, clock: Clock) -> None:
    found = [image(f"http://a.test/{n}.png", Words(alt=f"{n}")) for n in range(300)]
    for night in range(8):
        job.begin(found[night:])
        job.finish(lambda task: unchanged(task) if task.known else stored(task))
        clock.advance(DAY)
        rows = job.rows()
        assert len(rows) == len({row.url for row in rows}) == 300, "one result for each image"
        assert {row.url for row in rows} == {row.url for row in job.broker.ledger("", 1000).rows}
    assert len(gone(job)) == 7
    (seq,) = (row.seq for row in rows if row.url == "http://a.test/0.png")
    assert job.broker.reopen([seq]) == 1, "and it can still be asked for"


def test_words_that_a_page_no_longer_says_are_forgotten(job: Job) -> None:
    for night in range(3):
        read(job, {HOME: [image(URL, Words(alt=f"night {night}"))]})
    (row,) = job.broker.ledger("", 10).rows
    assert [decode(words, Words).alt for _, words in row.mentions] == ["night 2"] and row.mentions_total == 1
    read(job, {HOME: []})
    (row,) = job.broker.ledger("", 10).rows
    assert row.mentions_total == 1, "of what is gone the last words stay"


def test_what_an_image_was_before(job: Job) -> None:
    before = []
    for outcome in ("http_500", "success", "http_403"):
        read(job, {HOME: images(1)}, {URL: outcome} if outcome != "success" else NOTHING)
        (row,) = job.broker.ledger("", 10).rows
        before.append((row.before, row.outcome))
    assert before == [("", "http_500"), ("http_500", "success"), ("success", "http_403")]


def test_the_numbers_of_so_many_runs_are_remembered(clock: Clock, tmp_path: Path) -> None:
    with local_broker("file", clock, tmp_path) as broker:
        job = Job(broker, clock)
        for _ in range(5):
            job.begin(images(2), keep_runs=3)
            job.finish(stored)
        assert broker.counts().images == {"success": 2}
    state = sqlite3.connect(tmp_path / "q")
    for table in ("runs", "tally"):
        assert state.execute(f"SELECT DISTINCT run FROM {table} ORDER BY run").fetchall() == [(3,), (4,), (5,)]
    state.close()


# Who begins when


def test_a_run_goes_on_until_it_is_concluded(job: Job) -> None:
    job.begin(images(1))
    job.end_source()
    job.drain(stored)
    again = job.broker.begin(spec())
    assert (again.run, again.resumed, job.broker.counts().state) == (1, True, State.FINISHED)
    job.conclude()
    assert job.broker.begin(spec()).run == 2


def test_a_run_that_is_not_finished_is_not_concluded(job: Job) -> None:
    job.begin(images(1))
    job.conclude()
    assert job.broker.begin(spec()).resumed
