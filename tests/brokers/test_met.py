from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crawler.brokers import met
from crawler.brokers.met import Met
from crawler.model import Kind

NUMBERS = st.integers(1, 200_000)


@given(st.dictionaries(NUMBERS, st.sampled_from([Kind.PAGE, Kind.IMAGE])), st.sets(NUMBERS))
def test_splits_what_was_met_from_what_was_not(known: dict[int, Kind], others: set[int]) -> None:
    seen = Met()
    for number, kind in known.items():
        seen.add(number, kind)
    images, unmet = seen.split(sorted(known.keys() | others))
    assert images == sorted(number for number, kind in known.items() if kind is Kind.IMAGE)
    assert unmet == sorted(others - known.keys())


def test_nothing_is_split() -> None:
    assert Met().split([]) == ([], [])


def test_pages_are_found_among_the_latest() -> None:
    seen = Met()
    for number in range(1, met.MOST_IDS + 2):
        seen.add_page(b"%d" % number, number)
    assert (seen.page(b"1"), seen.page(b"%d" % (met.MOST_IDS + 1))) == (0, met.MOST_IDS + 1)
