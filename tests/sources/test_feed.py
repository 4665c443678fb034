from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from crawler.errors import FetchError
from crawler.model import Found, ImageDetail, Kind, PageDetail, SourceDetail, Task, Words, decode, encode, pack
from crawler.outcomes import Outcome
from crawler.sources import feed
from crawler.sources.feed import Feed
from crawler.urls import normalise

A, B = "https://a.example/1.jpg", "https://b.example/2.jpg"


def read(reader: Feed, detail: SourceDetail) -> tuple[list[Found], int | None, dict[str, int]]:
    url = f"list:{detail.path}"
    return reader(Task(1, Kind.SOURCE, url, url, pack(detail)), detail)


def urls(found: list[Found]) -> list[str]:
    return [one.url for one in found]


def numbered(count: int) -> list[str]:
    return [f"https://a.example/{number}.jpg" for number in range(count)]


@pytest.fixture
def stretch(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(feed, "STRETCH", 10)
    monkeypatch.setattr(feed, "FIRST_STRETCH", 10)
    return 10


def test_a_site_is_its_first_page() -> None:
    url = "https://a.example/"
    found, cursor, bad = Feed()(Task(1, Kind.SOURCE, url, url, pack(SourceDetail())), SourceDetail())
    assert (urls(found), cursor, bad) == ([url], None, {})
    assert found[0].kind is Kind.PAGE and decode(found[0].detail, PageDetail) == PageDetail()


def test_a_list_gives_images_with_their_words(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"url,text,licence\n{A},one,CC0\n{B.upper()},two,\n")
    found, cursor, bad = read(Feed(), SourceDetail(sort="list", path=str(path), caption_column="text"))
    assert (urls(found), cursor, bad) == ([A, "https://b.example/2.JPG"], None, {})
    assert found[0].kind is Kind.IMAGE
    assert found[0].words == Words(found_in="list", caption="one", columns={"licence": "CC0"})


def test_a_row_tells_what_bytes_its_image_has(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"url,md5\n{A},{'d' * 32}\n{B},\n")
    detail = SourceDetail(sort="list", path=str(path), hash_column="md5", columns=())
    found, _, _ = read(Feed(), detail)
    assert [decode(one.detail, ImageDetail).digest for one in found] == ["d" * 32, "none"]
    found, _, _ = read(Feed(), SourceDetail(sort="list", path=str(path)))
    assert [decode(one.detail, ImageDetail).digest for one in found] == ["", ""]


def test_rows_are_numbered_where_each_is_a_sample(tmp_path: Path, stretch: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join([A] * 12))
    reader, numbers = Feed(), []
    for cursor in (0, 10):
        found, _, _ = read(reader, SourceDetail(sort="list", path=str(path), cursor=cursor, per_row=True))
        numbers += [one.words.row for one in found if one.words is not None]
    assert numbers == list(range(1, 13))
    found, _, _ = read(Feed(), SourceDetail(sort="list", path=str(path)))
    assert {one.words.row for one in found if one.words is not None} == {0}


def test_what_is_no_url_goes_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{A}\nnonsense\nftp://a.example/x\n{B}\n")
    found, cursor, bad = read(Feed(), SourceDetail(sort="list", path=str(path)))
    assert (urls(found), cursor, bad) == ([A, "nonsense", "ftp://a.example/x", B], None, {})


def test_stretch_by_stretch(tmp_path: Path, stretch: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(numbered(25)))
    reader, seen, cursor, cursors = Feed(), [], 0, []
    while cursor is not None:
        found, cursor, _ = read(reader, SourceDetail(sort="list", path=str(path), cursor=cursor))
        seen += urls(found)
        cursors.append(cursor)
    assert seen == numbered(25)
    assert cursors == [10, 20, None]


def test_a_list_of_whole_stretches_ends_too(tmp_path: Path, stretch: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(numbered(stretch)))
    reader = Feed()
    found, cursor, _ = read(reader, SourceDetail(sort="list", path=str(path)))
    assert (len(found), cursor) == (10, 10)
    assert read(reader, SourceDetail(sort="list", path=str(path), cursor=10)) == ([], None, {})


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_another_process_goes_on_from_the_cursor(tmp_path: Path, stretch: int, name: str) -> None:
    path = tmp_path / name
    data = "\n".join(numbered(25)).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    read(Feed(), SourceDetail(sort="list", path=str(path)))
    found, cursor, _ = read(Feed(), SourceDetail(sort="list", path=str(path), cursor=10))
    assert (urls(found), cursor) == (numbered(25)[10:20], 20)


def test_two_lists_in_turn(tmp_path: Path, stretch: int) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text("\n".join(f"{url}?{path.stem}" for url in numbered(15)))
    reader = Feed()
    seen = []
    for cursor in (0, 10):
        for path in paths:
            seen += urls(read(reader, SourceDetail(sort="list", path=str(path), cursor=cursor))[0])
    assert len(seen) == len(set(seen)) == 30


def test_bad_rows_count_for_the_cursor(tmp_path: Path, stretch: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(["nonsense"] * 10 + numbered(3)))
    reader = Feed()
    found, cursor, _ = read(reader, SourceDetail(sort="list", path=str(path)))
    assert (urls(found), cursor) == (["nonsense"] * 10, 10)
    assert urls(read(reader, SourceDetail(sort="list", path=str(path), cursor=10))[0]) == numbered(3)


def test_what_was_read_before_a_break_counts(tmp_path: Path) -> None:
    lines = [f"https://a.example/{os.urandom(20).hex()}.jpg" for _ in range(3000)]
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:-9000])
    reader, seen, cursor = Feed(), [], 0
    with pytest.raises(FetchError, match=r"after row [0-9]+: ") as caught:
        while True:
            found, cursor, _ = read(reader, SourceDetail(sort="list", path=str(path), cursor=cursor or 0))
            seen += urls(found)
    assert caught.value.outcome == Outcome.UNREADABLE
    assert len(seen) > 2000 and seen == lines[: len(seen)] and len(seen) == cursor


