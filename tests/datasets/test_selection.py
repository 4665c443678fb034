from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.captions import DEFAULT
from crawler.datasets.selection import COLUMNS, Line, Selection, caption_of, selection
from crawler.errors import UsageError
from crawler.ledger import Failure, Kept

HOSTILE = 'a"b\\\r\n\x1b \u2028 ü \U0001f43b \x00'


def mention(**words: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"page": "http://a.test/", "columns": None, **words}))


def kept(number: int, sha256: str = "", words: Sequence[msgspec.Raw] = (), **more: object) -> Kept:
    values: dict[str, object] = {
        "file_name": f"a.test/{number}.png", "url": f"http://a.test/{number}.png", "site": "a", "outcome": "success",
        "message": "", "run": 1, "time": "2026-01-01T00:00:00Z", "worker": "w", "mentions": list(words),
        "mentions_total": len(words), "size": 100 + number, "sha256": sha256 or f"{number:064x}", "format": "png",
        "width": number, "height": 10, "active": False, "final_url": "", "status": 200, "etag": "",
        "last_modified": "", "previous": None, "same_as": None, "gone": False,
    }  # fmt: skip
    return Kept(**{name: value for name, value in (values | more).items() if name in Kept.__struct_fields__})  # type: ignore[arg-type]


def failure(number: int, outcome: str = "http_404") -> Failure:
    return Failure(
        f"http://a.test/{number}.png", "a", outcome, HOSTILE, 1, "2026-01-01T00:00:00Z", "w", [], 0
    )  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Selection]:
    with selection(tmp_path, DEFAULT) as made:
        yield made


def chosen(
    rows: Selection, lines: Sequence[Line], where: str = "", *, files_only: bool = False, once: bool = False,
    seed: int | None = None,
) -> list[str]:  # fmt: skip
    rows.load([lines[:2], lines[2:]])
    rows.choose(where, files_only=files_only, once=once)
    rows.settle(seed)
    return [line.url.removeprefix("http://a.test/") for _, line in rows.lines()]


def test_all_rows_come_as_they_were(rows: Selection) -> None:
    lines: list[Line] = [kept(0, words=[mention(alt=HOSTILE, title="t")]), failure(1), kept(2, site=HOSTILE)]
    chosen(rows, lines)
    assert [line for _, line in rows.lines()] == lines
    assert [place for place, _ in rows.lines()] == [1, 2, 3] and len(rows) == 3


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("width >= 2", ["2.png", "3.png"]),
        ("outcome = 'http_404'", ["1.png"]),
        ("outcome LIKE 'http_%' OR size = 100", ["0.png", "1.png"]),
        ("caption <> ''", ["0.png"]),
        ("license <> '' -- a comment", ["2.png", "3.png"]),
        ("license = 'CC-BY'", ["3.png"]),
        ("page IS NOT NULL AND active", []),
        ("gone", ["3.png"]),
    ],
)
def test_expressions_are_over_columns(rows: Selection, where: str, names: list[str]) -> None:
    lines = [
        kept(0, words=[mention(alt="a bear")]), failure(1), kept(2, words=[mention(image_license="CC0")]),
        kept(3, gone=True, words=[mention(page_license="CC-BY")]),
    ]  # fmt: skip
    assert chosen(rows, lines, where) == names


@pytest.mark.parametrize("where", ["nope > 1", "width >", "1); DROP TABLE rows; --", "read_text('/etc/passwd') <> ''"])
def test_what_is_no_expression_is_told(rows: Selection, where: str) -> None:
    with pytest.raises(UsageError, match=r"--where: .*the columns are file_name, url, "):
        chosen(rows, [kept(0)], where)


def test_only_what_has_a_file(rows: Selection) -> None:
    assert chosen(rows, [kept(0), failure(1), kept(2)], files_only=True) == ["0.png", "2.png"]


def test_of_the_same_bytes_the_first_stays(rows: Selection) -> None:
    lines = [kept(0, "a" * 64), failure(1), kept(2, "a" * 64), kept(3), failure(4)]
    assert chosen(rows, lines, once=True) == ["0.png", "1.png", "3.png", "4.png"]


def test_what_is_left_out_is_not_chosen(rows: Selection) -> None:
    rows.load([[kept(n) for n in range(5)]])
    rows.choose("", files_only=True, once=False)
    assert [number for number, _ in rows.wanted()] == [0, 1, 2, 3, 4]
    rows.leave_out([1, 3])
    rows.settle(None)
    assert [line.url for _, line in rows.lines()] == [f"http://a.test/{n}.png" for n in (0, 2, 4)]


def orders(tmp_path: Path, seeds: Sequence[int | None]) -> list[list[str]]:
    found = []
    for number, seed in enumerate(seeds):
        (folder := tmp_path / str(number)).mkdir()
        with selection(folder, DEFAULT) as made:
            found.append(chosen(made, [kept(n) for n in range(50)], seed=seed))
    return found


def test_a_seed_is_an_order(tmp_path: Path) -> None:
    plain, first, again, other = orders(tmp_path, [None, 1, 1, 2])
    assert plain == [f"{n}.png" for n in range(50)]
    assert first == again != other and first != plain
    assert sorted(first) == sorted(other) == sorted(plain)


def test_rows_of_one_url_are_shuffled_each_by_itself(rows: Selection) -> None:
    lines: list[Line] = [kept(n // 4, words=[mention(alt=str(n % 4))]) for n in range(80)]
    rows.load([lines])
    rows.choose("", files_only=True, once=False)
    rows.settle(1, by_row=True)
    urls = [line.url for _, line in rows.lines()]
    assert sorted(urls) == sorted(line.url for line in lines)
    assert sum(one == other for one, other in pairwise(urls)) < 20, "side by side they are 60"


def test_a_caption_may_be_the_title_of_a_page() -> None:
    assert caption_of(kept(0, words=[mention(page_title="Bears of the north")]), ["alt", "page_title"]) == (
        "Bears of the north"
    )


def test_what_was_chosen_stays_chosen(tmp_path: Path) -> None:
    with selection(tmp_path, DEFAULT) as made:
        assert not made.is_made
        chosen(made, [kept(n) for n in range(2500)], "width >= 100")
    with selection(tmp_path, DEFAULT) as made:
        assert made.is_made and len(made) == 2400
        assert [line.url for _, line in made.lines(2398)] == ["http://a.test/2498.png", "http://a.test/2499.png"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.text(max_size=20), st.integers(0, 3)), max_size=12))
def test_any_text_comes_through(tmp_path_factory: pytest.TempPathFactory, given: list[tuple[bool, str, int]]) -> None:
    clean = [(file, text.encode("utf-8", "replace").decode(), content) for file, text, content in given]
    lines: list[Line] = [
        kept(n, site=text, words=[mention(alt=text)]) if file else failure(n) for n, (file, text, _) in enumerate(clean)
    ]
    with selection(tmp_path_factory.mktemp("rows"), DEFAULT) as made:
        made.load([lines])
        made.choose("", files_only=False, once=False)
        made.settle(None)
        assert [line for _, line in made.lines()] == lines


def test_the_columns_are_those_of_the_ledger_and_some_of_ours() -> None:
    assert set(Kept.__struct_fields__) - set(COLUMNS) == {"mentions"}
    assert set(COLUMNS) - set(Kept.__struct_fields__) == {"caption", "license", "page"}
