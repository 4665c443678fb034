"""Which shard an image goes into, when it is closed, and what becomes of it where it cannot be put into its place."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.here import wait_for
from crawler.errors import CrawlerError, StoreError, Unstorable
from crawler.images import binding
from crawler.images.binding import MOST_UNDER_WAY, Binder, Item
from crawler.model import ImageDetail, ImageResult, Kind, Settlement, ShardAnswer, ShardReport, Task, Verb, decode, pack
from crawler.shards.samples import NOT_FETCHED, Sample
from crawler.shards.shard import Shard
from crawler.spec import Spec

Deed = Callable[[Shard], None]


class Place:
    """A ShardStore that notes what it is asked, and does to it what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, int]] = []
        self.deeds: dict[str, Deed] = {}
        self.go_on = threading.Event()
        self.go_on.set()

    def _note(self, what: str, number: int, shard: Shard | None = None) -> None:
        self.asked.append((what, number))
        assert self.go_on.wait(30)
        if what in self.deeds:
            self.deeds[what](shard)  # type: ignore[arg-type]

    def begin(self, number: int, most: int) -> Shard:
        self._note("begin", number)
        return Shard(self.folder, number, most)

    def place(self, shard: Shard) -> None:
        self._note("place", shard.number, shard)

    def drop(self, shard: Shard, keys: Collection[str]) -> None:
        self._note("drop", shard.number, shard)
        for path, _ in shard.files:
            if path.suffix == ".tar":
                path = path.rename(path.with_suffix(".old"))
                shard.drop(keys, path)

    def remove(self, shard: Shard) -> None:
        self._note("remove", shard.number, shard)

    def holds(self, name: str, size: int) -> bool:
        return True

    def probe(self, done: Callable[[Exception | None], None]) -> None: ...

    def close(self) -> None: ...


class Bench:
    """A binder, and all that it told."""

    def __init__(self, place: Place, **settings: Any) -> None:
        self.place = place
        self.told: list[ShardReport] = []
        self.given_back: list[tuple[list[int], CrawlerError]] = []
        self.aside: list[Callable[[], None]] = []
        spec = Spec(job="j", store="shards", **{"shard_samples": 5, **settings})
        self.binder = Binder(place, spec, self.told.append, self._give_back, self.aside.append)

    def _give_back(self, tasks: list[Task], error: CrawlerError) -> None:
        self.given_back.append(([task.number for task in tasks], error))

    def bind(self, *numbers: int, body: bytes = b"body", failed: bool = False) -> None:
        for number in numbers:
            url = f"http://a.test/{number}.jpg"
            task = Task(number, Kind.IMAGE, url, url, pack(ImageDetail()))
            sample, said = Sample(url), None
            if failed:
                sample.status = NOT_FETCHED
                said = Settlement(number=number, verb=Verb.DONE, outcome="http_404")
            self.binder.bind(Item(task, sample, b"" if failed else body, failed=said))

    def settle(self, answer: ShardAnswer) -> list[int]:
        return self.binder.answered(answer)

    def wait(self, shards: int = 1) -> list[ShardReport]:
        """Return what is told of once so many shards came to an end."""

        def came() -> bool:
            while self.aside:
                self.aside.pop(0)()
            return len(self.told) + len(self.given_back) >= shards

        wait_for(came)
        return self.told


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def make(place: Place) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def bench(**settings: Any) -> Bench:
        made.append(Bench(place, **settings))
        return made[-1]

    yield bench
    place.go_on.set()
    for one in made:
        one.binder.end()


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


def fail(error: Exception) -> Deed:
    def deed(shard: Shard) -> None:
        raise error

    return deed


# When a shard is begun and closed


def test_images_wait_for_the_number_of_a_shard(bench: Bench) -> None:
    assert not bench.binder.wants_number
    bench.bind(1, 2, 3)
    assert bench.binder.wants_number and bench.binder.waiting_bytes == 12 and not bench.place.asked
    bench.binder.begin(7)
    assert bench.binder.numbers == [7] and bench.binder.waiting_bytes == 0 and not bench.binder.wants_number
    bench.bind(4, failed=True)
    bench.bind(5)
    (told,) = bench.wait()
    assert (told.number, told.stored.numbers, told.numbers) == (7, [1, 2, 3, 5], [1, 2, 3, 5, 4])
    files = [decode(result, ImageResult).file for result in told.stored.results]
    assert files == [f"shards/00007.tar/00007000{n}.jpg" for n in (0, 1, 2, 4)]
    assert told.stored.sizes == [0] * 4, "the sample says how large it is"
    assert decode(told.failed[0].result, ImageResult).file == "shards/00007.parquet"


