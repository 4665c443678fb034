"""The real `crawler.export`, and what `crawler.status` says of images, beside real runs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from acceptance.here import Here, asked, children, kill_all, send, wait_for
from crawler.brokers.local import is_running
from servers.faulty import FaultySite
from servers.pictures import png
from servers.redis import redis_server, required

IMAGES, LONG = 1200, 3500


#: An image that takes as long as one may, so that a run does not end by itself while a test looks at it.
HELD = "/i/19-59.png"
LEASE = ("--lease", "3")
#: A program that runs another whose files are no longer than this; SQLite shares 32 kB between processes.
LIMITED = (
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000));"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

#: `crawler.export`, which reads the ledger in pages of a thousand rows.
PAGED = "import sys; from crawler import export, ledger; ledger._BATCH = 1000; sys.exit(export.main())"


@pytest.fixture
def held(gallery: FaultySite) -> Iterator[FaultySite]:
    """The gallery with that image, until it is served as others are."""
    gallery.slow(HELD, png(1199), 55.0)
    yield gallery


def let_go(here: Here, site: FaultySite, door: subprocess.Popen[str]) -> str:
    """End the run that waits for it, and finish it; return what it said until then."""
    kill_all(door)
    _, errors = door.communicate(timeout=60)
    site.add(HELD, png(1199))
    assert here.crawl(site.url, *LEASE)[0] == 0
    return errors


def start_paged(here: Here) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PAGED, "--job", "j"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here.environment)
    here.started.append(process)
    return process


def export(here: Here, *flags: str) -> str:
    code, out, errors = here.run("crawler.export", "--job", "j", *flags)
    assert code == 0, errors
    return out


def some_rows(here: Here) -> list[str]:
    """Return what the job has come to, nothing before it has begun."""
    return here.run("crawler.export", "--job", "j")[1].splitlines()


def table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an exported file, with what all formats have."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return [
        {name: str(row[name] or "") for name in ("url", "outcome", "sha256", "file_name", "same_as")} for row in rows
    ]


def exported(here: Here) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all formats."""
    tables = {}
    for format in ("jsonl", "csv", "parquet"):
        export(here, "--output", str(here.folder / f"t.{format}"))
        tables[format] = table(here.folder / f"t.{format}")
    assert not drafts(here)
    return tables


def drafts(here: Here) -> list[Path]:
    return [path for path in here.folder.iterdir() if path.name.startswith(".")]


def check_whole(here: Here) -> None:
    """Each format has each image once, as the ledger's files have it."""
    there, rest = here.rows("metadata.jsonl"), here.rows("failures.jsonl")
    first, *others = exported(here).values()
    assert all(other == first for other in others)
    assert len(first) == len(there) + len(rest) == IMAGES
    for row in first:
        line = there.get(row["url"]) or rest[row["url"]]
        assert row == {name: str(line.get(name) or "") for name in row}


def test_while_it_runs_and_after(here: Here, held: FaultySite) -> None:
    held.add("/i/0-0.png", "gone", status=404)
    held.add("/i/0-1.png", png(2))  # the same bytes as another
    door = here.start("crawler", *here.job(held.url, *LEASE))
    wait_for(lambda: some_rows(here), 60)
    tables = exported(here)
    out = export(here, "--format", "csv")
    assert door.poll() is None, "it ran all the while"
    for rows in (*tables.values(), list(csv.DictReader(io.StringIO(out, newline="")))):
        assert 0 < len(rows) <= IMAGES
        assert len({row["url"] for row in rows}) == len(rows)
    assert "starting it again" not in let_go(here, held, door)
    check_whole(here)
    only = export(here, "--outcome", "http_4xx").splitlines()
    assert [json.loads(line)["url"] for line in only] == [f"{held.url}/i/0-0.png"]
    assert here.is_clean()


@pytest.fixture
def long_list(here: Here, gallery: FaultySite) -> list[str]:
    """The arguments of a list that is read in more than two pages of the ledger; one image of it is slow."""
    path = here.folder / "list.txt"
    for n in range(LONG):
        gallery.add(f"/l/{n}.png", png(n))
    gallery.slow("/l/0.png", png(0), 4.0)
    path.write_text("".join(f"{gallery.url}/l/{n}.png\n" for n in range(LONG)))
    return ["--urls", str(path)]


