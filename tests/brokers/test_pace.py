from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.brokers.pace import DOWN_AFTER, FIRST_PAUSE, MAX_PAUSE, Pace


def pace(most: int = 8, delay: float = 0.0) -> Pace:
    return Pace(most, min(2, most), delay)


# Shares


def test_a_single_worker_has_it_all() -> None:
    assert pace().allot("a", False, False, 0.0) == 8


def test_images_leave_room_for_pages_that_wait() -> None:
    host = pace()
    assert host.allot("a", False, True, 0.0) == 6
    assert host.allot("pages", True, True, 0.0) == 2


def test_pages_never_have_more_than_two() -> None:
    host = pace()
    counts = [host.allot(name, True, True, 0.0) for name in "abcd"]
    assert 0 < sum(counts) <= 2


def test_what_another_may_still_use_is_not_given() -> None:
    host = pace()
    host.allot("a", False, False, 0.0)
    assert host.allot("b", False, False, 0.0) == 0
    assert host.allot("a", False, False, 0.1) == 4  # b waits: a is cut to its fair part
    assert host.allot("b", False, False, 0.1) == 0  # but a has not confirmed it
    host.confirm("a", busy=4, heard=True, holds=True, now=0.2)
    assert host.allot("b", False, False, 0.2) == 4


def test_a_reply_that_was_not_heard_frees_nothing() -> None:
    host = pace()
    host.allot("a", False, False, 0.0)
    host.allot("b", False, False, 0.0)
    host.allot("a", False, False, 0.1)
    host.confirm("a", busy=0, heard=False, holds=True, now=0.2)
    assert host.allot("b", False, False, 0.2) == 0


def test_a_worker_that_holds_nothing_gives_its_share_back() -> None:
    host = pace()
    host.allot("a", False, False, 0.0)
    host.confirm("a", busy=0, heard=True, holds=False, now=0.1)
    assert host.allot("b", False, False, 0.1) == 8


def test_a_worker_still_busy_keeps_its_share() -> None:
    host = pace()
    host.allot("a", False, False, 0.0)
    host.confirm("a", busy=1, heard=True, holds=False, now=0.1)
    assert host.allot("b", False, False, 0.1) == 0


def test_a_forgotten_worker_has_none() -> None:
    host = pace()
    host.allot("a", False, False, 0.0)
    host.forget("a", 0.1)
    assert host.allot("b", False, False, 0.1) == 8
    assert host.blocked_until == 0.0


def test_the_delay_counts_from_the_end_of_a_forgotten_worker() -> None:
    host = pace(delay=2.0)
    host.allot("a", False, False, 0.0)
    host.forget("b", 5.0)
    assert host.blocked_until == 0.0
    host.forget("a", 5.0)
    assert host.blocked_until == 7.0


def test_what_was_under_way_before_a_restart_is_counted() -> None:
    host = pace()
    host.adopt("a", 5, False)
    assert host.allot("b", False, False, 0.0) <= 3
    host.adopt("a", 1, False)  # known already
    assert host.shares["a"].ceiling == 5


@given(
    st.integers(1, 16),
    st.sampled_from([0.0, 1.0]),
    st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.sampled_from(["allot", "confirm", "answer", "fail"]), st.integers(0, 16)
        ),
        max_size=60,
    ),
)
def test_ceilings_never_exceed_the_limit(most: int, delay: float, steps: list[tuple[str, str, int]]) -> None:
    """`a` and `b` read pages; a worker is never busier than its ceiling."""
    host = pace(most, delay)
    now = 0.0
    for name, step, number in steps:
        now += 0.1
        share = host.shares.get(name)
        if step == "allot":
            host.allot(name, name in "ab", True, now)
        elif step == "confirm" and share is not None:
            host.confirm(name, min(number, share.ceiling), number % 3 > 0, number % 2 > 0, now)
        elif step == "answer":
            host.answered(float(number))
        elif step == "fail":
            host.failed("http_429", 0.0, now)
        ceilings = {other: s.ceiling for other, s in host.shares.items()}
        assert sum(ceilings.values()) <= (1 if delay else most)
        assert ceilings.get("a", 0) + ceilings.get("b", 0) <= 2
        assert host.limit <= most


# A delay


def test_with_a_delay_one_at_a_time() -> None:
    host = pace(delay=2.0)
    assert host.allot("a", False, False, 0.0) == 1
    assert host.allot("b", False, False, 0.0) == 0
    assert host.grant("a", 0.0).delay == 2.0


def test_the_next_worker_waits_for_the_delay() -> None:
    host = pace(delay=2.0)
    host.allot("a", False, False, 0.0)
    host.confirm("a", busy=0, heard=True, holds=False, now=10.0)
    assert host.blocked_until == 12.0
    host.allot("b", False, False, 10.0)
    assert host.grant("b", 10.5).wait == pytest.approx(1.5)


def test_who_was_refused_goes_first() -> None:
    host = pace(delay=2.0)
    host.allot("a", False, False, 0.0)
    host.allot("b", False, False, 0.0)
    host.confirm("a", busy=0, heard=True, holds=False, now=1.0)
    assert host.yields("a", 1.0)
    assert not host.yields("b", 1.0)


