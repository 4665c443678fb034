from __future__ import annotations

import pytest

from crawler.outcomes import OUTCOMES, chosen


def test_names_are_exact() -> None:
    wanted = chosen("timeout,http_404")
    assert wanted("timeout") and wanted("http_404")
    assert not any(map(wanted, ("time", "timeouts", "http_40", "http_4040", "http_400", "", "too_slow")))


@pytest.mark.parametrize("group", ["http_4xx", "http_5xx"])
def test_a_group_is_all_statuses_of_a_hundred(group: str) -> None:
    wanted, digit = chosen(group), group[5]
    assert [n for n in range(1000) if wanted(f"http_{n}")] == list(range(int(digit) * 100, int(digit) * 100 + 100))
    assert not wanted(f"http_{digit}") and not wanted(f"http_{digit}000") and not wanted(group[:-2])


def test_spaces_and_empty_places_do_not_matter() -> None:
    wanted = chosen(" dns , http_5xx,, tls,")
    assert wanted("dns") and wanted("http_503") and wanted("tls") and not wanted("")


def test_every_outcome_can_be_named() -> None:
    for outcome in OUTCOMES:
        assert [other for other in sorted(OUTCOMES) if chosen(outcome)(other)] == [outcome]


@pytest.mark.parametrize(
    "text", ["tiemout", "http_4x", "http_xxx", "http_6xx", "http_40404", "HTTP_404", "dns,4xx", "5xx"]
)
def test_an_unknown_name_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is no outcome; allowed are ") as caught:
        chosen(text)
    assert repr(text.rpartition(",")[2]) in str(caught.value)
    assert all(outcome in str(caught.value) for outcome in [*OUTCOMES, "http_4xx", "http_5xx"])


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no outcome is named"):
        chosen(text)
