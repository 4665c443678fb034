"""Which task an identity belongs to is known whether it is in memory, in the state, or was in memory before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.driver import Clock, Job, images
from crawler.brokers import identities
from crawler.brokers.identities import Identities
from crawler.brokers.schema import open_database
from crawler.brokers.sqlite import SqliteBroker
from crawler.errors import UsageError


def identity(number: int) -> bytes:
    return hashlib.md5(b"%d" % number).digest()


#: Stretches to be put, each all at once or one by one; None is a process that ends, whose memory is lost.
STRETCHES = st.lists(st.none() | st.tuples(st.lists(st.integers(0, 900), max_size=150), st.booleans()), max_size=12)


class State:
    """A state in which tasks have numbers, and what is to be known of them."""

    def __init__(self) -> None:
        self.db = open_database(None)
        self.made = Identities(self.db)
        self.known: dict[bytes, int] = {}

    def put(self, named: Sequence[bytes], *, together: bool) -> None:
        first = len(self.known) + 1
        if together:
            is_new = len(set(named)) == len(named) and self.known.keys().isdisjoint(named)
            assert self.made.add_all(named, first) is is_new
            new = list(named) if is_new else []
        else:
            new = [one for one in dict.fromkeys(named) if one not in self.known]
            for number, one in enumerate(new, first):
                self.made.add(one, number)
        self.known |= {one: number for number, one in enumerate(new, first)}
        rows = [(self.known[one], one) for one in new]
        self.db.executemany("INSERT INTO tasks VALUES(?, ?, 2, 0, 0, '', x'')", rows)
        self.made.flush()

    def count(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM identities").fetchone()[0])


@given(STRETCHES, st.sampled_from([0, 5, 100, 10_000]))
def test_all_are_found_again(stretches: list[tuple[list[int], bool] | None], most: int) -> None:
    state = State()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "MOST_IN_MEMORY", most)
        for stretch in stretches:
            if stretch is None:
                state.made = Identities(state.db)
                state.made.find([])
                assert state.count() == len(state.known), "what was in memory is put away at the next start"
            else:
                state.put([identity(number) for number in stretch[0]], together=stretch[1])
            assert len(state.known) - state.count() <= most or stretch is None
        everything = [identity(number) for number in range(901)]
        assert state.made.find(everything) == state.known
        again = Identities(state.db)
        assert again.find(everything) == state.known and state.count() == len(state.known)
    state.db.close()


def test_one_cannot_belong_to_two_tasks() -> None:
    state = State()
    state.made.add(identity(1), 1)
    with pytest.raises(ValueError, match="task 2 is task 1"):
        state.made.add(identity(1), 2)
    state.db.close()


def test_what_was_undone_is_found_in_the_state_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MOST_IN_MEMORY", 10)
    broker = SqliteBroker(None, clock=Clock(), chance=lambda: 0.5)
    job = Job(broker, broker._clock)  # type: ignore[arg-type]
    job.begin(images(1000))
    with pytest.raises(UsageError), broker.group():
        broker.put(images(1000, "b.test"), job.source.number)
        broker.results("no cursor", 1)
    assert broker.put(images(1000), job.source.number) == 0
    assert broker.put(images(1000, "b.test"), job.source.number) == 1000
    broker.close()


def test_a_start_puts_away_only_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two turns through all parts, what the first one put away is not looked at again."""
    monkeypatch.setattr(identities, "MOST_IN_MEMORY", 100)
    state = State()
    for start in range(0, 3000, 100):
        state.put([identity(number) for number in range(start, start + 100)], together=True)
    (noted,) = state.db.execute("SELECT value FROM meta WHERE key = 'put_away'").fetchone()
    assert 0 < noted < 3000
    state.db.execute("DELETE FROM identities WHERE number <= ?", (noted,))
    assert Identities(state.db).find(map(identity, range(3000))).keys() == {identity(n) for n in range(noted, 3000)}
    state.db.close()
