from __future__ import annotations

import pytest

from crawler.errors import FetchError, LeaseLapsed
from crawler.leave import Leave


def test_what_is_under_way_is_ended_and_nothing_begins_after() -> None:
    leave, ended = Leave(), []
    with pytest.raises(LeaseLapsed), leave.request(lambda: ended.append(1)):
        leave.end()
        assert ended == [1]
        raise FetchError("timeout", "its connection was shut down")
    with pytest.raises(LeaseLapsed), leave.request(lambda: ended.append(2)):
        pytest.fail("it was begun")
    leave.end()
    assert ended == [1]


def test_what_was_over_before_is_left_alone() -> None:
    leave, ended = Leave(), []
    with leave.request(lambda: ended.append(1)):
        pass
    leave.end()
    assert not ended


def test_a_failure_under_it_is_a_failure() -> None:
    with pytest.raises(FetchError, match="no luck"), Leave().request(lambda: None):
        raise FetchError("http_500", "no luck")


def test_an_answer_that_was_whole_in_time_counts() -> None:
    leave = Leave()
    with leave.request(lambda: None):
        leave.end()
