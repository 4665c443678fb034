"""What reads datasets reads what is crawled: Hugging Face's `datasets`, `webdataset`, pandas."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas
import pytest
from PIL import Image

from acceptance.here import Here
from servers.faulty import FaultySite
from servers.pictures import gif, jpeg, png

BODIES = {
    **{f"/i/{n}.jpg": jpeg(n) for n in range(4)},
    **{f"/i/{n}.png": png(n, 9, 7) for n in range(4)},
    **{f"/i/{n}.gif": gif(n) for n in range(4)},
}
ALTS = {name: "" if name.endswith("0.png") else f"Bild ü {name}" for name in BODIES}
#: Side lengths by how a name ends.
SIZES = {"jpg": (16, 16), "png": (9, 7), "gif": (8, 8)}
#: Names and types of pandas, of what img2dataset writes.
THEIRS = ["url", "caption", "key", "status", "error_message", "width", "height", "original_width", "original_height",
          "exif", "sha256"]  # fmt: skip


@pytest.fixture
def site() -> Iterator[FaultySite]:
    """JPEG, PNG and GIF on one page, and an image that is not there."""
    with FaultySite() as made:
        shown = "".join(f'<img src="{name}" alt="{alt}">' for name, alt in ALTS.items())
        made.add("/", f'<!doctype html>{shown}<img src="/i/missing.png">', "text/html")
        for name, body in BODIES.items():
            made.add(name, body)
        yield made


@pytest.fixture
def tars(here: Here, site: FaultySite) -> list[str]:
    code, _, errors = here.crawl(site.url, "--store", "shards", "--shard-samples", "5")
    assert code == 0, errors
    return sorted(str(path) for path in (here.output / "j" / "shards").glob("*.tar"))


def seen_by(program: str, tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the lines that a program prints of what it reads, in a process of its own, without the network."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, env=environment,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(rows: list[dict[str, Any]], site: FaultySite) -> None:
    """Tell that each image was read once, as it is, with its caption and what is known of it."""
    assert sorted(row["url"] for row in rows) == sorted(site.url + name for name in BODIES)
    for row in rows:
        name = row["url"].removeprefix(site.url)
        assert tuple(row["size"]) == SIZES[name.rpartition(".")[2]]
        assert (row["text"] or "") == ALTS[name] and row["sha256"] == hashlib.sha256(BODIES[name]).hexdigest()
        assert row["key"].isdigit() and len(row["key"]) == 9


DATASETS = """
import json, sys
from datasets import load_dataset
streaming, files = sys.argv[1] == "streaming", sys.argv[2:]
for row in load_dataset("webdataset", data_files={"train": files}, split="train", streaming=streaming):
    about = row["json"]
    print(json.dumps({"url": about["url"], "sha256": about["sha256"], "key": row["__key__"], "text": row["txt"],
                      "size": row["jpg"].size}))
"""


@pytest.mark.parametrize("how", ["streaming", "whole"])
def test_datasets_of_hugging_face(tars: list[str], site: FaultySite, tmp_path: Path, how: str) -> None:
    check(seen_by(DATASETS, tmp_path, how, *tars), site)


@pytest.fixture
def uneven(here: Here) -> Iterator[list[str]]:
    """Shards whose first images have less to tell than later ones: Exif, an ETag, a column of the list."""
    exif = Image.new("RGB", (16, 16)).getexif()
    exif[0x010F] = "Camera"
    turned = BytesIO()
    Image.new("RGB", (16, 16)).save(turned, "JPEG", exif=exif)
    with FaultySite() as site:
        for n in range(7):
            site.add(f"/{n}.jpg", jpeg(n), headers={"ETag": f'"{n}"'} if n == 6 else {})
        site.add("/7.jpg", turned.getvalue())
        rows: list[dict[str, str]] = [{"url": f"{site.url}/{n}.jpg"} for n in range(8)]
        rows[6]["extra"] = "more"
        listed = here.folder / "list.jsonl"
        listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
        one = ["--processes", "1", "--connections", "1", "--requests-per-host", "1"]
        code, _, errors = here.crawl("--urls", str(listed), "--store", "shards", *one)
        assert code == 0, errors
        code, _, errors = here.run("crawler.export", "--job", "j", "--format", "webdataset", str(here.folder / "made"))
        assert code == 0, errors
        yield [str(here.output / "j" / "shards" / "00000.tar"), str(here.folder / "made" / "00000.tar")]


@pytest.mark.parametrize("made", [0, 1], ids=["crawled", "exported"])
def test_types_that_the_first_samples_tell_fit_all(uneven: list[str], tmp_path: Path, made: int) -> None:
    program = DATASETS.replace('"key"', '"exif": about["exif"], "etag": about["etag"], "key"')
    rows = seen_by(program, tmp_path, "whole", uneven[made])
    assert [row["etag"] for row in rows] == [""] * 6 + ['"6"', ""], "in the order in which they came"
    assert [row["exif"] for row in rows] == ["{}"] * 7 + ['{"Make": "Camera"}']


WEBDATASET = """
import json, sys
import webdataset
for row in webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode("pil"):
    about = row["json"]
    print(json.dumps({"url": about["url"], "sha256": about["sha256"], "key": row["__key__"], "text": row["txt"],
                      "size": row["jpg"].size}))
"""


def test_webdataset(tars: list[str], site: FaultySite, tmp_path: Path) -> None:
    check(seen_by(WEBDATASET, tmp_path, *tars), site)


IMAGEFOLDER = """
import json, sys
from datasets import load_dataset
for row in load_dataset("imagefolder", data_dir=sys.argv[1], split="train"):
    print(json.dumps({"url": row["url"], "size": row["image"].size, "sha256": row["sha256"]}))
"""


def test_a_folder_of_images(here: Here, site: FaultySite, tmp_path: Path) -> None:
    assert here.crawl(site.url)[0] == 0
    rows = seen_by(IMAGEFOLDER, tmp_path, str(here.output / "j"))
    check([row | {"text": ALTS[row["url"].removeprefix(site.url)], "key": "0" * 9} for row in rows], site)


def test_pandas(tars: list[str], site: FaultySite) -> None:
    table = pandas.concat([pandas.read_parquet(path.removesuffix("tar") + "parquet") for path in tars])
    assert list(table.columns)[: len(THEIRS)] == THEIRS
    assert sorted(table["url"]) == sorted([*(site.url + name for name in BODIES), site.url + "/i/missing.png"])
    there = table[table["status"] == "success"]
    assert len(there) == len(BODIES) and there["error_message"].isna().all()
    assert {(int(w), int(h)) for w, h in zip(there["width"], there["height"], strict=True)} == set(SIZES.values())
    (failed,) = table[table["status"] != "success"].to_dict("records")
    assert (failed["status"], failed["outcome"], failed["caption"]) == ("failed_to_download", "http_404", "")
    assert table["key"].is_unique
