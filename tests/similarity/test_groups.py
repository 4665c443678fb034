from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import StateError, UsageError

numpy = pytest.importorskip("numpy")

from crawler.similarity import groups as module  # noqa: E402
from crawler.similarity.groups import DISTANCE, MOST_DISTANCE, Row, groups  # noqa: E402

Maker: TypeAlias = Callable[[int], list[Row]]
_ALL = (1 << 128) - 1


def hash_of(whole: int, middle: int) -> str:
    return f"{whole:032x}{middle:032x}"


def alike(one: Row, other: Row, distance: int) -> bool:
    """The rule, bit by bit."""
    (whole, middle), (other_whole, other_middle) = (
        (int(row.hash[:32], 16), int(row.hash[32:], 16)) for row in (one, other)
    )
    pairs = ((whole, other_whole), (middle, other_whole), (whole, other_middle))
    return any((a ^ b).bit_count() <= distance and ((a ^ b) >> 64).bit_count() <= distance // 2 for a, b in pairs)


def by_size(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.pixels, -row.size, row.number))


def expected(rows: Iterable[Row], distance: int) -> dict[int, int]:
    """Each with all: what is kept, from the largest on, and what is dropped for it."""
    kept: list[Row] = []
    dropped = {}
    for row in by_size(row for row in rows if row.hash):
        larger = next((other for other in kept if alike(row, other, distance)), None)
        if larger is None:
            kept.append(row)
        else:
            dropped[row.number] = larger.number
    return dropped


@st.composite
def near_hashes(draw: st.DrawFn) -> str:
    """Hashes of few pictures with some bits changed, so that many are near others and some middles near wholes."""
    centres = [random.Random(seed).getrandbits(128) for seed in range(4)]

    def near() -> int:
        bits = draw(st.lists(st.integers(0, 127), max_size=12))
        return draw(st.sampled_from(centres)) ^ sum(1 << bit for bit in set(bits))

    return hash_of(near(), near())


ROWS = st.lists(st.tuples(near_hashes() | st.just(""), st.integers(0, 3), st.integers(0, 3)), max_size=30).map(
    lambda values: [Row(number, *value) for number, value in enumerate(values)]
)


@given(ROWS, st.integers(0, MOST_DISTANCE), st.randoms())
def test_groups_are_what_comparing_each_with_all_gives_in_any_order(
    rows: list[Row], distance: int, chance: random.Random
) -> None:
    wanted = expected(rows, distance)
    assert dict(groups(rows, distance)) == wanted
    chance.shuffle(rows)
    assert dict(groups(iter(rows), distance)) == wanted


@given(ROWS)
def test_what_is_dropped_is_like_a_kept_and_larger_one_and_no_two_kept_are_alike(rows: list[Row]) -> None:
    dropped = groups(rows)
    place = {row.number: at for at, row in enumerate(by_size(rows))}
    row_of = {row.number: row for row in rows}
    for number, kept in dropped.items():
        assert kept not in dropped and place[kept] < place[number]
        assert alike(row_of[number], row_of[kept], DISTANCE)
    left = [row for row in rows if row.hash and row.number not in dropped]
    assert not any(alike(one, other, DISTANCE) for at, one in enumerate(left) for other in left[:at])


def test_a_chain_does_not_become_one_group() -> None:
    rows = [Row(step, hash_of((1 << 4 * step) - 1, _ALL << 4 * step & _ALL), 100 - step, 0) for step in range(12)]
    dropped = groups(rows, 8)
    assert dropped[1] == 0
    assert len(set(dropped.values())) > 1
    assert dict(dropped) == expected(rows, 8)


def test_the_largest_is_kept_by_pixels_then_bytes_then_number() -> None:
    same = hash_of(1, 2)
    assert dict(groups([Row(1, same, 10, 999), Row(2, same, 11, 1)])) == {1: 2}
    assert dict(groups([Row(1, same, 10, 1), Row(2, same, 10, 2)])) == {1: 2}
    assert dict(groups([Row(2, same, 10, 1), Row(1, same, 10, 1)])) == {2: 1}


def test_a_crop_is_found_by_the_middle_of_what_it_was_cut_from() -> None:
    chance = random.Random(1)
    whole, middle, other = (chance.getrandbits(128) for _ in range(3))
    cut = Row(2, hash_of(middle ^ 0b1011, other), 90, 1)
    assert dict(groups([Row(1, hash_of(whole, middle), 100, 1), cut])) == {2: 1}
    assert dict(groups([Row(1, hash_of(whole, middle), 80, 1), cut])) == {1: 2}
    middles_alone = Row(3, hash_of(chance.getrandbits(128), middle), 90, 1)
    assert not groups([Row(1, hash_of(whole, middle), 100, 1), middles_alone])


