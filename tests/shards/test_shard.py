"""One shard: its keys, its files, and what is left of it without some of its rows."""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.shards.samples import NOT_FETCHED, NOT_TRANSFORMED, SUCCESS, Sample
from crawler.shards.shard import Shard, names_of, tar_of


def failure(url: str, status: str = NOT_FETCHED) -> Sample:
    return Sample(url, status=status, error_message="http_404", outcome="http_404")


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def table(folder: Path, number: int = 0) -> list[dict[str, object]]:
    return pyarrow.parquet.read_table(folder / f"{number:05d}.parquet").to_pylist()


def stats(folder: Path, number: int = 0) -> dict[str, object]:
    return json.loads((folder / f"{number:05d}_stats.json").read_text())


def filled(folder: Path, bodies: list[bytes | None], number: int = 0, most: int = 10) -> Shard:
    """Return a shard with these images; None is one that failed."""
    shard = Shard(folder, number, most)
    for at, body in enumerate(bodies):
        if body is None:
            shard.add_failure(failure(f"http://a.test/{at}"))
        else:
            shard.add(Sample(f"http://a.test/{at}", caption=f"caption {at}"), body)
    return shard


def test_a_sample_is_three_files_one_after_the_other(tmp_path: Path) -> None:
    shard = Shard(tmp_path, 7, 10_000)
    assert shard.add(Sample("http://a.test/1", caption="schön"), b"one") == "shards/00007.tar/000070000.jpg"
    shard.add_failure(failure("http://a.test/2"))
    assert shard.add(Sample("http://a.test/3"), b"") == "shards/00007.tar/000070002.jpg"
    shard.finish()
    found = members(tmp_path / "00007.tar")
    assert list(found) == [f"00007000{n}.{end}" for n in (0, 2) for end in ("jpg", "json", "txt")]
    assert found["000070000.jpg"] == b"one" and found["000070000.txt"] == "schön".encode()
    assert found["000070002.txt"] == b"", "a sample without a caption has the same files"
    beside = json.loads(found["000070000.json"])
    assert (beside["url"], beside["key"], beside["caption"]) == ("http://a.test/1", "000070000", "schön")
    assert all(name.count(".") == 1 for name in found)
    assert [row["key"] for row in table(tmp_path, 7)] == ["000070000", "000070001", "000070002"]


@pytest.mark.parametrize(("most", "key"), [(1, "000030000"), (10_000, "000030000"), (10_001, "0000300000")])
def test_keys_have_digits_for_all_rows(tmp_path: Path, most: int, key: str) -> None:
    shard = Shard(tmp_path, 3, most)
    assert shard.add(Sample("http://a.test/"), b"x") == f"shards/00003.tar/{key}.jpg"


def test_numbers_beyond_five_digits_stay_apart(tmp_path: Path) -> None:
    assert names_of(123_456)[-1] == "shards/123456.tar"
    assert Shard(tmp_path, 123_456, 10).add(Sample("http://a.test/"), b"x") == "shards/123456.tar/1234560000.jpg"


def test_its_files_are_beside_each_other_and_the_tar_is_last(tmp_path: Path) -> None:
    shard = filled(tmp_path, [b"x"])
    shard.finish()
    assert [name for _, name in shard.files] == [
        "shards/00000_stats.json", "shards/00000.parquet", "shards/00000.tar",
    ]  # fmt: skip
    assert sorted(path for path, _ in shard.files) == sorted(tmp_path.iterdir())
    assert (shard.tar, shard.table) == ("shards/00000.tar", "shards/00000.parquet")


def test_its_numbers_are_those_of_img2dataset(tmp_path: Path) -> None:
    shard = filled(tmp_path, [b"x", None, b"y"])
    shard.add_failure(failure("http://a.test/small", NOT_TRANSFORMED))
    shard.finish()
    told = stats(tmp_path)
    assert {name: told[name] for name in ("count", "successes", "failed_to_download", "failed_to_resize")} == {
        "count": 4, "successes": 2, "failed_to_download": 1, "failed_to_resize": 1,
    }  # fmt: skip
    assert told["status_dict"] == {"success": 2, "http_404": 2}
    assert told["end_time"] - told["start_time"] == pytest.approx(told["duration"])  # type: ignore[operator]


def test_one_without_images_has_no_tar(tmp_path: Path) -> None:
    shard = filled(tmp_path, [None])
    shard.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.parquet", "00000_stats.json"]
    assert sorted(name for _, name in shard.files) == ["shards/00000.parquet", "shards/00000_stats.json"]
    assert len(table(tmp_path)) == 1


def members_of(shard: Shard, folder: Path) -> dict[str, bytes]:
    """Return what is in the tar of a shard, nothing where it has none."""
    assert (folder / "00000.tar").exists() is shard.has_samples
    return members(folder / "00000.tar") if shard.has_samples else {}


@settings(max_examples=60, deadline=None)
@given(bodies=st.lists(st.none() | st.binary(max_size=2000), min_size=1, max_size=9), data=st.data())
def test_without_some_rows_the_others_are_as_they_were(bodies: list[bytes | None], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard = filled(folder, bodies)
        shard.finish()
        for _ in range(2):
            before, rows, keys = members_of(shard, folder), table(folder), [s.key for s in shard.samples]
            dropped = data.draw(st.sets(st.sampled_from(keys))) if keys else set()
            placed = (folder / "00000.tar").rename(folder / "placed.tar") if shard.has_samples else None
            shard.drop(dropped, placed)
            kept = [row for row in rows if row["key"] not in dropped]
            assert table(folder) == kept and len(shard) == len(kept)
            after = members_of(shard, folder)
            assert list(after.items()) == [at for at in before.items() if at[0].partition(".")[0] not in dropped]
            assert stats(folder)["count"] == len(kept)
            assert stats(folder)["successes"] == sum(row["status"] == SUCCESS for row in kept)


@pytest.mark.parametrize("finished", [False, True])
def test_discarding_leaves_nothing(tmp_path: Path, finished: bool) -> None:
    shard = filled(tmp_path, [b"x", None])
    if finished:
        shard.finish()
    for _ in range(2):
        shard.discard()
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "tar"),
    [
        ("shards/00000.tar/000000000.jpg", "shards/00000.tar"),
        ("shards/123456.tar/1234560000.jpg", "shards/123456.tar"),
        ("shards/00000.tar", ""), ("shards/00000.tar/", ""), ("shards/00000.parquet", ""),
        ("a.test/x.tar/y.jpg", ""), ("a.test/shards/00000.tar/1.jpg", ""), ("", ""),
    ],
)  # fmt: skip
def test_the_tar_of_a_file(file: str, tar: str) -> None:
    assert tar_of(file) == tar
