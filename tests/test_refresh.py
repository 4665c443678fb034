from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.model import ImageDetail, ImageResult, Kind, Known, PageResult, Task, pack
from crawler.refresh import MOST_FRESH, changed_before, conditions, confirmed, is_spared, max_age, spared

NOW = 1_790_000_000.0  # 2026-09-21, 14:13:20 UTC
URL, ELSEWHERE = "http://a.test/i.png", "http://b.test/i.png"
DATE = "Mon, 21 Sep 2026 10:00:00 GMT"
HOUR, DAY = 3600.0, 86400.0


def task(at: str = URL) -> Task:
    return Task(1, Kind.IMAGE, URL, at, pack(ImageDetail()))


def known(past: ImageResult | PageResult, ago: float) -> Known:
    return Known(NOW - ago, 10, pack(past))


class TestConditions:
    def test_both_validators_are_told(self) -> None:
        asked = conditions(task(), ImageResult(etag='W/"1"', last_modified=DATE))
        assert asked == {"If-None-Match": 'W/"1"', "If-Modified-Since": DATE}

    def test_without_a_validator_nothing_is_asked(self) -> None:
        assert conditions(task(), ImageResult()) == {}

    @pytest.mark.parametrize(
        ("final_url", "at", "asks"),
        [("", URL, True), ("", ELSEWHERE, False), (ELSEWHERE, ELSEWHERE, True), (ELSEWHERE, URL, False)],
    )
    def test_what_another_url_said_means_nothing(self, final_url: str, at: str, asks: bool) -> None:
        assert bool(conditions(task(at), ImageResult(etag='"1"', final_url=final_url))) is asks

    @pytest.mark.parametrize("etag", ['"1"\r\nCookie: mine', '"ä"', '"\x00"', " ", "\t"])
    def test_what_is_no_field_value_is_not_sent(self, etag: str) -> None:
        assert conditions(task(), PageResult(etag=etag)) == {}


class TestMaxAge:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, 0),
            ({"cache-control": "max-age=60"}, 60),
            ({"cache-control": "public, Max-Age=60, must-revalidate"}, 60),
            ({"cache-control": 'max-age="60"'}, 60),
            ({"cache-control": "s-maxage=60"}, 0),
            ({"cache-control": "max-age=60", "age": "20"}, 40),
            ({"cache-control": "max-age=60", "age": "200"}, 0),
            ({"cache-control": "max-age=60", "age": "-5"}, 60),
            ({"cache-control": "no-cache, max-age=60"}, 0),
            ({"cache-control": "max-age=60, no-store"}, 0),
            ({"cache-control": 'no-cache="set-cookie", max-age=60'}, 0),
            ({"cache-control": "max-age=-1"}, 0),
            ({"cache-control": "max-age=31536000, immutable"}, MOST_FRESH),
            ({"cache-control": "max-age=60", "expires": formatdate(NOW + 999, usegmt=True)}, 60),
            ({"expires": formatdate(NOW + 600, usegmt=True)}, 600),
            ({"expires": formatdate(NOW - 600, usegmt=True)}, 0),
            ({"expires": "0"}, 0),
            ({"expires": "-1"}, 0),
        ],
    )
    def test_what_answers_say(self, headers: dict[str, str], seconds: int) -> None:
        assert max_age(headers, NOW) == seconds

    @given(st.dictionaries(st.sampled_from(["cache-control", "age", "expires"]), st.text()))
    def test_whatever_they_say(self, headers: dict[str, str]) -> None:
        assert 0 <= max_age(headers, NOW) <= MOST_FRESH


class TestSpared:
    @pytest.mark.parametrize(("ago", "refresh", "is_so"), [
        (10, "auto", True), (61, "auto", False), (10, "always", False), (-10, "auto", False),
    ])  # fmt: skip
    def test_what_is_fresh(self, ago: float, refresh: str, is_so: bool) -> None:
        past = ImageResult(etag='"1"', max_age=60)
        assert is_spared(known(past, ago), past, refresh, NOW) is is_so

    def test_what_was_not_asked_for_ages_on(self) -> None:
        past = ImageResult(etag='"1"', max_age=int(2.5 * DAY))
        for _ in range(2):
            entry = known(past, DAY)
            assert is_spared(entry, past, "auto", NOW) is (past.asked == 0)
            past = spared(Known(NOW - 3 * DAY, 10, pack(past)), past)
        assert past.asked == int(NOW - 3 * DAY)

    @pytest.mark.parametrize(("past", "ago", "is_so"), [
        (ImageResult(), DAY, True), (ImageResult(), 7.1 * DAY, False), (ImageResult(etag='"1"'), DAY, False),
        (ImageResult(last_modified=DATE), DAY, False), (PageResult(), DAY, False),
    ])  # fmt: skip
    def test_an_image_that_would_come_whole_is_asked_for_once_a_week(
        self, past: ImageResult | PageResult, ago: float, is_so: bool
    ) -> None:
        assert is_spared(known(past, ago), past, "auto", NOW) is is_so

    def test_what_its_sitemap_says(self) -> None:
        past = PageResult()
        entry = known(past, DAY)
        assert is_spared(entry, past, "auto", NOW, "2026-09-01")
        assert not is_spared(known(past, 8 * DAY), past, "auto", NOW, "2026-09-01"), (
            "it may be a date that never changes"
        )
        assert not is_spared(known(past, -DAY), past, "auto", NOW, "2026-09-01"), "told by a clock that was ahead"
        assert not is_spared(known(past, 60), past, "auto", NOW - 60, "2026-09-21T14:10:00Z"), (
            "asked before, told after"
        )
        assert not is_spared(entry, past, "auto", NOW, "2026-09-21T00:00:00Z")
        assert not is_spared(entry, past, "always", NOW, "2026-09-01")
        earlier = PageResult(asked=int(NOW - 30 * DAY))
        assert not is_spared(entry, earlier, "auto", NOW, "2026-09-01"), "it was asked for before that"

    @pytest.mark.parametrize(
        ("lastmod", "is_before"),
        [
            ("2026-09-21T14:13:19Z", True),
            ("2026-09-21T14:13:21Z", False),
            ("2026-09-21T16:13:19+02:00", True),
            ("2026-09-21T16:13:21+02:00", False),
            ("2026-09-21T14:13:19", False),  # where on earth?
            ("2026-09-21T01:00:00", True),
            ("2026-09-21", False),
            ("2026-09-20", True),
            ("2026-09-19", True),
            ("2026-09", False),
            ("2026", False),
            ("yesterday", False),
            ("", False),
        ],
    )
    def test_dates_of_sitemaps(self, lastmod: str, is_before: bool) -> None:
        assert changed_before(lastmod, NOW) is is_before

    @given(st.text())
    def test_dates_that_are_none(self, lastmod: str) -> None:
        assert changed_before(lastmod, -1e9) is False


def test_an_answer_of_304_tells_what_is_new_of_it() -> None:
    past = ImageResult(file="a", sha256="1", etag='"1"', last_modified=DATE, max_age=5, asked=7, status=200)
    now = confirmed(past, 304, {"etag": '"2"', "cache-control": "max-age=9"}, NOW)
    assert now == ImageResult(
        file="a", sha256="1", etag='"2"', last_modified=DATE, max_age=9, asked=0, status=304
    )  # fmt: skip
