from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.captions import DEFAULT, KINDS, caption, parse_order
from crawler.errors import UsageError
from crawler.model import Words

SAYINGS = st.text(st.sampled_from("ab .-1\nÄ"), max_size=6) | st.sampled_from(["image", "a cat", "IMG_1.jpg"])
WORDS = st.builds(
    Words, found_in=st.sampled_from(["img@src", "list", "json-ld image"]), alt=SAYINGS, title=SAYINGS, caption=SAYINGS,
    label=SAYINGS, link_text=SAYINGS, heading=SAYINGS, page_title=SAYINGS,
)  # fmt: skip


def test_kinds_come_in_their_order() -> None:
    data = Words(found_in="json-ld ImageObject", caption="by data")
    page = Words(found_in="img@src", title="a title")
    assert caption([data, page]) == "a title"
    assert caption([data, page, Words(alt="an alt")]) == "an alt"
    assert caption([data, page, Words(alt="an alt", caption="of a figure")]) == "of a figure"
    assert caption([data]) == "by data"
    assert caption([Words(found_in="list", caption="of the list"), Words(caption="of a figure")]) == "of the list"


def test_the_order_may_be_another_and_leave_kinds_out() -> None:
    words = [Words(alt="an alt", title="a title", heading="a heading")]
    assert caption(words, ("title", "alt")) == "a title"
    assert caption(words, ("heading",)) == "a heading"
    assert caption(words, ("label", "link_text")) == ""


def test_of_one_kind_most_mentions_decide_then_the_length_then_the_alphabet() -> None:
    said = ["a cat on a mat", "a cat", "a cat", "a dog"]
    assert caption([Words(alt=text) for text in said]) == "a cat"
    assert caption([Words(alt=text) for text in {*said}]) == "a cat on a mat"
    assert caption([Words(alt="two b"), Words(alt="two a")]) == "two a"


def test_whitespace_is_folded() -> None:
    assert caption([Words(alt="  a\n cat\t on\u00a0a mat ")]) == "a cat on a mat"


@pytest.mark.parametrize(
    "text",
    [
        "image", "Image:", "LOGO", "[photo]", "alt text", "IMG_1234", "IMG_1234.jpg", "dsc01234", "DSCN0042", "photo 3",
        "a-b_c.JPEG", "https://a.example/x", "www.a.example/x.png", "-", "...", "12", "1/3", "", " ",
        "Screenshot 2024-01-02",
    ],
)  # fmt: skip
def test_what_stands_in_for_words_counts_as_none(text: str) -> None:
    assert caption([Words(alt=text), Words(title="a title")]) == "a title"


@pytest.mark.parametrize(
    "text", ["a photo of a cat", "Logo of Example Ltd", "figure skating", "Bär", "見", "p", "see a.jpg"]
)
def test_what_says_something_counts(text: str) -> None:
    assert caption([Words(alt=text), Words(title="a title")]) == text


def test_the_caption_of_a_list_is_taken_as_it_stands() -> None:
    assert caption([Words(found_in="list", caption=" image\n1 "), Words(alt="a cat")]) == "image\n1"


@given(st.lists(WORDS, max_size=6), st.permutations(sorted(KINDS)))
def test_it_is_what_some_mention_says_whatever_their_order(mentions: list[Words], order: list[str]) -> None:
    found = caption(mentions, order)
    assert found == caption(mentions[::-1], order)
    said = {
        text
        for words in mentions
        for read in KINDS.values()
        for text in (read(words).strip(), " ".join(read(words).split()))
    }
    assert found in {*said, ""}
    assert found or not any(KINDS["list"](words).strip() for words in mentions)


def test_the_flag_names_kinds() -> None:
    assert parse_order(()) == DEFAULT
    assert parse_order(("alt, title", "alt", "heading")) == ("alt", "title", "heading")
    with pytest.raises(
        UsageError, match="--caption-from: 'figcaption' is no kind of words; known are list, caption, alt"
    ):
        parse_order(("alt,figcaption",))
