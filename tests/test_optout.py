"""What pages and answers say about their use."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.optout import DEFAULT, RULES, Reservations, Verdict, of_answer, of_page

AGENT = "Crawler"


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ("index, follow", Verdict()),
        ("NoFollow", Verdict("meta-robots: nofollow", "")),
        ("none", Verdict("meta-robots: none", "meta-robots: none")),
        ("noindex", Verdict("", "meta-robots: noindex")),
        ("noimageindex,nofollow", Verdict("meta-robots: nofollow", "meta-robots: noimageindex")),
        ("noai", Verdict("", "noai: noai")),
        ("max-snippet:5, noimageai", Verdict("", "noai: noimageai")),
        ("noml", Verdict("", "noai: noml")),
        ("noindexing nofollowing", Verdict()),
    ],
)
def test_of_a_meta_element(content: str, verdict: Verdict) -> None:
    assert of_page([("robots", content)], {}, AGENT, DEFAULT) == verdict
    assert of_page([("crawler", content)], {}, AGENT, DEFAULT) == verdict
    assert of_page([("googlebot", content)], {}, AGENT, DEFAULT) == Verdict()


@pytest.mark.parametrize(
    ("field", "images"),
    [
        ("noindex", "x-robots-tag: noindex"),
        ("otherbot: noindex", ""),
        ("otherbot: noindex, nofollow, noai", ""),
        ("otherbot: nofollow, crawler: noindex", "x-robots-tag: noindex"),
        ("otherbot: none\nnoimageindex", "x-robots-tag: noimageindex"),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noai", "noai: noai"),
        ("max-image-preview: none", ""),
        ("max-image-preview:none, noai", "noai: noai"),
        ("unavailable_after: Wed, 25 Jun 2031 15:00:00 GMT, noai", "noai: noai"),
        ("nofollow noindex", "x-robots-tag: noindex"),
        ("*: none", "x-robots-tag: none"),
    ],
)
def test_of_a_header(field: str, images: str) -> None:
    assert of_answer({"x-robots-tag": field}, AGENT, DEFAULT).images == images


def test_rules_that_are_not_kept_to_say_nothing() -> None:
    head = {"x-robots-tag": "none, noai", "tdm-reservation": "1"}
    metas = [("robots", "none, noai"), ("tdm-reservation", "1")]
    assert of_page(metas, head, AGENT, ()) == Verdict()
    assert of_page(metas, head, AGENT, ("noai",)) == Verdict("", "noai: noai")
    assert of_page(metas, head, AGENT, ("tdm",)) == Verdict("", "tdm: tdm-reservation")
    assert of_page(metas, {}, AGENT, ("tdm",)) == Verdict("", "tdm: tdm-reservation")
    assert of_page([("tdm-reservation", "0")], {"tdm-reservation": "0"}, AGENT, RULES) == Verdict()
    assert of_page([], {"tdm-reservation": "0\n 1"}, AGENT, RULES).images == "tdm: tdm-reservation", "of two fields"


def test_reservations_of_parts_of_a_site() -> None:
    entries = [
        {"location": "/photos/", "tdm-reservation": 1},
        {"location": "/photos/free/", "tdm-reservation": 0},
        {"location": "*.png$", "tdm-reservation": 1},
        {"location": "/x\nDisallow: /", "tdm-reservation": 1},
        "nothing", {"location": 3},
    ]  # fmt: skip
    reserved = Reservations(json.dumps(entries).encode())
    assert reserved.reserve("https://a.example/photos/1.jpg")
    assert not reserved.reserve("https://a.example/photos/free/1.jpg")
    assert reserved.reserve("https://a.example/a.png")
    assert not reserved.reserve("https://a.example/other.jpg")


@pytest.mark.parametrize("body", [b"", b"{}", b"[[[", b"[1]", b"[" * 100_000, b"\xff"])
def test_reservations_that_make_no_sense_reserve_nothing(body: bytes) -> None:
    assert not Reservations(body).reserve("https://a.example/a.png")


@given(st.lists(st.tuples(st.sampled_from(["robots", "crawler", "tdm-reservation"]), st.text())), st.text())
def test_any_text_has_a_verdict(metas: list[tuple[str, str]], field: str) -> None:
    of_page(metas, {"x-robots-tag": field, "tdm-reservation": field}, AGENT, RULES)