def test_who_was_refused_long_ago_does_not_hold_others_up() -> None:
    host = pace(delay=2.0)
    host.allot("a", False, False, 0.0)
    host.allot("b", False, False, 0.0)
    host.confirm("a", busy=0, heard=True, holds=False, now=1.0)
    assert not host.yields("a", 10.0)


def test_without_a_delay_nobody_yields() -> None:
    host = pace()
    host.allot("a", False, False, 0.0)
    host.allot("b", False, False, 0.0)
    assert not host.yields("a", 0.1)


# Complaints and silence


@pytest.mark.parametrize("outcome", ["http_429", "http_503"])
def test_a_complaint_halves_and_pauses(outcome: str) -> None:
    host = pace()
    host.failed(outcome, 0.0, 100.0)
    assert host.limit == 4
    assert host.blocked_until == 100.0 + FIRST_PAUSE


def test_complaints_of_one_moment_count_once() -> None:
    host = pace()
    for _ in range(8):
        host.failed("http_429", 0.0, 100.0)
    assert host.limit == 4
    assert host.blocked_until == 100.0 + FIRST_PAUSE


def test_pauses_double_up_to_five_minutes() -> None:
    host = pace()
    pauses = []
    for _ in range(12):
        now = host.blocked_until + 1
        host.failed("http_503", 0.0, now)
        pauses.append(host.blocked_until - now)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == MAX_PAUSE
    assert host.limit == 1


def test_success_ends_the_doubling() -> None:
    host = pace()
    for now in (100.0, 200.0, 300.0):
        host.failed("http_503", 0.0, now)
    host.succeeded()
    host.failed("http_503", 0.0, 400.0)
    assert host.blocked_until == 401.0


def test_retry_after_lengthens_the_pause() -> None:
    host = pace()
    host.failed("http_429", 30.0, 100.0)
    assert host.blocked_until == 130.0
    host.failed("http_429", 5.0, 101.0)
    assert host.blocked_until == 130.0


@pytest.mark.parametrize("outcome", ["connect", "timeout"])
def test_silence_halves_and_pauses_but_never_for_long(outcome: str) -> None:
    host, now, pauses = pace(), 100.0, []
    for _ in range(5):
        host.failed(outcome, 0.0, now)
        host.failed(outcome, 0.0, now)  # of the same moment
        pauses.append(host.blocked_until - now)
        now = host.blocked_until
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert host.limit == 1
    host.succeeded()
    host.failed(outcome, 0.0, now)
    assert host.blocked_until - now == 1.0


@pytest.mark.parametrize("outcome", ["dns", "tls"])
def test_what_will_not_pass_by_waiting_pauses_nothing(outcome: str) -> None:
    host = pace()
    host.failed(outcome, 0.0, 100.0)
    assert (host.limit, host.blocked_until) == (8, 0.0)


def test_a_missing_image_changes_nothing() -> None:
    host = pace()
    host.failed("http_404", 0.0, 100.0)
    assert host.limit == 8
    assert host.blocked_until == 0.0


@pytest.mark.parametrize(("outcome", "most"), [("dns", 20), ("connect", 20), ("tls", 20), ("timeout", 10)])
def test_the_circuit_opens_after_so_many_in_a_row(outcome: str, most: int) -> None:
    host = pace()
    for _ in range(most - 1):
        host.failed(outcome, 0.0, 0.0)
    assert not host.down
    host.failed(outcome, 0.0, 0.0)
    assert host.down


@pytest.mark.parametrize("answer", ["http_404", "success"])
def test_any_answer_keeps_the_circuit_closed(answer: str) -> None:
    host = pace()
    for _ in range(DOWN_AFTER - 1):
        host.failed("connect", 0.0, 0.0)
    if answer == "success":
        host.succeeded()
    else:
        host.failed(answer, 0.0, 0.0)
    host.failed("connect", 0.0, 0.0)
    assert not host.down


@pytest.mark.parametrize("answer", [lambda host: host.succeeded(), lambda host: host.answered(0.1)])
def test_a_host_that_has_answered_is_given_more_time_outs(answer: Callable[[Pace], None]) -> None:
    host = pace()
    answer(host)
    for _ in range(19):
        host.failed("timeout", 0.0, 100.0)
    assert not host.down
    host.failed("timeout", 0.0, 100.0)
    assert host.down


# Latency


def test_rising_latency_slows_and_steady_latency_restores() -> None:
    host = pace()
    host.answered(0.1)
    host.answered(3.0)
    assert host.limit == 6
    host.answered(0.1)
    host.answered(0.1)
    host.answered(0.1)
    assert host.limit == 8


def test_pages_may_take_longer_than_images() -> None:
    host = pace()
    host.answered(0.1)
    host.answered(3.0, pages=True)
    host.answered(0.1)
    assert host.limit == 8
    host.answered(20.0, pages=True)
    assert host.limit == 6


def test_a_quick_host_may_be_five_times_slower_within_a_second() -> None:
    host = pace()
    host.answered(0.01)
    host.answered(0.9)
    assert host.limit == 8
