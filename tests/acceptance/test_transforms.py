"""Real commands that resize, encode and filter on the way into shards, and that compute perceptual hashes."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.here import Here, asked, wait_for
from crawler.datasets.bodies import Bodies
from crawler.ledger import Kept
from crawler.similarity.hashing import perceptual_hash
from crawler.stores.directory import FileFolder
from servers.faulty import FaultySite
from servers.pictures import png

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("numpy")
parquet: Any = pytest.importorskip("pyarrow.parquet")

IMAGES = 60


def broken() -> bytes:
    """A PNG whose structure is whole, and whose pixels cannot be decoded."""
    body = bytearray(png(99, 40, 30))
    body[50] ^= 0xFF
    return bytes(body)


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        for n in range(IMAGES):
            made.add(f"/i/{n}.png", png(n, 30 + n, 40))
        made.add("/i/broken.png", broken())
        made.add("/i/tiny.png", png(1000, 20, 20))
        made.add("/i/long.png", png(1001, 90, 26))
        yield made


@pytest.fixture
def urls(here: Here, site: FaultySite) -> list[str]:
    return [*(f"{site.url}/i/{n}.png" for n in range(IMAGES)), site.url + "/i/broken.png"]


def listed(here: Here, urls: list[str]) -> str:
    path = here.folder / "list.txt"
    path.write_text("\n".join(urls))
    return str(path)


class InShards:
    """What the shards of the job have: images by their names in the ledger, and rows by URL."""

    def __init__(self, here: Here) -> None:
        folder = here.output / "j" / "shards"
        self.images: dict[str, bytes] = {}
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    if not member.name.endswith((".json", ".txt")):
                        self.images[f"shards/{path.name}/{member.name}"] = tar.extractfile(member).read()  # type: ignore[union-attr]
        tables = [parquet.read_table(path).to_pylist() for path in sorted(folder.glob("[0-9]*.parquet"))]
        rows = [row for table in tables for row in table]
        self.rows = {row["url"]: row for row in rows}
        assert len(self.rows) == len(rows), "an image is in two rows"


def test_all_are_of_one_size_and_what_cannot_be_is_a_failure(here: Here, site: FaultySite, urls: list[str]) -> None:
    flags = ["--store", "shards", "--resize", "border", "--image-size", "256", "--encode", "jpg"]
    code, _, errors = here.crawl("--urls", listed(here, urls), *flags)
    assert code == 0, errors
    found, kept = InShards(here), here.rows("metadata.jsonl")
    assert len(found.images) == len(kept) == IMAGES
    for name, body in found.images.items():
        with Image.open(io.BytesIO(body)) as image:
            assert image.size == (256, 256) and image.format == "JPEG" and name.endswith(".jpg")
    for n, url in enumerate(urls[:-1]):
        line, row = kept[url], found.rows[url]
        assert (line["width"], line["height"], line["format"]) == (30 + n, 40, "png")
        assert line["size"] == len(png(n, 30 + n, 40))
        assert line["sha256"] == row["sha256"] == hashlib.sha256(png(n, 30 + n, 40)).hexdigest()
        assert line["stored_sha256"] == hashlib.sha256(found.images[line["file_name"]]).hexdigest()
        assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (256, 256, 30 + n, 40)
    assert found.rows[urls[-1]]["status"] == "failed_to_resize"
    assert here.rows("failures.jsonl")[urls[-1]]["outcome"] == "transform_failed"
    stats = [json.loads(path.read_text()) for path in (here.output / "j" / "shards").glob("*_stats.json")]
    assert [sum(of[name] for of in stats) for name in ("failed_to_resize", "failed_to_download")] == [1, 0]


def test_the_next_night_has_nothing_to_transform(here: Here, site: FaultySite, urls: list[str]) -> None:
    flags = ["--urls", listed(here, urls[:-1]), "--store", "shards", "--resize", "border", "--encode", "webp"]
    assert here.crawl(*flags)[0] == 0
    first, before = InShards(here), here.rows("metadata.jsonl")
    assert all(name.endswith(".webp") for name in first.images)
    code, _, errors = here.crawl(*flags, "--refresh", "always")
    assert code == 0 and f"{IMAGES} unchanged" in errors
    assert InShards(here).images == first.images
    after = here.rows("metadata.jsonl")
    same = ("file_name", "sha256", "stored_sha256", "size", "format", "width")
    assert {url: [row[name] for name in same] for url, row in after.items()} == {
        url: [row[name] for name in same] for url, row in before.items()
    }
    bodies = Bodies(FileFolder(here.output / "j"), here.folder / "copies")
    for row in after.values():
        assert bodies.read(Kept(**row)) == first.images[row["file_name"]]


def test_what_is_told_of_a_transformed_image_by_either_content(here: Here, site: FaultySite, urls: list[str]) -> None:
    assert here.crawl("--urls", listed(here, urls[:1]), "--store", "shards", "--resize", "border")[0] == 0
    (row,) = here.rows("metadata.jsonl").values()
    for digits in (row["sha256"], row["stored_sha256"]):
        code, out, _ = here.run("crawler.status", digits)
        assert code == 0 and urls[0] in out and row["stored_sha256"] in out and "other bytes" not in out


def test_filters_leave_images_out(here: Here, site: FaultySite, urls: list[str]) -> None:
    odd = [site.url + "/i/tiny.png", site.url + "/i/long.png"]
    flags = ["--store", "shards", "--min-image-size", "25", "--max-aspect-ratio", "3", "--max-image-area", "3000"]
    code, _, errors = here.crawl("--urls", listed(here, [*urls, *odd]), *flags, "--fail-above", "50")
    assert code == 0, errors
    failures = {url: row["outcome"] for url, row in here.rows("failures.jsonl").items()}
    large = {f"{site.url}/i/{n}.png": "too_large" for n in range(IMAGES) if (30 + n) * 40 > 3000}
    assert failures == {odd[0]: "too_small", odd[1]: "unwanted_shape", **large}
    found = InShards(here)
    assert {row["status"] for url, row in found.rows.items() if url in failures} == {"failed_to_resize"}
    bodies = {hashlib.sha256(body).hexdigest() for body in found.images.values()}
    assert bodies == {row["sha256"] for row in here.rows("metadata.jsonl").values()}, "originals are untouched"


def test_files_are_not_transformed(here: Here, site: FaultySite, urls: list[str]) -> None:
    code, _, errors = here.crawl("--urls", listed(here, urls), "--resize", "border")
    assert code == 2 and "--store shards" in errors and "crawler.export" in errors
    assert not asked(site)


def test_a_run_that_is_ended_while_it_transforms_loses_nothing(here: Here, site: FaultySite, urls: list[str]) -> None:
    large = [png(n, 700, 700) for n in range(8)]
    for n in range(IMAGES):
        site.add(f"/i/{n}.png", large[n % 8])
    flags = [
        "--store",
        "shards",
        "--resize",
        "keep_ratio",
        "--image-size",
        "600",
        "--encode",
        "png",
        "--processes",
        "1",
    ]
    door = here.start("crawler", *here.job("--urls", listed(here, urls[:-1]), *flags))
    wait_for(lambda: len(asked(site)) >= 10)
    door.send_signal(signal.SIGTERM)
    door.communicate(timeout=60)
    code, _, errors = here.crawl("--urls", listed(here, urls[:-1]), *flags)
    assert code == 0, errors
    found = InShards(here)
    assert sorted(found.rows) == sorted(urls[:-1]) and len(found.images) == IMAGES
    assert {row["status"] for row in found.rows.values()} == {"success"}
    assert sorted(asked(site)) == sorted(f"/i/{n}.png" for n in range(IMAGES)), "what was begun was finished"


@pytest.mark.parametrize("store", ["files", "shards"])
def test_hashes_are_in_the_ledger_and_stay(here: Here, site: FaultySite, urls: list[str], store: str) -> None:
    flags = ["--urls", listed(here, urls[:8]), "--store", store, "--refresh", "always"]
    assert here.crawl(*flags, "--phash")[0] == 0
    hashes = {url: perceptual_hash(png(n, 30 + n, 40)) for n, url in enumerate(urls[:8])}
    assert all(hashes.values())
    assert {url: row["phash"] for url, row in here.rows("metadata.jsonl").items()} == hashes
    if store == "shards":
        assert {url: row["phash"] for url, row in InShards(here).rows.items()} == hashes
    code, _, errors = here.crawl(*flags)
    assert code == 0 and "8 unchanged" in errors
    assert {url: row["phash"] for url, row in here.rows("metadata.jsonl").items()} == hashes
    path = here.folder / "ledger.parquet"
    assert here.run("crawler.export", "--job", "j", "--output", str(path))[0] == 0
    table = parquet.read_table(path)
    assert table.column_names[-1] == "phash"
    assert dict(zip(table["url"].to_pylist(), table["phash"].to_pylist(), strict=True)) == hashes


def test_a_state_that_was_lost_has_its_hashes_from_the_ledger(here: Here, site: FaultySite, urls: list[str]) -> None:
    flags = ["--urls", listed(here, urls[:3]), "--store", "shards", "--resize", "border", "--phash"]
    assert here.crawl(*flags)[0] == 0
    before = here.rows("metadata.jsonl")
    for path in (here.state / "j").glob("*"):
        path.unlink()
    code, _, errors = here.crawl(*flags, "--adopt")
    assert code == 0, errors
    after = here.rows("metadata.jsonl")
    names = ("phash", "stored_sha256", "file_name")
    assert [[row[name] for name in names] for row in after.values()] == [
        [row[name] for name in names] for row in before.values()
    ]
    assert all(row["phash"] and row["stored_sha256"] for row in after.values())


def test_where_no_transform_is_asked_for_there_is_no_second_content(
    here: Here, site: FaultySite, urls: list[str]
) -> None:
    assert here.crawl("--urls", listed(here, urls[:3]), "--store", "shards")[0] == 0
    assert {row["stored_sha256"] for row in here.rows("metadata.jsonl").values()} == {""}
    assert {Path(name).suffix for name in InShards(here).images} == {".jpg"}
