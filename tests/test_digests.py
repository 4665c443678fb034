from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.digests import DIGITS, NONE, difference, is_compared, parse_column, read_digest
from crawler.errors import UsageError
from crawler.model import ImageResult

KINDS = sorted(DIGITS)


@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from(KINDS))
def test_bytes_differ_where_their_hashes_do(one: bytes, other: bytes, kind: str) -> None:
    digest = read_digest(f" {hashlib.new(kind, one).hexdigest().upper()}\n", kind)
    assert difference(one, digest) == ""
    assert (difference(other, digest) == "") == (one == other)


def test_a_difference_says_what_both_are() -> None:
    said, found = hashlib.md5(b"a").hexdigest(), hashlib.md5(b"b").hexdigest()
    assert difference(b"b", said) == f"the list says md5 {said}, its bytes have {found}"


@pytest.mark.parametrize("cell", ["", "nan", "x" * 32, "0" * 31, "0" * 33, "é" * 32, "none"])
def test_what_is_no_hash_matches_nothing(cell: str) -> None:
    assert read_digest(cell) == NONE
    assert difference(b"", read_digest(cell)) == "its row in the list has no hash to compare it with"


def test_a_hash_of_another_kind_is_none_where_one_is_asked_for() -> None:
    digest = hashlib.md5(b"").hexdigest()
    assert read_digest(digest, "md5") == digest
    assert read_digest(digest, "sha256") == NONE


def test_where_nothing_is_said_nothing_differs() -> None:
    assert difference(b"x", "") == ""


def test_the_flag_names_a_column_and_perhaps_a_kind() -> None:
    assert parse_column("md5") == ("md5", "")
    assert parse_column('["hash of it", "sha512"]') == ("hash of it", "sha512")


@pytest.mark.parametrize("text", ["[", "[]", '["a"]', '["a", 1]', '["a", "md5", "b"]', "[[[["])
def test_a_list_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--verify-hash: .* is neither a column nor \[\"COLUMN\", \"md5\"\]"):
        parse_column(text)


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'crc32' is no kind of hash; known are md5, sha1, sha256, sha512"):
        parse_column('["a", "crc32"]')


def test_what_an_earlier_run_compared_need_not_be_seen_again() -> None:
    past = ImageResult(sha256="s" * 64, digest="m" * 32)
    assert [is_compared(past, digest) for digest in ("", "s" * 64, "m" * 32, "o" * 32)] == [True, True, True, False]
    assert not is_compared(ImageResult(), NONE)
