"""Sources that rest: at a limit of their own, or because they are not of a run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers.conftest import LOCAL, local_broker
from brokers.driver import ALL_ROOM, Clock, Hand, done, image, page, retry, returned, spec
from crawler.account import Counts
from crawler.brokers.sqlite import SqliteBroker
from crawler.contracts import Broker
from crawler.errors import UsageError
from crawler.model import Found, Kind, Settlement, SourceDetail, State, Task, Words
from crawler.outcomes import Outcome
from crawler.spec import Site, Spec

A, B = "http://a.test/", "http://b.test/"
DAY = 86400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=LOCAL)
def broker(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Broker]:
    with local_broker(request.param, clock, tmp_path) as made:
        yield made


def job(*sites: Site, urls: tuple[str, ...] = (A, B), **settings: object) -> Spec:
    """Return a job of sites that are called by the letter of their URL."""
    sources = tuple((url, SourceDetail(name=name(url))) for url in urls)
    return spec(sources=sources, sites=sites, **settings)


def name(url: str) -> str:
    return url.removeprefix("http://")[0]


def images(number: int, of: str, host: str = "cdn.test") -> list[Found]:
    return [image(f"http://{host}/{name(of)}{n}.png") for n in range(number)]


class Night:
    """One run, by one worker that does all kinds of work."""

    def __init__(self, broker: Broker, clock: Clock, spec: Spec, found: dict[str, list[Found]]) -> None:
        self.broker = broker
        self.clock = clock
        self.begun = broker.begin(spec)
        self.found = found
        self.worker = Hand(broker, f"w{random.random()}", ALL_ROOM)
        self.given: list[Task] = []

    def turn(self, settle: Callable[[Task], Settlement] = done) -> list[Task]:
        """Settle what is held, and take what there is; sources give what the test says."""
        said = []
        for task in self.worker.held.values():
            if task.kind is Kind.SOURCE:
                said.append(done(task, found=self.found[task.url]))
            else:
                said.append(settle(task))
        tasks = self.worker.exchange(*said)
        self.given += tasks
        return tasks

    def drain(self, settle: Callable[[Task], Settlement] = done) -> Night:
        for _ in range(300):
            tasks = self.turn(settle)
            if self.worker.reply.state is State.FINISHED:
                self.broker.conclude()
                return self
            self.clock.advance(0.0 if tasks else 0.3)
        raise AssertionError(f"not finished: {self.broker.counts()}")

    def images(self) -> Counter[str]:
        """Return how often an image was given out, by site."""
        return Counter(task.url.rpartition("/")[2][0] for task in self.given if task.kind is Kind.IMAGE)


def stopped(counts: Counts) -> dict[str, str]:
    return {site.name: site.stopped for site in counts.sites}


class TestMaxImages:
    def test_is_exact_and_the_next_run_goes_on(self, broker: Broker, clock: Clock) -> None:
        found = {A: images(10, A), B: images(10, B)}
        limited = job(Site(name="a", max_images=4))
        night = Night(broker, clock, limited, found).drain()
        assert night.images() == {"a": 4, "b": 10}
        counts = broker.counts()
        assert (stopped(counts), counts.images) == ({"a": "max_images", "b": ""}, {"success": 14})
        assert counts.waiting_images == 0
        again = Night(broker, clock, limited, found).drain()
        assert again.images()["a"] == 4, "what is there, or was not reached yet"
        last = Night(broker, clock, job(), found).drain()
        assert {row.url for row in broker.ledger("", 100).rows} == {f.url for f in found[A] + found[B]}
        assert stopped(broker.counts()) == {"a": "", "b": ""} and last.begun.run == 3

    def test_others_take_the_places_of_those_that_fail(self, broker: Broker, clock: Clock) -> None:
        def settle(task: Task) -> Settlement:
            return done(task, "http_404" if task.url.endswith(("a0.png", "a2.png")) else "success")

        night = Night(broker, clock, job(Site(name="a", max_images=4)), {A: images(10, A), B: []}).drain(settle)
        assert night.images() == {"a": 6}
        assert broker.counts().images == {"success": 4, "http_404": 2}

    def test_few_images_come_to_no_limit(self, broker: Broker, clock: Clock) -> None:
        Night(broker, clock, job(Site(name="a", max_images=4)), {A: images(3, A), B: []}).drain()
        assert stopped(broker.counts()) == {"a": "", "b": ""}

    def test_what_comes_after_the_limit_rests_too(self, broker: Broker, clock: Clock) -> None:
        def settle(task: Task) -> Settlement:
            return done(task, found=images(10, A) if task.kind is Kind.PAGE else [])

        found = {A: [*images(2, A, "other.test"), page(A), page(A + "2")], B: []}
        night = Night(broker, clock, job(Site(name="a", max_images=1)), found).drain(settle)
        assert night.images() == {"a": 1}
        assert broker.counts().images == {"success": 1}

    def test_what_another_site_names_too_does_not_rest(self, broker: Broker, clock: Clock) -> None:
        shared = [image(f"http://cdn.test/a{n}.png", Words(alt="shared")) for n in range(5)]

        def settle(task: Task) -> Settlement:
            return done(task, found=shared if task.kind is Kind.PAGE else [])

        limited = job(Site(name="a", max_images=2))
        Night(broker, clock, limited, {A: shared, B: [page(B)]}).drain(settle)
        assert broker.counts().images == {"success": 5}
        clock.advance(DAY)
        Night(broker, clock, limited, {A: [*shared, *images(9, A, "z.test")], B: []}).drain(settle)
        assert sum(broker.counts().images.values()) < 14

    def test_what_an_unchanged_page_of_another_site_names_does_not_rest(self, broker: Broker, clock: Clock) -> None:
        shared = [image(f"http://cdn.test/a{n}.png", Words(alt="shared")) for n in range(5)]
        found = {A: [*shared, page(A)], B: [page(B)]}

        def settle(task: Task) -> Settlement:
            return done(task, found=shared if task.kind is Kind.PAGE else [])

        def settle_later(task: Task) -> Settlement:
            if task.kind is Kind.IMAGE:
                return done(task)
            clock.advance(1.0)
            is_before = task.url == B and not stopped(broker.counts())["a"]
            return returned(task) if is_before else done(task, Outcome.UNCHANGED)

        Night(broker, clock, job(), found).drain(settle)
        clock.advance(DAY)
        Night(broker, clock, job(Site(name="a", max_images=2)), found).drain(settle_later)
        assert (stopped(broker.counts())["a"], broker.counts().images) == ("max_images", {"success": 5})


class TestMaxTime:
    def test_what_is_left_waits_for_the_next_run(self, broker: Broker, clock: Clock) -> None:
        found = {A: images(5, A), B: images(5, B, "b.test")}
        night = Night(broker, clock, job(Site(name="a", max_time=60.0)), found)
        night.turn()
        night.turn()  # the sources gave what they have
        clock.advance(61.0)
        broker.counts()
        night.drain(lambda task: returned(task) if task.url.startswith("http://cdn") else done(task))
        assert broker.counts().images == {"success": 5}
        assert stopped(broker.counts()) == {"a": "max_time", "b": ""}
        again = Night(broker, clock, job(Site(name="a", max_time=60.0)), found).drain()
        assert again.images()["a"] == 5 and stopped(broker.counts()) == {"a": "", "b": ""}

    def test_an_endless_site_costs_the_others_nothing(self, broker: Broker, clock: Clock) -> None:
        def settle(task: Task) -> Settlement:
            clock.advance(0.5)
            if task.kind is Kind.PAGE:
                number = int(task.url.rpartition("/")[2])
                return done(task, found=[page(f"{A}{number + 1}"), page(f"{A}{number + 2}"), *images(3, A)])
            return done(task)

        found = {A: [page(A + "0")], B: images(30, B)}
        night = Night(broker, clock, job(Site(name="a", max_time=20.0), max_alike=0), found).drain(settle)
        assert night.images()["b"] == 30
        assert stopped(broker.counts())["a"] == "max_time"

    def test_a_start_has_all_of_its_time(self, tmp_path: Path, clock: Clock) -> None:
        limited, found = job(Site(name="a", max_time=60.0)), {A: images(5, A), B: []}
        broker = SqliteBroker(tmp_path / "q", clock=clock)
        night = Night(broker, clock, limited, found)
        for _ in range(2):
            night.turn(returned)
        broker.close()
        clock.advance(DAY)
        broker = SqliteBroker(tmp_path / "q", clock=clock)
        again = Night(broker, clock, limited, found)
        assert again.begun.resumed
        clock.advance(20.0)
        assert again.drain().images()["a"] == 5
        broker.close()


class TestOnly:
    def test_the_others_are_not_of_the_run(self, broker: Broker, clock: Clock) -> None:
        found = {A: images(3, A), B: images(3, B)}
        Night(broker, clock, job(), found).drain()
        night = Night(broker, clock, job(only=("a",)), found).drain()
        assert night.images() == {"a": 3} and [task.url for task in night.given if task.kind is Kind.SOURCE] == [A]
        assert stopped(broker.counts()) == {"a": ""}

    def test_what_waits_of_them_waits_on(self, broker: Broker, clock: Clock) -> None:
        found = {A: images(3, A), B: images(3, B)}
        night = Night(broker, clock, job(), found)
        for _ in range(2):
            night.turn(returned)
        chosen = Night(broker, clock, job(only=("a",)), found)
        assert chosen.begun.resumed
        night.worker.exchange(*[returned(task) for task in night.worker.held.values()], room={})
        assert chosen.drain().images() == {"a": 3}
        assert Night(broker, clock, job(), found).drain().images()["b"] == 3

    def test_sites_come_and_go(self, broker: Broker, clock: Clock) -> None:
        c = "http://c.test/"
        found = {A: images(1, A), B: images(1, B), c: images(1, c)}
        Night(broker, clock, job(), found).drain()
        night = Night(broker, clock, job(urls=(B, c)), found).drain()
        assert {task.url for task in night.given if task.kind is Kind.SOURCE} == {B, c}
        assert {row.url: row.site for row in broker.ledger("", 9).rows} == {
            f"http://cdn.test/{letter}0.png": letter for letter in "abc"
        }
        with pytest.raises(UsageError, match=r"was made for http://b\.test/, http://c\.test/; .*--job"):
            broker.begin(job(urls=("http://d.test/",)))

    def test_pages_of_the_others_are_not_looked_back_at(self, broker: Broker, clock: Clock) -> None:
        found = {A: [page(A)], B: [page(B)]}

        def settle(task: Task) -> Settlement:
            return done(task, found=images(2, task.url) if task.kind is Kind.PAGE else [])

        Night(broker, clock, job(), found).drain(settle)
        clock.advance(30 * DAY)
        night = Night(broker, clock, job(only=("a",)), found).drain(settle)
        assert {task.url for task in night.given if task.kind is Kind.PAGE} == {A}
        cursor = broker.review("")
        while cursor:
            cursor = broker.review(cursor)
        assert not any(row.gone for row in broker.ledger("", 100).rows)


@pytest.mark.parametrize("ends", [done, lambda task: done(task, "http_404")], ids=["saved", "failed"])
def test_a_broker_that_starts_again_while_the_last_images_are_under_way(
    tmp_path: Path, clock: Clock, ends: Callable[[Task], Settlement]
) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    found = {A: images(9, A), B: []}
    night = Night(broker, clock, job(Site(name="a", max_images=3)), found)
    night.turn()
    while not any(task.kind is Kind.IMAGE for task in night.worker.held.values()):
        night.turn()
        clock.advance(0.3)
    for _ in range(10):  # the others rest by now
        night.worker.exchange()
        clock.advance(0.5)
    broker.close()
    night.broker = night.worker.broker = broker = SqliteBroker(tmp_path / "q", clock=clock)
    clock.advance(1.0)
    night.drain(lambda task: ends(task) if night.given.index(task) < 5 else done(task))
    assert broker.counts().images["success"] == 3 and stopped(broker.counts())["a"] == "max_images"
    broker.close()


def test_two_at_their_limits_give_each_other_what_both_name(broker: Broker, clock: Clock) -> None:
    shared = image("http://cdn.test/shared.png", Words(alt="s"))
    found = {A: [*images(1, A), shared], B: [*images(1, B), page(B)]}

    def settle(task: Task) -> Settlement:
        if task.kind is Kind.PAGE:
            return done(task, found=[shared])
        return done(task, "http_404" if task.url.endswith("b0.png") else "success")

    limits = (Site(name="a", max_images=1), Site(name="b", max_images=1))
    night = Night(broker, clock, job(*limits), found).drain(settle)
    assert "http://cdn.test/shared.png" in {task.url for task in night.given}
    assert broker.counts().images == {"success": 2, "http_404": 1}


def test_what_was_done_meanwhile_is_taken_of_a_source_that_rests(broker: Broker, clock: Clock) -> None:
    night = Night(broker, clock, job(Site(name="a", max_time=60.0)), {A: images(3, A), B: []})
    while not night.images():
        night.turn()
    held = list(night.worker.held.values())
    clock.advance(100.0)  # its lease is over, and so is the site's time
    for _ in range(3):
        broker.counts()
        clock.advance(1.0)
    night.worker.held.clear()
    night.worker.exchange(*[done(task) for task in held])
    assert broker.counts().images == {"success": 3}


def test_what_failed_is_tried_again_within_the_limits_of_the_run(broker: Broker, clock: Clock) -> None:
    """A run that is taken up and killed goes on as an ordinary one: with its limits, and without what rested."""
    found = {A: images(10, A), B: images(2, B)}
    limited = job(Site(name="a", max_images=3))
    Night(broker, clock, limited, found).drain(lambda task: done(task, "http_500" if "b1" in task.url else "success"))
    failed = [row.seq for row in broker.ledger("", 100).rows if row.outcome == "http_500"]
    broker.take_up(limited)
    assert broker.reopen(failed) == 1
    night = Night(broker, clock, limited, found)
    assert night.begun.resumed and night.drain().images() == {"b": 1}
    assert stopped(broker.counts()) == {"a": "max_images", "b": ""}


def test_what_rests_is_not_pruned(broker: Broker, clock: Clock) -> None:
    def reviewed() -> dict[str, int]:
        cursor = broker.review("")
        while cursor:
            cursor = broker.review(cursor)
        return {row.url: row.seq for row in broker.ledger("", 100).rows if row.gone}

    def settle(named: list[Found]) -> Callable[[Task], Settlement]:
        return lambda task: done(task, found=named if task.kind is Kind.PAGE else [])

    words = [image(f"http://cdn.test/a{n}.png", Words(alt="w")) for n in range(4)]
    found = {A: [page(A)], B: []}
    Night(broker, clock, job(), found).drain(settle(words))
    Night(broker, clock, job(refresh="always"), found).drain(settle(words[:3]))
    gone = reviewed()
    assert gone.keys() == {"http://cdn.test/a3.png"}
    broker.conclude()
    Night(broker, clock, job(Site(name="a", max_images=1), refresh="always"), found).drain(settle(words[::-1]))
    assert reviewed() == {} or broker.prune(list(gone.values())) == 0
    Night(broker, clock, job(), found).drain(settle(words))
    assert not reviewed() and all(row.outcome == "success" for row in broker.ledger("", 100).rows)


def test_a_broker_that_starts_again_lets_them_rest(tmp_path: Path, clock: Clock) -> None:
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    found = {A: images(9, A), B: images(9, B)}
    night = Night(broker, clock, job(Site(name="a", max_images=2)), found)
    for _ in range(3):
        night.turn(lambda task: done(task) if "/a" in task.url else returned(task))
    broker.close()
    broker = SqliteBroker(tmp_path / "q", clock=clock)
    clock.advance(60.0)
    night.broker = broker
    night.worker = Hand(broker, "later", ALL_ROOM)
    night.given.clear()
    assert night.drain().images() == {"b": 9}
    assert broker.counts().images == {"success": 11}
    broker.close()


@pytest.mark.parametrize("seed", range(30))
def test_memory_and_state_agree_whatever_happens(seed: int, tmp_path: Path) -> None:
    """All that is not done is counted once, and each image has its result when there are no limits any more."""
    chance, clock = random.Random(seed), Clock()
    urls = (A, B, "http://c.test/")
    found = {url: images(chance.randint(0, 30), url, chance.choice(["cdn.test", f"{name(url)}.test"])) for url in urls}
    path = tmp_path / "q"
    broker = SqliteBroker(path, clock=clock)

    def settle(task: Task) -> Settlement:
        clock.advance(chance.random() * 0.1)  # no lease is lost: what was held may then be told beyond a limit
        return chance.choice([done, done, done, returned, retry, lambda task: done(task, "http_404")])(task)

    for _ in range(4):
        limits = [
            Site(name=name(url), max_images=chance.randint(0, 6), max_time=chance.choice([0, 5.0])) for url in urls
        ]
        only = chance.choice([(), (), ("a",), ("b", "c")])
        night = Night(broker, clock, job(*limits, urls=urls, only=only), found)
        begun_with = {site.name: site.outcomes.get("success", 0) for site in broker.counts().sites}
        for _ in range(chance.randint(1, 12)):
            night.turn(settle)
            clock.advance(chance.random() * 3)
            before = broker.counts()
            saved = {site.name: site.outcomes.get("success", 0) for site in before.sites}
            for site in limits:
                most = max(site.max_images, begun_with.get(site.name, 0))
                assert not site.max_images or saved.get(site.name, 0) <= most
        broker.close()
        broker = SqliteBroker(path, clock=clock)
        after = broker.counts()
        assert (after.waiting_images, after.waiting_pages) == (before.waiting_images, before.waiting_pages)
        clock.advance(60.0)
        if chance.random() < 0.7:
            night.broker, night.worker = broker, Hand(broker, f"d{seed}{chance.random()}", ALL_ROOM)
            night.drain()
    if (broker.begin(job(urls=urls))).resumed:
        Night(broker, clock, job(urls=urls), found).drain()
    Night(broker, clock, job(urls=urls), found).drain()
    rows = broker.ledger("", 1000).rows
    assert {row.url for row in rows} == {item.url for items in found.values() for item in items}
    assert all(row.outcome for row in rows)
    broker.close()
