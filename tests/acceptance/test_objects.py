"""A list comes to rest in an object store: through outages, kills and wrong settings, whole, once, with its ledger."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from acceptance.here import OPEN, Here, asked, children, kill_all, wait_for
from servers.faulty import FaultySite
from servers.pictures import jpeg
from servers.ports import free_port
from servers.s3 import BUCKET, S3, forget_stores, needed

OUTPUT = f"s3://{BUCKET}/a/prefix"
LEDGER = {"metadata.jsonl", "failures.jsonl", "report.html", ".job"}
#: Of a run whose processes are killed before it could end, and whose tasks others get soon.
KILLED = ("--requests-per-host", "8", "--lease", "2")


@pytest.fixture
def s3() -> Iterator[S3]:
    needed()
    with S3() as server:
        yield server


@pytest.fixture
def here(here: Here, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Commands whose environment names the object store, and none but it."""
    forget_stores(monkeypatch)
    here.environment = {**os.environ, "XDG_STATE_HOME": here.environment["XDG_STATE_HOME"], **s3.environment}
    return here


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        yield made


def listed(here: Here, site: FaultySite, number: int, *, seconds: float = 0.0, output: str = OUTPUT) -> list[str]:
    """Let the site have images that take `seconds` each, and one that is missing; return the flags of a run."""
    urls = [f"{site.url}/i/{n}.jpg" for n in range(number)]
    for n in range(number):
        if seconds:
            site.slow(f"/i/{n}.jpg", jpeg(n, 3000), seconds)
        else:
            site.add(f"/i/{n}.jpg", jpeg(n, 3000))
    path = here.folder / "urls.txt"
    path.write_text("\n".join([*urls, f"{site.url}/missing.jpg"]))
    return [
        "--urls", str(path), "--job", "j", "--output", output, "--log-file", str(here.log), "--ignore-robots",
        "--processes", "1", "--requests-per-host", "64", *OPEN,
    ]  # fmt: skip


def stored(s3: S3) -> dict[str, bytes]:
    """Return the images in the bucket, by their names in the job's folder."""
    names = {name.removeprefix("a/prefix/j/"): body for name, body in s3.objects().items()}
    return {name: body for name, body in names.items() if name not in LEDGER and not name.startswith("runs/")}


def rows(s3: S3, name: str) -> list[dict[str, Any]]:
    text = s3.objects(f"a/prefix/j/{name}")[f"a/prefix/j/{name}"].decode()
    return [json.loads(line) for line in text.splitlines()]


def is_whole(s3: S3, site: FaultySite, number: int) -> bool:
    """Tell that the ledger and the bucket say the same: each image once, with its bytes, and nothing else."""
    there = rows(s3, "metadata.jsonl")
    assert sorted(row["url"] for row in there) == sorted(f"{site.url}/i/{n}.jpg" for n in range(number))
    assert [(row["url"], row["outcome"]) for row in rows(s3, "failures.jsonl")] == [
        (f"{site.url}/missing.jpg", "http_404")
    ]
    images = stored(s3)
    assert {row["file_name"]: row["sha256"] for row in there} == {
        name: hashlib.sha256(body).hexdigest() for name, body in images.items()
    }
    for row in there:
        assert images[row["file_name"]] == jpeg(int(row["url"].rpartition("/")[2].removesuffix(".jpg")), 3000)
    return True


def attempts_burnt(here: Here) -> int:
    with closing(sqlite3.connect(here.state / "j" / "queue.sqlite")) as state:
        return sum(state.execute("SELECT coalesce(max(attempts), 0), coalesce(max(lost), 0) FROM waiting").fetchone())


def test_a_list_comes_to_rest_and_is_not_fetched_again(here: Here, s3: S3, site: FaultySite) -> None:
    flags = listed(here, site, 150)
    code, out, errors = here.run("crawler", *flags)
    assert code == 0 and not out, errors
    assert f"files   {OUTPUT}/j\n" in errors and f"ledger  {OUTPUT}/j/metadata.jsonl, failures.jsonl" in errors
    assert is_whole(s3, site, 150)
    assert {name.removeprefix("a/prefix/j/") for name in s3.objects()} >= LEDGER
    report = s3.client.get_object(Bucket=BUCKET, Key="a/prefix/j/report.html")
    assert report["ContentType"] == "text/html; charset=utf-8", "browsers would save it"
    assert f"{site.url}/i/0.jpg".encode() in report["Body"].read()
    before = s3.objects()
    assert len(asked(site)) == 150
    assert here.run("crawler", *flags)[0] == 0
    assert len(asked(site)) == 150, "what is there is not fetched again"
    assert images_of(s3.objects()) == images_of(before)
    rows = [json.loads(line) for line in s3.objects()["a/prefix/j/metadata.jsonl"].splitlines()]
    assert [row["outcome"] for row in rows] == ["unchanged"] * 150


