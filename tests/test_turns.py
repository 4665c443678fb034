from __future__ import annotations

from collections import Counter, deque
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from crawler.model import Grant, ImageDetail, Kind, Task, pack
from crawler.turns import LAG, UNTRIED, Host, Turns

TASK = Task(1, Kind.IMAGE, "https://a.example/1.jpg", "https://a.example/1.jpg", pack(ImageDetail()))


def host(turns: Turns, *, count: int = 8, tasks: int = 1000, lasts: float | None = None, delay: float = 0.0) -> Host:
    """Return a host with something to ask; where it `lasts`, its first request took so long."""
    made = Host(Grant(count, delay), deque([TASK] * tasks))
    if lasts is not None:
        made.busy += 1
        turns._busy += 1
        turns._patient_busy += 1
        turns.ended(made, 0.0, lasts, answered=True)
        made.not_before = 0.0
    turns.enrol(made)
    return made


def begin(turns: Turns, now: float = 0.0, *, spare: float = inf, most: int = 1000) -> list[Host]:
    begun: list[Host] = []
    while len(begun) < most and (host := turns.next(now, spare)) is not None:
        host.ready.popleft()
        begun.append(host)
    return begun


def test_hosts_of_a_kind_take_turns() -> None:
    turns = Turns(64)
    a, b = host(turns, lasts=0.1, count=2), host(turns, lasts=0.1, count=3)
    assert begin(turns) == [a, b, a, b, b]


def test_patient_hosts_come_first_until_they_have_their_part() -> None:
    turns = Turns(8)
    quick, slow = host(turns, lasts=0.1), host(turns, lasts=3.0)
    assert begin(turns) == [slow] * 4 + [quick] * 8 + [slow] * 4


def test_half_of_the_spare_connections_are_for_quick_hosts() -> None:
    turns = Turns(8)
    quick, slow = host(turns, lasts=0.1), host(turns, lasts=3.0)
    assert begin(turns, spare=4) == [slow] * 4 + [quick] * 8
    assert begin(turns, spare=5, most=1) == [slow]
    turns.ended(slow, 9.0, 9.0, answered=True)
    turns.ended(slow, 9.0, 9.0, answered=True)
    assert begin(turns, 9.0, spare=4) == [slow]


def test_where_no_host_is_quick_few_are_kept_for_one_that_may_come() -> None:
    turns = Turns(8)
    slow = host(turns, lasts=3.0)
    assert begin(turns, spare=1) == [slow] * 4
    assert begin(turns, spare=2) == [slow] * 4


def test_slow_hosts_starve_each_other_no_more_than_quick_ones() -> None:
    turns, connections, now = Turns(8), 8, 0.0
    hosts = [host(turns, lasts=3.0) for _ in range(20)]
    running, done = deque(begin(turns, most=connections)), Counter[int]()
    for _ in range(200):
        now += 3.0 / connections
        ended = running.popleft()
        done[hosts.index(ended)] += 1
        turns.ended(ended, now, 3.0, answered=True)
        running += begin(turns, now, most=1)
    assert set(done.values()) == {10}


def test_a_host_that_never_answers_has_few_connections() -> None:
    turns = Turns(8)
    silent = host(turns)
    assert begin(turns) == [silent] * UNTRIED
    turns.ended(silent, 9.0, 9.0, answered=False)
    assert begin(turns, 9.0) == [silent]


def test_a_host_that_was_slow_once_is_quick_when_it_answers_quickly() -> None:
    turns = Turns(2)
    once, other = host(turns, lasts=3.0, count=1), host(turns, lasts=0.1, count=1)
    assert begin(turns) == [once, other]
    turns.ended(once, 0.1, 0.1, answered=True)
    assert not once.slow and begin(turns, 0.1, spare=0) == [once]


def test_a_quick_host_that_ends_nothing_gives_way() -> None:
    turns = Turns(4)
    stuck = host(turns, lasts=0.1, count=3)
    assert begin(turns, most=2) == [stuck] * 2
    assert begin(turns, LAG + 0.1, spare=0) == [] and stuck.slow
    other = host(turns, lasts=0.1, count=1)
    assert begin(turns, LAG + 0.1) == [other, stuck]


def test_who_is_due_stands_in_line_and_wakes_nobody() -> None:
    turns = Turns(4)
    late = host(turns, lasts=0.1, count=1, delay=5.0)
    late.not_before = 5.0
    assert turns.next(1.0) is None and turns.wakes_in(1.0, 60.0) == 4.0
    assert turns.wakes_in(6.0, 60.0) == 60.0
    assert begin(turns, 6.0) == [late]


_STEPS = st.lists(
    st.tuples(st.sampled_from("bbbbeeeeqgpt"), st.integers(0, 4), st.floats(0.0, 4.0), st.booleans()), max_size=120
)


@given(_STEPS, st.integers(0, 6))
def test_whatever_happens_counts_are_right_and_nobody_is_forgotten(
    steps: list[tuple[str, int, float, bool]], connections: int
) -> None:
    turns, now = Turns(connections), 0.0
    hosts = [host(turns, count=2) for _ in range(5)]
    for step, number, amount, answered in steps:
        chosen = hosts[number]
        if step in "bq":
            begin(turns, now, spare=number if step == "q" else inf, most=1)
        elif step == "e" and chosen.busy:
            turns.ended(chosen, now, amount, answered=answered)
        elif step == "g":
            chosen.allow(Grant(number, delay=amount if answered else 0.0))
            turns.enrol(chosen)
        elif step == "p":
            chosen.not_before = max(chosen.not_before, now + amount)
        elif step == "t":
            now += amount
            turns.look(chosen, now)
        assert turns._busy == sum(each.busy for each in hosts)
        assert turns._patient_busy == sum(each.busy for each in hosts if each.patient)
        assert all(each.busy <= max(each.most, UNTRIED, 2) for each in hosts)
    now += 100.0
    for each in hosts:
        each.allow(Grant(2))
        while each.busy:
            turns.ended(each, now, 0.1, answered=True)
        turns.enrol(each)
    now += 100.0
    assert Counter(id(each) for each in begin(turns, now)) == {id(each): 2 for each in hosts}
