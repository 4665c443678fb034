"""Datasets of what a job has: the real `crawler.export --format imagefolder|webdataset`, beside real runs."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acceptance.here import Here, asked, page, wait_for
from acceptance.test_objects import OUTPUT, s3  # noqa: F401
from crawler.datasets.draft import WHOLE
from servers.faulty import FaultySite
from servers.pictures import gif, jpeg, png
from servers.s3 import BUCKET, S3, forget_stores

PLACE = f"s3://{BUCKET}/datasets/one"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'


@pytest.fixture
def site() -> Iterator[FaultySite]:
    """40 PNGs, two JPEGs with the same bytes, a GIF, an SVG, and an image that is missing."""
    bodies = {f"/i/{n}.png": png(n, 8 + n, 8) for n in range(40)}
    bodies |= {"/same/a.jpg": jpeg(1), "/same/b.jpg": jpeg(1), "/x.gif": gif(1), "/x.svg": SVG}
    with FaultySite() as made:
        made.add("/", page(*bodies, "/missing.png"), "text/html")
        for path, body in bodies.items():
            made.add(path, body)
        yield made


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def export(here: Here, *flags: str, code: int = 0) -> str:
    ended, out, errors = here.run("crawler.export", "--job", "j", *flags)
    assert ended == code, errors
    return out + errors


def folder_of(here: Here, *flags: str) -> tuple[Path, list[dict[str, Any]]]:
    """Export an imagefolder, and return it with the lines of its metadata."""
    folder = here.folder / f"set{time.monotonic_ns()}"
    export(here, "--format", "imagefolder", str(folder), *flags)
    return folder, [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def samples(folder: Path) -> list[dict[str, Any]]:
    """Return the JSON of each sample of a WebDataset, in its order, with the digest of its image."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            bodies = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for name, body in bodies.items():
            if name.endswith(".json"):
                stem = name.removesuffix(".json")
                assert bodies[f"{stem}.txt"].decode() == json.loads(body)["caption"]
                found.append({**json.loads(body), "is": digest(bodies[f"{stem}.jpg"])})
    return found


def test_a_folder_has_the_listed_images_and_nothing_else(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url)[0] == 0
    folder, rows = folder_of(here)
    assert len(rows) == 43 and {row["caption"] for row in rows} == {"an image"}
    assert all(digest((folder / row["file_name"]).read_bytes()) == row["sha256"] for row in rows)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {row["file_name"] for row in rows} | {"metadata.jsonl", "failures.jsonl", WHOLE}
    (failed,) = (json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines())
    assert (failed["url"], failed["outcome"]) == (f"{site.url}/x.svg", "unwanted_format")
    assert [path.name for path in here.folder.iterdir() if "~export" in path.name] == []


@pytest.mark.parametrize("store", ["files", "shards"])
def test_shards_are_made_of_files_and_of_shards(here: Here, site: FaultySite, store: str) -> None:
    assert here.crawl(site.url, "--store", store)[0] == 0
    folder = here.folder / "set"
    export(here, "--format", "webdataset", str(folder), "--shard-samples", "10", "--shuffle", "7")
    found = samples(folder)
    assert [row["sha256"] for row in found] == [row["is"] for row in found]
    kept = {url: row["sha256"] for url, row in here.rows("metadata.jsonl").items() if row["format"] != "svg"}
    assert {row["url"]: row["sha256"] for row in found} == kept and len(found) == len(kept) == 43
    assert len(list(folder.glob("*.parquet"))) == 5
    again = here.folder / "again"
    export(here, "--format", "webdataset", str(again), "--shard-samples", "10", "--shuffle", "7")
    assert samples(again) == found
    export(here, "--format", "webdataset", str(here.folder / "other"), "--shuffle", "8")
    others = samples(here.folder / "other")
    assert sorted(row["url"] for row in others) == sorted(kept) and [r["url"] for r in others] != [
        r["url"] for r in found
    ]


def test_rows_are_chosen(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url)[0] == 0
    _, rows = folder_of(here, "--where", "format = 'png' AND width BETWEEN 10 AND 14")
    assert [row["width"] for row in rows] == [10, 11, 12, 13, 14]
    _, rows = folder_of(here, "--dedupe", "sha256", "--where", "format = 'jpeg'")
    assert len(rows) == 1
    text = export(here, "--format", "jsonl", "--where", "outcome = 'http_404'")
    assert [json.loads(line)["url"] for line in text.splitlines()] == [f"{site.url}/missing.png"]
    text = export(here, "--format", "csv", "--where", "widht > 3", code=2)
    assert "--where:" in text and "the columns are file_name" in text and "Traceback" not in text
    assert "is there already" in export(here, "--format", "imagefolder", str(here.output), code=2)
    text = export(here, "--format", "webdataset", str(here.folder / "bad"), "--shard-samples", "0", code=2)
    assert "--shard-samples is 1 to" in text
    text = export(here, "--format", "imagefolder", str(here.folder / "bad"), "--where", "nope", code=2)
    assert "--where" in text and [path for path in here.folder.iterdir() if "bad" in path.name] == []


def test_a_job_of_rows_has_a_sample_for_each(here: Here, site: FaultySite) -> None:
    rows = [("/i/1.png", "one"), ("/i/2.png", "two"), ("/i/1.png", "another"), ("/i/1.png", "one")]
    (here.folder / "list.csv").write_text("url,text\n" + "".join(f"{site.url}{path},{text}\n" for path, text in rows))
    flags = ("--urls", str(here.folder / "list.csv"), "--caption-column", "text", "--per", "row", "--ignore-robots")
    assert here.crawl(*flags)[0] == 0
    assert len(asked(site)) == 2, "each is fetched once"
    export(here, "--format", "webdataset", str(here.folder / "set"))
    found = [(row["url"].removeprefix(site.url), row["caption"]) for row in samples(here.folder / "set")]
    assert sorted(found) == sorted(rows)
    export(here, "--format", "webdataset", str(here.folder / "once"), "--dedupe", "sha256", "--caption-from", "title")
    assert [row["caption"] for row in samples(here.folder / "once")] == ["", ""]