def test_nothing_and_what_has_no_hash() -> None:
    assert not groups([])
    assert not groups([Row(1, "", 5, 5), Row(2, "", 5, 5)])
    assert not groups([Row(1, hash_of(1, 2), 5, 5), Row(2, "", 5, 5)])


def test_what_was_dropped_is_looked_up_by_its_number() -> None:
    same = hash_of(1, 2)
    dropped = groups([Row(2**40, same, 1, 1), Row(7, same, 2, 1), Row(3, same, 1, 1)])
    assert dropped.get(2**40) == 7 and dropped[3] == 7 and list(dropped) == [3, 2**40]
    for other in (0, 4, 7, 2**50):
        assert other not in dropped


@pytest.mark.parametrize("digits", ["zz" * 32, "00" * 31, "00" * 33, "0"])
def test_what_is_no_hash_is_told_with_its_row(digits: str) -> None:
    with pytest.raises(StateError, match=r"row 12: .* no perceptual hash of 64 digits"):
        groups([Row(12, digits, 1, 1)])


@pytest.mark.parametrize("distance", [-1, MOST_DISTANCE + 1])
def test_a_distance_that_is_none(distance: int) -> None:
    with pytest.raises(UsageError, match="--distance"):
        groups([], distance)


def test_each_of_many_near_pairs_is_found_among_strangers() -> None:
    chance = random.Random(2)
    rows = []
    for number in range(20_000):
        whole = chance.getrandbits(128)
        rows.append(Row(number, hash_of(whole, chance.getrandbits(128)), 2, 1))
        if number < 500:
            changed = chance.sample(range(64), number % 9) + chance.sample(range(64, 128), number // 9 % 9)
            near = whole ^ sum(1 << bit for bit in changed)
            rows.append(Row(100_000 + number, hash_of(near, chance.getrandbits(128)), 1, 1))
    assert dict(groups(rows)) == {100_000 + number: number for number in range(500)}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs of hashes were compared, by call."""
    counts: list[int] = []
    count_bits = numpy.bitwise_count

    def counting(words: object) -> object:
        counts.append(numpy.size(words))
        return count_bits(words)

    monkeypatch.setattr(numpy, "bitwise_count", counting)
    return counts


def test_equal_hashes_cost_no_comparison(compared: list[int]) -> None:
    same = hash_of(5, 6)
    dropped = groups(Row(number, same, number, 1) for number in range(100_000))
    assert len(dropped) == 99_999 and set(dropped.values()) == {99_999}
    assert not compared


def _one_picture(count: int, coarse: int = 8, fine: int = 3) -> list[Row]:
    """All near the first, most not near each other."""
    chance = random.Random(3)
    centre = chance.getrandbits(128)
    rows = [Row(0, hash_of(centre, centre), 2, 1)]
    for number in range(1, count):
        changed = chance.sample(range(64, 128), coarse) + chance.sample(range(64), fine)
        rows.append(Row(number, hash_of(centre ^ sum(1 << bit for bit in changed), chance.getrandbits(128)), 1, 1))
    return rows


def _same_coarse_half(count: int) -> list[Row]:
    """Equal wherever bands are looked at, and alike nowhere."""
    chance = random.Random(4)
    return [Row(n, hash_of(7 << 64 | chance.getrandbits(64), chance.getrandbits(128)), 1, 1) for n in range(count)]


def test_nearly_equal_hashes_are_one_group_in_linear_time(compared: list[int]) -> None:
    rows = _one_picture(3000)
    assert dict(groups(rows)) == dict.fromkeys(range(1, 3000), 0)
    _linear(compared, rows, DISTANCE)


@pytest.mark.parametrize("make", [lambda count: _one_picture(count, 2, 2), _same_coarse_half], ids=["near", "bands"])
def test_100_000_near_ones_are_compared_in_linear_time(make: Maker, compared: list[int]) -> None:
    rows = make(100_000)
    groups(rows, 4)
    _linear(compared, rows, 4)


def _linear(compared: list[int], rows: list[Row], distance: int) -> None:
    choices = len(list(module._masks(distance // 2, 2 * len(rows))))
    assert sum(compared) <= 2 * choices * (module._WINDOW + 1) * 2 * len(rows)


def test_pairs_are_let_go_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAIRS", 1000)
    rows = _one_picture(1000)
    assert set(groups(rows).values()) == {0}