def corrupt_gzip(path: Path) -> None:
    data = bytearray(gzip.compress("\n".join(numbered(5000)).encode()))
    data[200:260] = b"\xff" * 60
    path.write_bytes(data)


def no_gzip(path: Path) -> None:
    path.write_bytes(b"https://a.example/1.jpg\n")


@pytest.mark.parametrize("make", [corrupt_gzip, no_gzip])
def test_a_gzip_that_is_none_or_not_whole_is_unreadable(tmp_path: Path, make: object) -> None:
    path = tmp_path / "a.txt.gz"
    make(path)  # type: ignore[operator]
    with pytest.raises(FetchError, match=r"a\.txt\.gz") as caught:
        read(Feed(), SourceDetail(sort="list", path=str(path)))
    assert caught.value.outcome == Outcome.UNREADABLE and not caught.value.retriable


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,where\n1,2\n"),
        ("a.parquet", b"PAR1 no parquet"),
        ("a.xlsx", b"PK"),
    ],
)
def test_a_list_that_cannot_be_read_is_unreadable(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FetchError) as caught:
        read(Feed(), SourceDetail(sort="list", path=str(tmp_path / name)))
    assert caught.value.outcome == Outcome.UNREADABLE


def test_a_list_that_is_not_there_is_unreadable_and_the_reader_goes_on(tmp_path: Path) -> None:
    reader, detail = Feed(), SourceDetail(sort="list", path=str(tmp_path / "a.txt"))
    with pytest.raises(FetchError, match="No such file"):
        read(reader, detail)
    (tmp_path / "a.txt").write_text(A)
    assert urls(read(reader, detail)[0]) == [A]


@pytest.mark.parametrize("escape", ["\\ud800", "x\\udc00y", "\\ud83d"])
def test_what_is_found_can_be_sent_whatever_the_list_says(tmp_path: Path, escape: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"url": "{A}", "text": "{escape}", "k{escape}": "{escape}"}}\n')
    found, _, _ = read(Feed(), SourceDetail(sort="list", path=str(tmp_path / "a.jsonl"), caption_column="text"))
    assert urls(found) == [A]
    assert encode(found)


def test_what_is_too_long_is_cut_and_no_url_still(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"https://a.example/{'x' * 100_000}\n{A}\n")
    found, _, _ = read(Feed(), SourceDetail(sort="list", path=str(tmp_path / "a.txt")))
    assert len(found[0].url) < 1000 and normalise(found[0].url) is None
    assert urls(found)[1:] == [A]
