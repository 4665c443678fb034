from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import UsageError
from crawler.sources import documents
from crawler.sources.documents import json_array, json_lines

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)
RECORDS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4).map(lambda record: {"url": "u", **record, "n": 1})


class Slow(io.StringIO):
    """A text of which a few characters come at a time, however many are asked for."""

    def read(self, size: int | None = -1) -> str:
        return super().read(min(size or 0, 7))


@given(st.lists(RECORDS, max_size=9), st.sampled_from([None, 0, 2]), st.booleans())
def test_an_array_gives_its_records_however_it_is_written(
    records: list[dict[str, Any]], indent: int | None, slow: bool
) -> None:
    text = json.dumps(records, indent=indent)
    assert list(json_array(Slow(text) if slow else io.StringIO(text))) == records


@given(st.lists(RECORDS, max_size=9))
def test_records_that_follow_each_other_are_read_alike(records: list[dict[str, Any]]) -> None:
    text = "\n".join(map(json.dumps, records))
    assert list(json_array(io.StringIO(text))) == records == list(json_lines(io.StringIO(text)))


def test_what_is_no_record_is_a_row_of_its_own() -> None:
    assert list(json_array(Slow('["https://a.example/1.jpg", 1234567890123, {"url": "u"}]'))) == [
        "https://a.example/1.jpg",
        "1234567890123",
        {"url": "u"},
    ]


@pytest.mark.parametrize("text", ['[{"url": "u"}, {"url": ', '[{"url" "u"}]', "[nonsense]", "[" + '{"a":' * 50_000])
def test_what_is_no_json_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no record of JSON"):
        list(json_array(io.StringIO(text)))


def test_columns_are_no_records() -> None:
    with pytest.raises(UsageError, match=r"it has columns, not records: .*orient='records'"):
        list(json_array(io.StringIO('{"url": {"0": "u"}, "text": {"0": "t"}}')))


def test_a_record_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_RECORD", 1000)
    monkeypatch.setattr(documents, "_CHUNK", 64)
    file = io.StringIO('[{"url": "' + "x" * 100_000)
    with pytest.raises(UsageError, match="or longer than 1,000 characters"):
        list(json_array(file))
    assert file.tell() < 5000