def test_it_is_closed_at_its_size(make: Callable[..., Bench]) -> None:
    bench = make(shard_bytes=4 * 1024)
    bench.bind(1, 2)
    bench.binder.begin(0)
    assert bench.wait()[0].numbers == [1, 2]


def test_it_is_closed_after_its_time(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(shard_seconds=60.0)
    bench.bind(1)
    bench.binder.begin(0)
    bench.binder.turn(close=False)
    assert bench.binder.numbers == [0] and ("place", 0) not in bench.place.asked
    began = binding.time.time()
    monkeypatch.setattr(binding.time, "time", lambda: began + 61.0)
    bench.binder.turn(close=False)
    assert bench.wait()[0].numbers == [1]


def test_it_is_closed_when_told_to(bench: Bench) -> None:
    bench.binder.turn(close=True)
    bench.bind(1)
    bench.binder.turn(close=True)
    assert bench.binder.wants_number, "what waits for a number still does"
    bench.binder.begin(0)
    bench.binder.turn(close=True)
    assert bench.wait()[0].numbers == [1]


def test_one_of_failures_alone_is_a_shard_too(bench: Bench) -> None:
    bench.bind(1, 2, failed=True)
    bench.binder.begin(0)
    bench.binder.close()
    assert bench.wait()[0].stored.numbers == [] and bench.told[0].numbers == [1, 2]


def test_what_is_more_than_a_shard_waits_for_the_next(bench: Bench) -> None:
    bench.bind(*range(1, 13))
    for number in (0, 1, 2):
        assert bench.binder.wants_number
        bench.binder.begin(number)
        if number < 2:
            (told,) = bench.wait(number + 1)[number:]
            assert told.numbers == list(range(5 * number + 1, 5 * number + 6))
            assert bench.settle(ShardAnswer(number)) == told.numbers
    assert bench.binder.numbers == [2] and not bench.binder.wants_number


def test_a_shard_that_is_under_way_is_not_begun_again(bench: Bench) -> None:
    """As where a number was asked for once more before its coming was known."""
    bench.place.go_on.clear()
    threading.Timer(0.05, bench.place.go_on.set).start()
    bench.bind(*range(1, 9))
    bench.binder.begin(0)
    assert bench.binder.numbers == [0] and bench.binder.wants_number
    bench.binder.begin(0)
    assert bench.place.asked.count(("begin", 0)) == 1 and bench.binder.wants_number
    bench.binder.begin(1)
    bench.binder.begin(2)
    assert bench.binder.numbers == [0, 1] and ("begin", 2) not in bench.place.asked, "none was wanted"
    assert bench.wait()[0].numbers == [1, 2, 3, 4, 5]


def test_no_shard_is_begun_while_many_are_under_way(bench: Bench) -> None:
    for number in range(MOST_UNDER_WAY):
        bench.bind(*range(5 * number + 1, 5 * number + 6))
        bench.binder.begin(number)
    bench.bind(99)
    assert not bench.binder.wants_number and bench.binder.waiting_bytes == 4
    bench.wait(MOST_UNDER_WAY)
    assert not bench.binder.wants_number, "what is told of may be refused yet"
    bench.settle(ShardAnswer(0))
    assert bench.binder.wants_number


def test_two_are_under_way_and_told_of_in_their_order(bench: Bench) -> None:
    bench.place.go_on.clear()
    bench.bind(*range(1, 6))
    threading.Timer(0.05, bench.place.go_on.set).start()
    bench.binder.begin(0)
    bench.bind(6)
    bench.place.go_on.wait(5)
    bench.binder.begin(1)
    bench.binder.close()
    assert bench.binder.numbers == [0, 1]
    assert [told.number for told in bench.wait(2)] == [0, 1]
    assert bench.settle(ShardAnswer(1)) == [6]
    assert bench.binder.numbers == [0]


# What was told of by others


def test_a_shard_is_made_anew_without_what_was_refused(bench: Bench) -> None:
    bench.bind(1, 2, 4)
    bench.bind(3, failed=True)
    bench.binder.begin(0)
    bench.binder.close()
    bench.wait()
    assert bench.settle(ShardAnswer(0, [2, 3])) == [2, 3]
    assert bench.binder.numbers == [0]
    again = bench.wait(2)[1]
    assert again.numbers == [1, 4] and ("drop", 0) in bench.place.asked
    assert [decode(result, ImageResult).file[-13:] for result in again.stored.results] == [
        "000000000.jpg", "000000002.jpg",
    ]  # fmt: skip
    assert bench.settle(ShardAnswer(0)) == [1, 4] and bench.binder.numbers == []


def test_one_that_others_told_of_wholly_is_removed(bench: Bench) -> None:
    bench.bind(1, 2)
    bench.binder.begin(0)
    bench.binder.close()
    bench.wait()
    assert bench.settle(ShardAnswer(0, [1, 2])) == [1, 2]
    wait_for(lambda: ("remove", 0) in bench.place.asked)
    assert bench.binder.numbers == [] and len(bench.told) == 1


def test_a_word_on_an_unknown_shard_is_nothing(bench: Bench) -> None:
    assert bench.settle(ShardAnswer(3)) == [] and bench.settle(ShardAnswer(3, [1])) == []


# What cannot be written


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [StoreError("it is full"), Unstorable("never")], ids=["passes", "stays"])
def test_what_waits_is_given_back_where_none_can_be_begun(bench: Bench, error: StoreError) -> None:
    bench.place.deeds["begin"] = fail(error)
    bench.bind(1, 2)
    bench.binder.begin(0)
    assert bench.given_back == [([1, 2], error)]
    assert bench.binder.waiting_bytes == 0 and not bench.binder.wants_number and bench.binder.numbers == []