def images_of(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body for name, body in objects.items() if name.endswith(".jpeg")}


def test_collector_and_workers_share_a_bucket(here: Here, s3: S3, site: FaultySite) -> None:
    port = free_port()
    del here.environment["AWS_ENDPOINT_URL"]
    flags = [*listed(here, site, 60), "--store-endpoint", s3.url]
    flags[flags.index("--processes") + 1] = "0"
    door = here.start("crawler.collect", *flags, "--listen", f"127.0.0.1:{port}")
    worker = ("crawler.download", "--server", f"127.0.0.1:{port}", "--processes", "1", "--wait", "30")
    code, _, errors = here.run(*worker, "--store-endpoint", s3.url, "--output", f"s3://{BUCKET}/elsewhere")
    assert code == 2 and f"s3://{BUCKET}/elsewhere/j is not the collector's" in errors
    code, _, errors = here.run(*worker, "--store-endpoint", s3.url, "--keep-local")
    assert code == 2 and "--keep-local" in errors and "Traceback" not in errors
    assert here.run(*worker, "--store-endpoint", s3.url)[0] == 0
    out, _ = door.communicate(timeout=60)
    assert door.returncode == 0 and out.count("--->success") == 60
    assert is_whole(s3, site, 60)


def test_an_outage_is_waited_for(here: Here, s3: S3, site: FaultySite) -> None:
    door = here.start("crawler", *listed(here, site, 400, seconds=0.3))
    wait_for(lambda: len(s3.names()) > 20)
    s3.stop()
    wait_for(lambda: here.said("waiting until files can be written again"), 60)
    time.sleep(1.0)
    before = len(asked(site))
    time.sleep(1.0)
    assert len(asked(site)) == before, "nothing is fetched that cannot be kept"
    assert attempts_burnt(here) == 0 and door.poll() is None
    s3.start()
    _, errors = door.communicate(timeout=120)
    assert door.returncode == 0, errors
    log = here.log.read_text()
    assert log.count("waiting until files can be written again") == 1, "it is said once"
    assert log.count("Connection refused") == 1 and "files can be written again; going on" in log
    assert is_whole(s3, site, 400)


def test_workers_killed_while_they_put_lose_nothing(here: Here, s3: S3, site: FaultySite) -> None:
    door = here.start("crawler", *listed(here, site, 400, seconds=0.1), *KILLED)
    killed: list[int] = []
    for least in (20, 100, 180):
        wait_for(lambda: worker_of(door.pid) not in (0, *killed))
        killed.append(worker_of(door.pid))
        wait_for(lambda least=least: len(s3.names()) > least, 60)  # type: ignore[misc]
        os.kill(killed[-1], signal.SIGKILL)
        for name, body in stored(s3).items():
            assert hashlib.sha256(body).hexdigest().startswith(name.rpartition("-")[2].partition(".")[0])
    _, errors = door.communicate(timeout=120)
    assert door.returncode == 0, errors
    assert here.log.read_text().count("download 1 process ended by SIGKILL") == len(killed)
    assert is_whole(s3, site, 400)


def worker_of(door: int) -> int:
    """Return the process that puts, 0 while there is none: the one below the door in which the library has threads."""
    for process in children(door):
        try:
            has_library = "_obstore" in Path(f"/proc/{process}/maps").read_text()
            if has_library and len(list(Path(f"/proc/{process}/task").iterdir())) > 3:
                return process
        except OSError:
            continue  # it just ended
    return 0


def test_everything_killed_goes_on(here: Here, s3: S3, site: FaultySite) -> None:
    flags = [*listed(here, site, 200, seconds=0.1), *KILLED]
    door = here.start("crawler", *flags)
    wait_for(lambda: len(s3.names()) > 50)
    kill_all(door)
    code, _, errors = here.run("crawler", *flags)
    assert code == 0, errors
    assert is_whole(s3, site, 200)
    assert max(Counter(asked(site)).values()) <= 2


def test_a_list_as_it_stands(here: Here, s3: S3, site: FaultySite) -> None:
    flags = listed(here, site, 40)
    code, _, errors = here.run("crawler", *flags, "--max-images", "20")
    assert code == 3 and "--export writes it now" in errors, errors
    assert LEDGER - {name.removeprefix("a/prefix/j/") for name in s3.objects()} == LEDGER - {".job"}
    code, _, errors = here.run("crawler", *flags, "--export")
    assert code == 0 and f"are in {OUTPUT}/j" in errors
    assert {row["file_name"] for row in rows(s3, "metadata.jsonl")} == stored(s3).keys()


