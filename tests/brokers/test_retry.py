import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.brokers.retry import BASE_DELAY, MAX_ATTEMPTS, MAX_RETRY_AFTER, Retry, decide

CHANCES = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("attempts", [MAX_ATTEMPTS, MAX_ATTEMPTS + 1, 100])
def test_after_the_last_attempt_there_is_none(attempts: int) -> None:
    assert decide(attempts, 5.0, 0.5) is None


def test_three_attempts_in_all() -> None:
    assert MAX_ATTEMPTS == 3
    assert decide(1, 0, 0) == Retry(0.5)
    assert decide(2, 0, 0) == Retry(1.0)
    assert decide(3, 0, 0) is None


@given(st.integers(1, MAX_ATTEMPTS - 1), CHANCES)
def test_delay_doubles_and_is_spread_over_its_upper_half(attempts: int, chance: float) -> None:
    again = decide(attempts, 0.0, chance)
    full = BASE_DELAY * 2 ** (attempts - 1)
    assert again is not None
    assert full / 2 <= again.delay <= full


@given(st.integers(1, MAX_ATTEMPTS - 1), st.floats(0, 1e9), CHANCES)
def test_retry_after_is_kept_and_capped(attempts: int, retry_after: float, chance: float) -> None:
    again = decide(attempts, retry_after, chance)
    assert again is not None
    assert again.delay >= min(retry_after, MAX_RETRY_AFTER)
    assert again.delay <= max(MAX_RETRY_AFTER, BASE_DELAY * 2**MAX_ATTEMPTS)


def test_a_longer_delay_of_ours_wins_over_a_short_retry_after() -> None:
    assert decide(2, 0.1, 0.0) == Retry(1.0)