def test_what_is_not_as_it_was_stored_is_a_failure(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url)[0] == 0
    rows = here.rows("metadata.jsonl")
    (here.output / "j" / rows[f"{site.url}/i/3.png"]["file_name"]).write_bytes(png(99))
    (here.output / "j" / rows[f"{site.url}/i/4.png"]["file_name"]).unlink()
    folder = here.folder / "set"
    text = export(here, "--format", "webdataset", str(folder))
    assert "41 images, 3 failures" in text
    assert len(samples(folder)) == 41


def picture(seed: int, width: int = 320, height: int = 240, **options: Any) -> bytes:
    """Return a JPEG of soft shapes that look like those of no other seed."""
    chance = random.Random(seed)
    small = Image.new("RGB", (8, 6))
    small.putdata([(chance.randrange(256), chance.randrange(256), chance.randrange(256)) for _ in range(48)])
    file = io.BytesIO()
    small.resize((640, 480), Image.Resampling.BICUBIC).resize((width, height)).save(
        file, **{"format": "JPEG", **options}
    )
    return file.getvalue()


def test_images_are_transformed_and_those_that_look_alike_left_out(here: Here) -> None:
    bodies = {f"/i/{n}.jpg": picture(n) for n in range(6)}
    bodies |= {"/i/large.jpg": picture(0, 640, 480), "/i/again.webp": picture(1, format="WEBP", quality=60)}
    damaged = bytearray(picture(7, format="PNG"))
    damaged[len(damaged) // 2] ^= 0xFF
    with FaultySite() as site:
        site.add("/", page(*bodies, "/i/damaged.png"), "text/html")
        for path, body in (bodies | {"/i/damaged.png": bytes(damaged)}).items():
            site.add(path, body)
        assert here.crawl(site.url)[0] == 0
    folder, rows = folder_of(
        here, "--resize", "border", "--image-size", "64", "--encode", "webp", "--dedupe", "perceptual"
    )
    names = {row["url"].rpartition("/")[2]: row for row in rows}
    assert names.keys() == {"large.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"} | (names.keys() & {"1.jpg", "again.webp"})
    assert len(names) == 6 and names["large.jpg"]["original_width"] == 640
    for row in rows:
        with Image.open(folder / row["file_name"]) as image:
            assert (image.format, image.size, row["width"], row["height"]) == ("WEBP", (64, 64), 64, 64)
    failed = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert [(row["url"].rpartition("/")[2], row["outcome"]) for row in failed] == [("damaged.png", "transform_failed")]


@pytest.mark.parametrize("format", ["webdataset", "imagefolder"])
def test_one_that_is_killed_goes_on(here: Here, gallery: FaultySite, format: str) -> None:
    assert here.crawl(gallery.url, "--requests-per-host", "64")[0] == 0
    assert len(asked(gallery)) == 1200
    whole, cut = here.folder / "whole", here.folder / "cut"
    flags = ("--format", format, "--shard-samples", "40", "--shuffle", "5")
    export(here, *flags, str(whole))
    progress = here.folder / ".cut~export" / "progress.json"
    for _ in range(3):
        door = here.start("crawler.export", "--job", "j", *flags, str(cut))
        before = progress.read_text() if progress.exists() else ""
        wait_for(lambda: cut.exists() or (progress.exists() and progress.read_text() != before))  # noqa: B023
        door.send_signal(signal.SIGKILL)
        door.wait()
    if cut.exists():
        assert "is there already" in export(here, *flags, str(cut), code=2), "which removes what was left over"
    else:
        assert "another export is unfinished" in export(here, "--format", format, "--shuffle", "6", str(cut), code=2)
        export(here, *flags, str(cut))
    assert tree(cut) == tree(whole)
    assert [path.name for path in here.folder.iterdir() if "~export" in path.name] == []


def tree(folder: Path) -> dict[str, str]:
    """Return what is in a dataset, less what tells when it was made."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): digest(b"".join(map(str.encode, members(path))) or path.read_bytes())
        for path in files
        if not path.name.endswith(("_stats.json", WHOLE))
    }


def members(path: Path) -> list[str]:
    if path.suffix != ".tar":
        return []
    with tarfile.open(path) as tar:
        return [f"{m.name} {digest(tar.extractfile(m).read())}" for m in tar]  # type: ignore[union-attr]


def test_a_dataset_may_be_in_a_bucket(
    here: Here, site: FaultySite, s3: S3, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    forget_stores(monkeypatch)
    here.environment |= s3.environment
    assert here.run("crawler", site.url, "--job", "j", "--output", OUTPUT, "--allow-net", "127.0.0.0/8")[0] == 0
    text = export(here, "--format", "webdataset", PLACE, "--shard-samples", "20")
    assert "43 images, 1 failure" in text
    names = {name.removeprefix("datasets/one/") for name in s3.names() if name.startswith("datasets/one/")}
    assert names == {f"0000{n}{end}" for n in range(3) for end in (".tar", ".parquet", "_stats.json")} | {WHOLE}
    assert "has a whole dataset already" in export(here, "--format", "webdataset", PLACE, code=2)
    above = PLACE.rpartition("/")[0]
    assert f"{above} has something already" in export(here, "--format", "webdataset", above, code=2)
    assert sum(name.startswith("datasets/") for name in s3.names()) == len(names)