def test_all_in_a_shard_is_given_back_where_it_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.bind(1, 2)
    bench.binder.begin(0)
    monkeypatch.setattr(Shard, "add", lambda *_: fail(FULL)(None))  # type: ignore[arg-type]
    bench.bind(3)
    ((numbers, error),) = bench.given_back
    assert 3 in numbers and type(error) is StoreError
    assert "shard 0 cannot be written: No space left on device" in str(error)
    assert set(numbers) == {1, 2, 3}
    assert bench.binder.numbers == [] and not list(bench.place.folder.iterdir())


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FULL, StoreError, "shard 0 cannot be written: No space left on device"),
        (StoreError("no answer"), StoreError, "no answer"),
        (Unstorable("a row"), Unstorable, "a row"),
        (RuntimeError("a defect"), Unstorable, "shard 0: RuntimeError"),
    ],
)
def test_all_in_a_shard_is_given_back_where_it_cannot_be_placed(
    bench: Bench, error: Exception, kind: type[CrawlerError], message: str
) -> None:
    bench.place.deeds["place"] = fail(error)
    bench.bind(1, 2)
    bench.binder.begin(0)
    bench.binder.close()
    bench.wait()
    ((numbers, why),) = bench.given_back
    assert numbers == [1, 2] and type(why) is kind and message in str(why)
    assert not bench.told and bench.binder.numbers == [] and not list(bench.place.folder.iterdir())
    del bench.place.deeds["place"]
    bench.bind(1)
    bench.binder.begin(0)
    bench.binder.close()
    assert bench.wait(2)[0].numbers == [1], "its number can be used"


def test_all_is_given_back_where_it_cannot_be_made_anew(bench: Bench) -> None:
    bench.bind(1, 2)
    bench.binder.begin(0)
    bench.binder.close()
    bench.wait()
    bench.place.deeds["drop"] = fail(FULL)
    assert bench.settle(ShardAnswer(0, [1])) == [1]
    bench.wait(2)
    assert [numbers for numbers, _ in bench.given_back] == [[2]]


def test_the_end_leaves_no_draft_of_what_is_open(bench: Bench) -> None:
    bench.bind(1)
    bench.binder.begin(0)
    assert list(bench.place.folder.iterdir())
    bench.binder.end()
    assert not list(bench.place.folder.iterdir()) and not bench.told
