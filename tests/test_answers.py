from __future__ import annotations

import pytest

from crawler import answers
from crawler.errors import FetchError
from crawler.model import ImageDetail, Kind, RobotsFile, Settlement, Task, Verb, decode, pack
from crawler.outcomes import Outcome

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def task(at: str = "https://example.com/a.jpg", kind: Kind = Kind.IMAGE, hops: int = 0, candidate: int = 0) -> Task:
    return Task(7, kind, at, at, pack(ImageDetail()), hops, candidate)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("0", 0),
            ("120", 120),
            (" 5 ", 5),
            ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
            ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),
            ("Tue Nov 14 22:14:20 2023", 60),
            ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
            ("Mon, 01 Jan 1900 00:00:00 GMT", 0),
            ("", 0),
            ("-5", 0),
            ("1.5", 0),
            ("soon", 0),
            ("٣", 0),
            ("Tue, 99 Nov 2023 22:14:20 GMT", 0),
            ("Tue, 14 Nov 99999999999999999999 22:14:20 GMT", 0),
            ("()", 0),
        ],
    )
    def test_seconds_and_dates(self, value: str, expected: float) -> None:
        assert answers.retry_after(value, NOW) == pytest.approx(expected)

    def test_endless_digits_are_a_number_still(self) -> None:
        assert answers.retry_after("9" * 5000, NOW) == 3600

    def test_nobody_makes_us_wait_for_more_than_an_hour(self) -> None:
        assert answers.retry_after("86400", NOW) == 3600
        assert answers.retry_after("Fri, 31 Dec 2100 23:59:59 GMT", NOW) == 3600


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, False), (403, False), (410, False), (408, True), (425, True), (429, True), (500, True), (503, True)],
)
def test_which_statuses_may_pass(status: int, expected: bool) -> None:
    error = answers.http_error(status, "30", NOW)
    assert error.outcome == f"http_{status}"
    assert error.retriable is expected is answers.retriable(status)
    assert error.retry_after == 30
    assert answers.http_error(status, "", NOW).retry_after == 0


class TestFollow:
    @pytest.mark.parametrize(
        ("location", "target", "here"),
        [
            ("/b.jpg", "https://example.com/b.jpg", True),
            ("b.jpg?x#y", "https://example.com/b.jpg?x", True),
            ("https://example.com/b", "https://example.com/b", True),
            ("http://example.com/a.jpg", "http://example.com/a.jpg", False),
            ("https://example.com:8443/", "https://example.com:8443/", False),
            ("//cdn.example.net/b.jpg", "https://cdn.example.net/b.jpg", False),
            ("https://u:p@example.com/b", "https://example.com/b", True),
        ],
    )
    def test_where_it_leads(self, location: str, target: str, here: bool) -> None:
        redirect = answers.follow(task(hops=2, candidate=1), location, 5)
        assert redirect.move.at == target
        assert redirect.here is here
        assert (redirect.move.hops, redirect.move.candidate) == (3, 1)

    def test_not_too_often(self) -> None:
        assert answers.follow(task(hops=4), "/b", 5).move.hops == 5
        with pytest.raises(FetchError, match="more than 5 redirects") as caught:
            answers.follow(task(hops=5), "/b", 5)
        assert caught.value.outcome == Outcome.TOO_MANY_REDIRECTS and not caught.value.retriable

    def test_none_at_all(self) -> None:
        with pytest.raises(FetchError) as caught:
            answers.follow(task(), "/b", 0)
        assert caught.value.outcome == Outcome.TOO_MANY_REDIRECTS

    def test_robots_have_their_own_limit(self) -> None:
        assert answers.follow(task(kind=Kind.ROBOTS, hops=4), "/b", 0).move.hops == 5
        with pytest.raises(FetchError):
            answers.follow(task(kind=Kind.ROBOTS, hops=5), "/b", 20)

    @pytest.mark.parametrize("location", ["", "ftp://example.com/", "file:///etc/passwd", "http://[", "data:,x"])
    def test_not_to_what_is_no_url(self, location: str) -> None:
        with pytest.raises(FetchError) as caught:
            answers.follow(task(), location, 5)
        assert caught.value.outcome == Outcome.BAD_URL

    def test_a_long_location_is_shortened_in_the_message(self) -> None:
        with pytest.raises(FetchError) as caught:
            answers.follow(task(), "ftp://" + "x" * 100_000, 5)
        assert len(str(caught.value)) < 400


class TestFailed:
    def test_what_may_pass_is_tried_again(self) -> None:
        error = FetchError(Outcome.TIMEOUT, "slow", retriable=True, retry_after=3.0, suspect=True)
        assert answers.failed(task(), error) == Settlement(
            number=7, verb=Verb.RETRY, outcome="timeout", message="slow", retry_after=3.0, suspect=True
        )
        assert answers.failed(task(), error, final=True).verb is Verb.DONE

    def test_what_will_not_pass_is_done(self) -> None:
        settlement = answers.failed(task(), FetchError("http_404", ""))
        assert (settlement.verb, settlement.outcome) == (Verb.DONE, "http_404")

    def test_a_message_is_bounded(self) -> None:
        assert len(answers.failed(task(), FetchError("dns", "x" * 10_000)).message) == 500

    def test_robots_without_an_answer_allow_nothing(self) -> None:
        settlement = answers.failed(task(kind=Kind.ROBOTS), FetchError("timeout", "slow", retriable=True, suspect=True))
        robots = decode(settlement.result, RobotsFile)
        assert settlement.verb is Verb.DONE and settlement.suspect
        assert not robots.reachable and "slow" in robots.message

    @pytest.mark.parametrize("outcome", [Outcome.TOO_MANY_REDIRECTS, Outcome.BAD_URL])
    def test_robots_with_redirects_to_nowhere_allow_everything(self, outcome: str) -> None:
        robots = decode(answers.failed(task(kind=Kind.ROBOTS), FetchError(outcome, "")).result, RobotsFile)
        assert robots.reachable and not robots.text


class TestRobotsRead:
    def test_an_answer_is_done_with_its_text(self) -> None:
        settlement = answers.robots_read(
            task(kind=Kind.ROBOTS), 200, b"User-agent: *\nDisallow: /\n", "crawler", "", NOW
        )
        assert (settlement.verb, settlement.outcome, settlement.retry_after) == (Verb.DONE, "success", 0)
        assert "Disallow" in decode(settlement.result, RobotsFile).text

    def test_a_refusal_tells_when_to_come_back(self) -> None:
        settlement = answers.robots_read(task(kind=Kind.ROBOTS), 503, b"", "crawler", "60", NOW)
        assert (settlement.outcome, settlement.retry_after) == ("http_503", 60)
        assert not decode(settlement.result, RobotsFile).reachable