def test_a_start_in_the_middle_is_not_refused(here: Here, gallery: FaultySite, long_list: list[str]) -> None:
    assert here.crawl(*long_list)[0] == 0
    process = start_paged(here)
    assert process.stdout is not None
    first = process.stdout.readline()  # the pipe is full long before the end
    code, _, errors = here.crawl(*long_list)
    assert code == 0 and "run 2" in errors, errors
    assert process.poll() is None, "it was still there"
    rows = [json.loads(line) for line in [first, *process.stdout]]
    assert process.wait(60) == 0
    assert sorted(row["url"] for row in rows) == sorted(here.rows("metadata.jsonl"))
    assert len(rows) == LONG


def test_a_run_that_ends_in_the_middle_is_read_to_its_end(
    here: Here, gallery: FaultySite, long_list: list[str]
) -> None:
    door = here.start("crawler", *here.job(*long_list))
    wait_for(lambda: len(asked(gallery, "/l/")) == LONG)
    process = start_paged(here)
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.readline()
    _, errors = door.communicate(timeout=90)
    assert door.returncode == 0, errors
    urls = [json.loads(line)["url"] for line in [first, *process.stdout]]
    errors = process.stderr.read()
    assert process.wait(60) == 0 and errors == ""
    assert len(set(urls)) == len(urls)
    assert {f"{gallery.url}/l/{n}.png" for n in range(LONG - 500, LONG)} <= set(urls), "read when it had ended"


def test_a_state_after_a_kill_is_read_as_it_is(here: Here, held: FaultySite) -> None:
    door = here.start("crawler", *here.job(held.url, *LEASE), start_new_session=True)
    wait_for(lambda: some_rows(here), 60)
    os.killpg(door.pid, signal.SIGKILL)
    door.wait()
    wait_for(lambda: not is_running(here.state / "j"))
    state = here.state / "j" / "queue.sqlite"
    kept = here.folder / "kept"
    shutil.copy(state, kept)
    log = state.with_name("queue.sqlite-wal").read_bytes()
    rows = export(here).splitlines()
    assert 0 < len(rows) < IMAGES
    assert state.read_bytes() == kept.read_bytes() and state.with_name("queue.sqlite-wal").read_bytes() == log
    held.add(HELD, png(1199))
    assert here.crawl(held.url, *LEASE)[0] == 0
    check_whole(here)


def test_a_reader_who_leaves_ends_it_quietly(here: Here, gallery: FaultySite) -> None:
    assert here.crawl(gallery.url)[0] == 0
    for format, unbuffered in product(("jsonl", "csv"), ("", "1")):
        here.environment["PYTHONUNBUFFERED"] = unbuffered
        process = here.start("crawler.export", "--job", "j", "--format", format)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait(60) == 128 + signal.SIGPIPE
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "crawler.export", "--job", "j"]
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=here.environment, timeout=60
        )
    assert ended.stderr == "crawler: standard output cannot be written: No space left on device\n"
    assert ended.returncode == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_what_was_there(here: Here, held: FaultySite, number: signal.Signals, code: int) -> None:
    output = here.folder / "t.jsonl"
    output.write_text("before")
    door = here.start("crawler", *here.job(held.url, *LEASE))
    wait_for(lambda: some_rows(here), 60)
    everyone = [door.pid, *children(door.pid)]
    send(signal.SIGSTOP, everyone)  # so that the broker does not answer
    process = here.start("crawler.export", "--job", "j", "--output", str(output))
    wait_for(lambda: drafts(here))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    send(signal.SIGCONT, everyone)
    kill_all(door)
    assert process.returncode == code and "Traceback" not in errors, errors
    assert output.read_text() == "before" and not drafts(here)


