from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pages.extract.srcset import Candidate, best_first, parse_srcset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n\f\r", []),
        (",", []),
        (" , ,, ", []),
        ("a", [Candidate("a")]),
        ("  a  ", [Candidate("a")]),
        ("a 1x", [Candidate("a")]),
        ("a 2x", [Candidate("a", 0, 2.0)]),
        ("a 1.5x", [Candidate("a", 0, 1.5)]),
        ("a .5x", [Candidate("a", 0, 0.5)]),
        ("a 1e3x", [Candidate("a", 0, 1000.0)]),
        ("a 1E-1x", [Candidate("a", 0, 0.1)]),
        ("a 0x", [Candidate("a", 0, 0.0)]),
        ("a -0x", [Candidate("a", 0, 0.0)]),
        ("a 100w", [Candidate("a", 100)]),
        ("a 100w 50h", [Candidate("a", 100)]),
        ("a 50h 100w", [Candidate("a", 100)]),
        ("\ta\n1x\f", [Candidate("a")]),
        ("a 1x, b 2x", [Candidate("a"), Candidate("b", 0, 2.0)]),
        ("a 1x,b 2x", [Candidate("a"), Candidate("b", 0, 2.0)]),
        ("a, b", [Candidate("a"), Candidate("b")]),
        ("a,b 2x", [Candidate("a,b", 0, 2.0)]),
        ("a,, b", [Candidate("a"), Candidate("b")]),
        (",a,", [Candidate("a")]),
        ("data:image/png;base64,AA== 1x, b 2x", [Candidate("data:image/png;base64,AA=="), Candidate("b", 0, 2.0)]),
        (
            "/w_100,h_50/a.jpg 100w, /w_200,h_90/a.jpg 200w",
            [
                Candidate("/w_100,h_50/a.jpg", 100),
                Candidate("/w_200,h_90/a.jpg", 200),
            ],
        ),
        ("a (b,c) , d", [Candidate("d")]),
        ("a (b, d 1x", []),
        ("a x(b,c 1x), d", [Candidate("d")]),
        ("a\u00a01x", [Candidate("a\u00a01x")]),
    ],
)
def test_candidates(text: str, expected: list[Candidate]) -> None:
    assert parse_srcset(text) == expected


@pytest.mark.parametrize(
    "descriptor",
    [
        *"w x h 1 1y 1ww 0w -1w +1w 1.5w 1e1w 1W -1x +1x 1.x 1e+x 1X 0x1x NaNx infx 50h 0h".split(),
        "1x\u00a0",
        "\uff11w",
        "\uff11x",
        "1w 1w",
        "1x 1x",
        "1w 1x",
        "1x 1w",
        "1x 1h",
        "1h 1x",
        "1w 1h 1h",
        "1w 0h",
        "1w foo",
        "foo 1w",
        "1w -1h",
    ],
)
def test_a_wrong_descriptor_is_the_end_of_its_candidate_alone(descriptor: str) -> None:
    assert parse_srcset(f"a {descriptor}, b 2x") == [Candidate("b", 0, 2.0)]


def test_the_largest_is_the_best() -> None:
    assert best_first(parse_srcset("s 100w, l 900w, m 400w")) == ["l", "m", "s"]
    assert best_first(parse_srcset("one, two 2x, three 3x")) == ["three", "two", "one"]
    assert best_first(parse_srcset("first 2x, second 2x")) == ["first", "second"]
    assert best_first([]) == []


def test_numbers_without_end() -> None:
    nines = "9" * 10_000
    (found,) = parse_srcset(f"a {nines}w")
    assert found.width >= 999_999_999
    assert [candidate.url for candidate in parse_srcset(f"a {nines}x, b 1x")][-1] == "b"


@pytest.mark.parametrize("text", ["a 1x, " * 20_000, "," * 200_000, "a (" + "(" * 200_000, "a " + "b " * 100_000])
def test_long_ones_take_linear_time(text: str) -> None:
    assert len(parse_srcset(text)) <= 20_000


@given(st.text(alphabet="ab, \t(){}1.-+ewxh,0\n", max_size=60))
def test_anything_is_parsed_and_urls_have_no_ends_that_they_may_not_have(text: str) -> None:
    for candidate in parse_srcset(text):
        assert candidate.url and not candidate.url.startswith(",") and not candidate.url.endswith(",")
        assert not set(candidate.url) & set(" \t\n\r\f")
        assert candidate.width >= 0 and candidate.density >= 0