def test_after_a_reboot_objects_are_trusted(here: Here, s3: S3, site: FaultySite) -> None:
    flags = listed(here, site, 10)
    assert here.run("crawler", *flags)[0] == 0
    with closing(sqlite3.connect(here.state / "j" / "queue.sqlite")) as state, state:
        assert state.execute("UPDATE meta SET value = 'another boot' WHERE key = 'boot_id'").rowcount == 1
    code, _, errors = here.run("crawler", *flags)
    assert code == 0, errors
    assert not here.said("did not survive") and len(asked(site)) == 10


def test_a_state_that_is_lost_does_not_take_the_folder(here: Here, s3: S3, site: FaultySite) -> None:
    flags = listed(here, site, 5)
    assert here.run("crawler", *flags)[0] == 0
    shutil.rmtree(here.state)
    code, _, errors = here.run("crawler", *flags)
    assert code == 2 and f"{OUTPUT}/j belongs to another job" in errors and "Traceback" not in errors


def test_a_folder_that_is_gone_is_not_begun_anew(here: Here, s3: S3, site: FaultySite) -> None:
    flags = listed(here, site, 5)
    assert here.run("crawler", *flags)[0] == 0
    s3.client.delete_object(Bucket=BUCKET, Key="a/prefix/j/.job")
    code, _, errors = here.run("crawler", *flags)
    assert code == 2 and f"{OUTPUT}/j is gone" in errors


class TestWrongSettings:
    def refused(self, here: Here, site: FaultySite, *more: str, output: str = OUTPUT) -> str:
        flags = listed(here, site, 3, output=output)
        code, out, errors = here.run("crawler", *flags, *more)
        text = out + errors + (here.log.read_text() if here.log.exists() else "")
        assert code == 2, text
        assert "Traceback" not in text and "a-secret-of-the-tests" not in text and "AKIATEST" not in text
        assert not asked(site), "nothing is fetched that cannot be kept"
        return errors

    def test_credentials_that_nobody_knows(self, here: Here, s3: S3, site: FaultySite) -> None:
        s3.know_nobody()
        try:
            errors = self.refused(here, site)
        finally:
            s3.know_everybody()
        assert f"{OUTPUT}/j: InvalidAccessKeyId: " in errors and "check AWS_ACCESS_KEY_ID" in errors

    def test_no_credentials(self, here: Here, s3: S3, site: FaultySite) -> None:
        del here.environment["AWS_ACCESS_KEY_ID"], here.environment["AWS_SECRET_ACCESS_KEY"]
        assert "no credentials were found in the environment; set AWS_ACCESS_KEY_ID" in self.refused(here, site)

    def test_a_bucket_that_is_not_there(self, here: Here, s3: S3, site: FaultySite) -> None:
        errors = self.refused(here, site, output="s3://another-bucket/p")
        assert "s3://another-bucket/p/j: there is no such bucket" in errors

    @pytest.mark.parametrize(
        ("output", "flags", "message"),
        [
            ("s3://", (), "s3://BUCKET/PREFIX"),
            ("ftp://host/x", (), "ftp:// is not known"),
            (OUTPUT, ("--min-free", "5G"), "--min-free is of a disk"),
            (OUTPUT, ("--store-endpoint", "here"), "--store-endpoint"),
            ("out", ("--store-endpoint", "http://127.0.0.1:1"), "is a directory"),
        ],
    )
    def test_flags(
        self, here: Here, s3: S3, site: FaultySite, output: str, flags: tuple[str, ...], message: str
    ) -> None:
        assert message in self.refused(here, site, *flags, output=output)

    def test_nothing_listens(self, here: Here, s3: S3, site: FaultySite) -> None:
        flags = listed(here, site, 3)
        code, _, errors = here.run("crawler", *flags, "--store-endpoint", "http://127.0.0.1:1")
        assert code == 1 and f"{OUTPUT}/j: Connection refused" in errors and "Traceback" not in errors


def test_a_directory_may_be_a_url(here: Here, site: FaultySite) -> None:
    flags = listed(here, site, 5)
    flags[flags.index(OUTPUT)] = here.output.as_uri()
    assert here.run("crawler", *flags)[0] == 0
    assert len(list(here.output.rglob("*.jpeg"))) == 5 and here.is_clean()