def test_a_disk_that_is_full_leaves_what_was_there(here: Here, gallery: FaultySite) -> None:
    assert here.crawl(gallery.url)[0] == 0
    limited = (sys.executable, "-c", LIMITED)
    for format in ("jsonl", "csv", "parquet"):
        output = here.folder / f"t.{format}"
        output.write_text("before")
        process = here.start("crawler.export", "--job", "j", "--output", str(output), prefix=limited)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1 and errors == f"crawler: {output} cannot be written: File too large\n"
        assert output.read_text() == "before" and not drafts(here)


def test_our_own_lists_read_it_back(here: Here, gallery: FaultySite) -> None:
    assert here.crawl(gallery.url)[0] == 0
    for format in ("csv", "parquet", "jsonl"):
        export(here, "--output", str(here.folder / f"t.{format}"))
        job = ["--job", format, "--output", str(here.output), "--allow-net", "127.0.0.0/8", "--max-images", "50"]
        words = [] if format == "jsonl" else ["--caption-column", "outcome"]
        code, _, errors = here.run(
            "crawler", "--urls", str(here.folder / f"t.{format}"), "--url-column", "url", *words, *job
        )
        assert code in (0, 3), errors
        out = here.run("crawler.export", "--job", format)[1].splitlines()
        assert len(out) >= 50
        mention = json.loads(out[0])["mentions"][0]
        assert mention["columns"]["file_name"] and mention["caption"] == ("success" if words else "")


def test_pandas_reads_it(here: Here, gallery: FaultySite) -> None:
    import pandas

    gallery.add("/i/0-0.png", "gone", status=404)
    here.crawl(gallery.url)
    exported(here)
    for frame in (
        pandas.read_csv(here.folder / "t.csv"),
        pandas.read_parquet(here.folder / "t.parquet"),
        pandas.read_json(here.folder / "t.jsonl", lines=True),
    ):
        assert len(frame) == IMAGES and frame["outcome"].value_counts().to_dict() == {"success": 1199, "http_404": 1}
        assert frame["size"].isna().sum() == 1


def test_out_of_a_redis(here: Here, gallery: FaultySite) -> None:
    required()
    with redis_server() as redis:
        server = ["--server", redis.url]
        code, _, errors = here.run("crawler.collect", *server, "--site", gallery.url, "--processes", "1", *here.job())
        assert code == 0, errors
        rows = [json.loads(line) for line in export(here, *server).splitlines()]
        assert {row["url"]: row["sha256"] for row in rows} == {
            url: row["sha256"] for url, row in here.rows("metadata.jsonl").items()
        }
        code, out, _ = here.run("crawler.status", *server, f"{gallery.url}/i/3-4.png")
        assert code == 0 and str(here.output / "j") in out and "an image" in out
        code, _, errors = here.run("crawler.export", *server, "--job", "x")
        assert code == 2 and f"no job 'x' in {redis.url}" in errors


def test_where_an_image_is_from(here: Here, held: FaultySite) -> None:
    held.add("/i/0-1.png", png(2))  # the same bytes as /i/0-2.png
    door = here.start("crawler", *here.job(held.url, *LEASE))
    wait_for(lambda: some_rows(here), 60)
    known = json.loads(some_rows(here)[0])["url"]
    code, out, errors = here.run("crawler.status", known)
    assert code == 0 and known in out and door.poll() is None, errors
    let_go(here, held, door)
    row = here.rows("metadata.jsonl")[f"{held.url}/i/0-1.png"]
    copy = here.folder / "copy of something"
    shutil.copy(here.output / "j" / row["file_name"], copy)
    for word in (row["url"], row["sha256"], row["sha256"][:12], str(copy), row["file_name"]):
        code, out, errors = here.run("crawler.status", word)
        assert code == 0 and row["sha256"] in out, errors
        assert f"{held.url}/p0.html" in out and "an image" in out and "1 other with these bytes" in out
        assert f"{held.url}/i/0-1.png" in out and f"{held.url}/i/0-2.png" in out
    assert str(here.output / "j" / row["file_name"]) in here.run("crawler.status", row["url"])[1]
    code, out, errors = here.run("crawler.status", f"{held.url}/none.png")
    assert (code, out) == (1, "") and "is not in the ledger of any job" in errors
