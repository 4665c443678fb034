"""Crawls into shards by real commands: what is in them, and what deaths, limits and later nights do to them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from acceptance.fleet.shards import Shards, read_shards
from acceptance.here import Here, asked, children, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import jpeg, png
from servers.ports import free_port
from servers.s3 import BUCKET, S3, needed

IMAGES = 60
NAMES = [f"/i/{n}.png" for n in range(IMAGES)]
MISSING = "/i/missing.png"
SHARDS = ("--store", "shards", "--shard-samples", "20")


@pytest.fixture
def site() -> Iterator[FaultySite]:
    """A page with 60 images, and one that is not there."""
    with FaultySite() as made:
        made.add("/", page(*NAMES, MISSING), "text/html")
        for n, name in enumerate(NAMES):
            made.add(name, png(n), headers={"ETag": f'"{n}"'})
        yield made


def whole(here: Here, site: FaultySite, *, samples: int = IMAGES, rows: int = IMAGES + 1) -> Shards:
    """Return what the shards have: each URL in one row, each image in the ledger as it is, and nothing else."""
    job = here.output / "j"
    found = read_shards(job)
    assert not found.torn and set(found.rows.values()) == {1}
    assert (len(found.samples), len(found.rows)) == (samples, rows)
    for row in here.rows("metadata.jsonl").values():
        assert found.samples[row["file_name"]] == row["sha256"]
    there = {str(path.relative_to(job)) for path in (job / "shards").rglob("*")}
    assert there == found.names, "what a manifest does not name is left over"
    assert not (job / ".incoming").exists()
    return found


def manifest(here: Here) -> dict[str, Any]:
    return json.loads((here.output / "j" / "shards" / "manifest.json").read_text())


def tables(here: Here) -> list[dict[str, Any]]:
    paths = sorted((here.output / "j" / "shards").glob("*.parquet"))
    return [row for path in paths for row in pyarrow.parquet.read_table(path).to_pylist()]


def test_a_whole_crawl(here: Here, site: FaultySite) -> None:
    code, _, errors = here.crawl(site.url, *SHARDS)
    assert code == 0, errors
    whole(here, site)
    found = manifest(here)
    assert sum(shard["samples"] for shard in found["shards"]) == IMAGES and found["gaps"] == []
    assert max(shard["samples"] + shard["failures"] for shard in found["shards"]) <= 20
    (failed,) = [row for row in tables(here) if row["status"] != "success"]
    assert (failed["url"], failed["status"], failed["outcome"]) == (
        site.url + MISSING, "failed_to_download", "http_404",
    )  # fmt: skip
    assert failed["error_message"] and failed["sha256"] is None and failed["key"]
    assert {(row["width"], row["original_height"], row["format"]) for row in tables(here) if row["sha256"]} == {
        (8, 8, "png")
    }


def test_captions_are_beside_the_images(here: Here, site: FaultySite) -> None:
    site.add("/", f'<img src="{NAMES[0]}" alt="Ein schöner Tag">' + page(*NAMES[1:3]), "text/html")
    site.add("/", f'<img src="{NAMES[0]}" alt="Ein schöner Tag"><img src="{NAMES[1]}">', "text/html")
    assert here.crawl(site.url, *SHARDS)[0] == 0
    captions = {row["url"]: (row["key"], row["caption"]) for row in tables(here)}
    assert [captions[site.url + name][1] for name in NAMES[:2]] == ["Ein schöner Tag", ""]
    texts = {}
    for path in (here.output / "j" / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            texts |= {m.name: tar.extractfile(m).read() for m in tar if m.name.endswith(".txt")}  # type: ignore[union-attr]
    assert texts == {f"{key}.txt": caption.encode() for key, caption in captions.values()}


@pytest.mark.parametrize("flags", [("--shard-samples", "1"), ("--shard-bytes", "1"), ("--shard-samples", "3")])
def test_many_small_shards(here: Here, site: FaultySite, flags: tuple[str, str]) -> None:
    """More images wait for a number than its shard takes."""
    code, _, errors = here.crawl(site.url, "--store", "shards", *flags, "--requests-per-host", "30")
    assert code == 0, errors
    whole(here, site)
    assert len(manifest(here)["shards"]) >= IMAGES / int(flags[1]) and len(asked(site)) == IMAGES + 1


def test_a_night_without_news_makes_no_shard(here: Here, site: FaultySite) -> None:
    site.add("/", page(*NAMES), "text/html")
    assert here.crawl(site.url, *SHARDS)[0] == 0
    before = manifest(here)
    code, _, errors = here.crawl(site.url, *SHARDS, "--refresh", "always")
    assert code == 0 and f"{IMAGES} unchanged" in errors, errors
    assert manifest(here) == before
    whole(here, site, rows=IMAGES)


def test_what_changed_goes_into_a_new_shard(here: Here, site: FaultySite) -> None:
    site.add("/", page(*NAMES), "text/html")
    assert here.crawl(site.url, *SHARDS)[0] == 0
    before = here.rows("metadata.jsonl")
    site.add(NAMES[3], png(1003), headers={"ETag": '"new"'})
    code, _, errors = here.crawl(site.url, *SHARDS, "--refresh", "always")
    assert code == 0 and "1 changed" in errors, errors
    now, url = here.rows("metadata.jsonl"), site.url + NAMES[3]
    last = manifest(here)["shards"][-1]
    assert (last["samples"], last["run"]) == (1, 2)
    assert now[url]["file_name"] == f"shards/{last['number']:05d}.tar/{last['number']:05d}0000.jpg"
    assert now[url]["previous"] == before[url]["file_name"]
    found = read_shards(here.output / "j")
    assert not found.torn and found.samples[now[url]["file_name"]] == now[url]["sha256"]
    assert found.rows[url] == 2 and sum(found.rows.values()) == IMAGES + 1


@pytest.mark.parametrize("is_cut", [False, True], ids=["removed", "cut off"])
def test_a_shard_that_is_not_whole_any_more_is_fetched_again(here: Here, site: FaultySite, is_cut: bool) -> None:
    assert here.crawl(site.url, *SHARDS)[0] == 0
    tar = here.output / "j" / "shards" / "00000.tar"
    if is_cut:
        os.truncate(tar, 5000)
    else:
        tar.unlink()
    lost = [row for row in here.rows("metadata.jsonl").values() if "/00000.tar/" in row["file_name"]]
    assert here.crawl(site.url, *SHARDS, "--refresh", "always")[0] == 0
    now = here.rows("metadata.jsonl")
    for row in lost:
        name = now[row["url"]]["file_name"].rpartition("/")[0]
        assert name != "shards/00000.tar" and (here.output / "j" / name).is_file()
    assert (manifest(here)["shards"][0]["tar"] is None) is is_cut


# Limits and signals


def test_a_signal_closes_and_settles_what_is_open(here: Here, site: FaultySite) -> None:
    for name in NAMES:
        site.slow(name, png(int(name[3:-4])), 0.2)
    door = here.start("crawler", *here.job(site.url, "--store", "shards", "--requests-per-host", "4"))
    wait_for(lambda: len(asked(site)) > 20)
    door.terminate()
    _, errors = door.communicate(timeout=60)
    assert door.returncode == 143, errors
    count = len(asked(site))
    assert not (here.output / "j" / ".incoming").exists()
    assert here.crawl(site.url, *SHARDS)[0] == 0
    whole(here, site)
    assert len(asked(site)) == IMAGES + 1 and count < IMAGES, "nothing was fetched twice"


@pytest.mark.parametrize("flags", [("--max-images", "10"), ("--max-time", "2")])
def test_a_limit_closes_what_is_open(here: Here, site: FaultySite, flags: tuple[str, str]) -> None:
    for name in NAMES:
        site.slow(name, png(int(name[3:-4])), 0.3)
    code, _, errors = here.crawl(site.url, "--store", "shards", "--requests-per-host", "4", *flags, seconds=40)
    assert code == 3 and f"stopped at {flags[0]}" in errors, errors
    assert flags[0] != "--max-images" or "images  10 success" in errors, errors
    assert here.crawl(site.url, *SHARDS)[0] == 0
    whole(here, site)
    assert len(asked(site)) == IMAGES + 1


def test_time_closes_shards_of_a_slow_site(here: Here, site: FaultySite) -> None:
    site.add("/", page(*NAMES[:6]), "text/html")
    flags = ("--store", "shards", "--delay", "0.5", "--shard-seconds", "1")
    assert here.crawl(site.url, *flags)[0] == 0
    whole(here, site, samples=6, rows=6)
    assert len(manifest(here)["shards"]) >= 2


def test_hosts_that_are_gone_are_in_the_table_of_failures(here: Here, site: FaultySite) -> None:
    site.add("/", page(*NAMES, "http://nowhere.invalid/x.png"), "text/html")
    assert here.crawl(site.url, *SHARDS)[0] in (0, 1)
    whole(here, site, rows=IMAGES + 1)
    rows = pyarrow.parquet.read_table(here.output / "j" / "shards" / "failures.parquet").to_pylist()
    assert [(row["url"], row["outcome"]) for row in rows] == [("http://nowhere.invalid/x.png", "dns")]


def test_what_draws_by_itself_is_refused(here: Here, site: FaultySite) -> None:
    site.add("/", page(*NAMES[:3], "/i/x.svg"), "text/html")
    site.add("/i/x.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "image/svg+xml")
    assert here.crawl(site.url, *SHARDS)[0] == 1, "a quarter failed"
    whole(here, site, samples=3, rows=4)
    assert [row["outcome"] for row in tables(here) if row["url"].endswith("svg")] == ["unstorable"]


# Deaths


def workers_of(door: subprocess.Popen[str]) -> list[int]:
    """Return the processes of a door that have drafts of shards open."""
    found = []
    for process in children(door.pid):
        try:
            links = [str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue
        if any(".incoming" in link and link.endswith(".tar") for link in links):
            found.append(process)
    return found


def test_kills_of_workers_with_open_shards(here: Here, site: FaultySite) -> None:
    for name in NAMES:
        site.slow(name, png(int(name[3:-4])), 0.5)
    chance = random.Random(5)
    flags = ("--shard-seconds", "4", "--shard-samples", "20", "--lease", "1", "--requests-per-host", "3")
    door = here.start("crawler", *here.job(site.url, "--store", "shards", "--processes", "2", *flags))
    killed = 0
    while killed < 12 and door.poll() is None:
        time.sleep(chance.uniform(0.1, 0.8))
        for process in workers_of(door)[:1]:
            os.kill(process, signal.SIGKILL)
            killed += 1
    _, errors = door.communicate(timeout=120)
    assert door.returncode == 0 and killed == 12, errors
    whole(here, site)
    assert manifest(here)["gaps"], "the numbers of the dead"
    assert {row["outcome"] for row in tables(here)} == {"success", "http_404"}


def test_a_worker_that_slept_beyond_its_lease_makes_its_shard_anew(here: Here, site: FaultySite) -> None:
    for name in NAMES:
        site.slow(name, png(int(name[3:-4])), 0.5)
    flags = ("--shard-seconds", "2", "--lease", "2", "--requests-per-host", "6", "--processes", "2")
    log = ("--log-file", str(here.log))
    door = here.start("crawler", *here.job(site.url, "--store", "shards", *flags, *log))
    wait_for(lambda: workers_of(door))
    (sleeper, *_) = workers_of(door)
    os.kill(sleeper, signal.SIGSTOP)
    time.sleep(5)
    os.kill(sleeper, signal.SIGCONT)
    _, errors = door.communicate(timeout=90)
    assert door.returncode == 0, errors
    whole(here, site)


# Other places


def test_into_a_bucket(here: Here, site: FaultySite, tmp_path: Path) -> None:
    needed()
    with S3() as store:
        here.environment |= store.environment | {"TMPDIR": str(tmp_path)}
        flags = ("--job", "j", "--output", f"s3://{BUCKET}/all", "--allow-net", "127.0.0.0/8", *SHARDS)
        code, _, errors = here.run("crawler", site.url, *flags)
        assert code == 0, errors
        for name, body in store.objects("all/j/").items():
            path = here.output / name.removeprefix("all/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        whole(here, site)
        assert not list(tmp_path.glob("crawler-*-shards/.incoming/*"))


@pytest.mark.parametrize("local", [False, True], ids=["shared", "keep local"])
def test_workers_of_another_machine(here: Here, site: FaultySite, tmp_path: Path, local: bool) -> None:
    port, mine = free_port(), tmp_path / "mine"
    listen = ("--listen", f"127.0.0.1:{port}", "--site", site.url, *SHARDS)
    collector = here.start("crawler.collect", *here.job(*listen))
    place = ("--keep-local", "--output", str(mine)) if local else ()
    worker = here.start("crawler.download", "--server", f"127.0.0.1:{port}", "--processes", "2", *place)
    _, errors = collector.communicate(timeout=60)
    assert collector.returncode == 0, errors
    assert worker.wait(30) == 0
    if local:
        for path in (mine / "j" / "shards").iterdir():
            shutil.move(path, here.output / "j" / "shards" / path.name)
    whole(here, site)


# What else is done to a job


def test_a_state_that_is_made_anew_hands_out_no_number_again(here: Here, site: FaultySite) -> None:
    site.add("/", page(*NAMES), "text/html")
    assert here.crawl(site.url, *SHARDS)[0] == 0
    before = manifest(here)["shards"]
    for lost_too in ("", "manifest.json"):
        shutil.rmtree(here.state / "j")
        if lost_too:
            (here.output / "j" / "shards" / lost_too).unlink()
        site.add(NAMES[3], png(1003 + len(lost_too)), headers={"ETag": f'"x{lost_too}"'})
        code, _, errors = here.crawl(site.url, *SHARDS, "--adopt", "--refresh", "always")
        assert code == 0 and "1 changed" in errors, errors
        found = read_shards(here.output / "j")
        rows = here.rows("metadata.jsonl").values()
        assert not found.torn and all(found.samples[row["file_name"]] == row["sha256"] for row in rows)
        now = manifest(here)["shards"]
        assert [shard["number"] for shard in now] == list(range(len(now)))
        assert lost_too or now[: len(before)] == before


def test_nothing_is_forgotten_that_is_in_a_shard(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url, *SHARDS)[0] == 0
    content = here.rows("metadata.jsonl")[site.url + NAMES[0]]["sha256"]
    for wanted in (("--url", site.url + NAMES[0]), ("--url", site.url + MISSING), ("--sha256", content)):
        code, _, errors = here.run("crawler.forget", *wanted, "--yes")
        assert code == 2 and "nothing is taken out of shards" in errors, errors
    whole(here, site)
    code, _, errors = here.crawl(site.url, *SHARDS, "--prune")
    assert code == 2 and "--prune removes files" in errors, errors
    assert here.run("crawler.forget", "--url", "http://never.test/seen.png", "--yes")[0] == 0


def test_images_in_shards_are_looked_up(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url, *SHARDS)[0] == 0
    row = here.rows("metadata.jsonl")[site.url + NAMES[0]]
    path = f"{here.output}/j/{row['file_name']}"
    for named in (row["url"], row["sha256"], row["file_name"], path):
        code, told, errors = here.run("crawler.status", named)
        assert code == 0 and f"image     {row['url']}\n" in told and f"file      {path}\n" in told, told + errors
    code, _, errors = here.run("crawler.status", "shards/00099.tar/000990000.jpg")
    assert code == 1 and "is not in the ledger" in errors


def test_the_report_shows_no_broken_pictures(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url, *SHARDS)[0] == 0
    report = (here.output / "j" / "report.html").read_text()
    assert "<img" not in report and "in 00000.tar" in report and site.url + NAMES[0] in report


def test_a_failure_is_tried_again_into_a_new_shard(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url, *SHARDS)[0] == 0
    before = manifest(here)["shards"]
    site.add(MISSING, jpeg(7))
    code, _, errors = here.crawl(site.url, *SHARDS, "--retry-failed")
    assert code == 0, errors
    found = manifest(here)["shards"]
    assert found[: len(before)] == before and [shard["samples"] for shard in found[len(before) :]] == [1]
    assert here.rows("metadata.jsonl")[site.url + MISSING]["file_name"].startswith(f"shards/{len(before):05d}.tar/")
