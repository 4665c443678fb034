"""A worker whose images are hashed and transformed in other processes: what becomes of each, whatever dies or stops."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from acceptance.here import asked, wait_for
from crawler.child import Child
from crawler.contracts import Broker
from crawler.images.filing import FileLoop
from crawler.images.loop import DownloadLoop
from crawler.images.sharding import ShardLoop
from crawler.model import (
    Grant,
    ImageDetail,
    ImageResult,
    Kind,
    Known,
    Reply,
    Report,
    Settlement,
    ShardAnswer,
    State,
    Stored,
    Task,
    Verb,
    decode,
    pack,
)
from crawler.similarity.hashing import perceptual_hash
from crawler.spec import Spec
from crawler.stores.directory import FileFolder
from crawler.stores.names import file_name
from crawler.transforms.transform import Transform
from crawler.urls import address
from servers.faulty import FaultySite
from servers.pictures import HEIC, png

pytest.importorskip("PIL")
pytest.importorskip("numpy")
parquet: Any = pytest.importorskip("pyarrow.parquet")

IMAGES, CONNECTIONS = 24, 4
SMALL = Transform(resize="border", image_size=16, encode="png")


def broken() -> bytes:
    """A PNG whose structure is whole, and whose pixels cannot be decoded."""
    body = bytearray(png(99, 40, 30))
    body[50] ^= 0xFF
    return bytes(body)


class Tasks:
    """A broker with images of one host, which numbers shards and settles each that it is told of."""

    def __init__(self, urls: list[str], known: dict[str, ImageResult]) -> None:
        self.authority = address(urls[0]).authority
        self.waiting = [
            Task(n, Kind.IMAGE, url, url, pack(ImageDetail()), known=_known(known.get(url)))
            for n, url in enumerate(urls, 1)
        ]
        self.given: dict[int, Task] = {}
        self.stored: dict[str, tuple[int, ImageResult]] = {}
        self.unchanged: dict[str, tuple[int, ImageResult]] = {}
        self.failed: dict[str, Settlement] = {}
        self._serial = 0
        self._shards = 0

    def exchange(self, worker: str, report: Report) -> Reply:
        for shard in report.shards:
            self._take(shard.stored, self.stored)
            self._take_failures(shard.failed)
        self._take(report.stored, self.stored)
        self._take(report.unchanged, self.unchanged)
        self._take_failures(report.settlements)
        tasks = self.waiting[: report.room.get(Kind.IMAGE, 0)]
        del self.waiting[: len(tasks)]
        self.given.update({task.number: task for task in tasks})
        self._serial += 1
        self._shards += report.wants_shard
        return Reply(
            serial=self._serial, state=State.OPEN if self.waiting or self.given else State.FINISHED, tasks=tasks,
            grants={self.authority: Grant(CONNECTIONS)}, retry_in=0.01, spec_digest="1",
            shard=self._shards if report.wants_shard else -1,
            answers=[ShardAnswer(shard.number) for shard in report.shards],
            close_shards=bool(report.bound) and not self.waiting,
        )  # fmt: skip

    def robots(self, digest: str) -> str:
        return ""

    def _take(self, rows: Stored, into: dict[str, tuple[int, ImageResult]]) -> None:
        for number, size, result in zip(rows.numbers, rows.sizes, rows.results, strict=True):
            into[self.given.pop(number).url] = size, decode(result, ImageResult)

    def _take_failures(self, said: list[Settlement]) -> None:
        for one in said:
            task = self.given.pop(one.number)
            if one.verb is Verb.DONE:
                self.failed[task.url] = one
            else:
                self.waiting.append(task)


def _known(result: ImageResult | None) -> Known | None:
    return None if result is None else Known(time.time(), 1, pack(result))


class Running:
    """A worker's loop in a thread of its own, and the folder that it fills."""

    def __init__(
        self, folder: Path, urls: list[str], known: dict[str, ImageResult] | None = None, **settings: Any
    ) -> None:
        self.folder = folder
        self.broker = Tasks(urls, known or {})
        self.ended: list[State | None] = []
        self.gone = False
        self._spec = Spec(
            **{"job": "j", "user_agent": "crawler/1", "allow_net": ("127.0.0.0/8",), "lease": 3.0, "store": "shards"}
            | settings
        )
        self.loop: DownloadLoop | None = None
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        place = FileFolder(self.folder)
        broker, how = cast(Broker, self.broker), {"connections": CONNECTIONS, "patience": 60.0}
        if self._spec.store == "files":
            self.loop = FileLoop(broker, "w1", self._spec, place.open_store("w1"), file_name, **how)
        else:
            shards = place.open_shards("w1", self._spec.transform.encode or "jpg")
            self.loop = ShardLoop(broker, "w1", self._spec, shards, **how)
        self.ended.append(self.loop.run(lambda: not self.gone))

    def finish(self) -> Tasks:
        self.thread.join(60)
        assert self.ended == [State.FINISHED]
        return self.broker

    def rows(self) -> dict[str, dict[str, Any]]:
        tables = [parquet.read_table(path).to_pylist() for path in sorted((self.folder / "shards").glob("*.parquet"))]
        return {row["url"]: row for table in tables for row in table}

    def body(self, result: ImageResult) -> bytes:
        name, _, member = result.file.rpartition("/")
        with tarfile.open(self.folder / name) as tar:
            file = tar.extractfile(member)
            assert file is not None
            return file.read()


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        for n in range(IMAGES):
            made.add(f"/i/{n}.png", png(n, 40, 30))
        made.add("/broken.png", broken())
        made.add("/x.heic", HEIC, "image/heic")
        made.add("/tiny.png", png(1, 8, 8))
        made.add("/long.png", png(1, 100, 10))
        yield made


Run = Callable[..., Running]


@pytest.fixture
def run(tmp_path: Path, site: FaultySite) -> Iterator[Run]:
    made: list[Running] = []

    def running(*paths: str, known: dict[str, ImageResult] | None = None, **settings: Any) -> Running:
        names = paths or tuple(f"/i/{n}.png" for n in range(IMAGES))
        made.append(Running(tmp_path, [site.url + path for path in names], known, **settings))
        return made[-1]

    yield running
    for one in made:
        one.gone = True
        one.thread.join(30)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The first process that is begun: it stands still until it is told to go on, or is killed."""
    first: list[subprocess.Popen[bytes]] = []
    start = Child._start

    def begin(child: Child) -> subprocess.Popen[bytes]:
        process = start(child)
        if not first:
            os.kill(process.pid, signal.SIGSTOP)
            first.append(process)
        return process

    monkeypatch.setattr(Child, "_start", begin)
    return first


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_the_result_is_of_what_was_fetched_and_the_row_of_what_is_in_the_shard(run: Run, site: FaultySite) -> None:
    running = run(transform=Transform(resize="border", image_size=16, encode="webp"))
    stored = running.finish().stored
    rows = running.rows()
    assert len(stored) == len(rows) == IMAGES
    for n in range(IMAGES):
        url, body = f"{site.url}/i/{n}.png", png(n, 40, 30)
        (size, result), row = stored[url], rows[url]
        assert (size, result.sha256, result.format) == (len(body), sha256(body), "png")
        assert (result.width, result.height) == (40, 30) and result.file.endswith(".webp")
        kept = running.body(result)
        assert result.stored_sha256 == sha256(kept) != result.sha256
        assert (row["sha256"], row["size"], row["format"]) == (result.sha256, len(kept), "webp")
        assert [row[name] for name in ("width", "height", "original_width", "original_height")] == [16, 16, 40, 30]


def test_what_cannot_be_transformed_is_a_failure_of_that_image_alone(run: Run, site: FaultySite) -> None:
    running = run("/i/1.png", "/broken.png", "/x.heic", "/i/2.png", transform=SMALL)
    broker = running.finish()
    assert sorted(broker.stored) == [f"{site.url}/i/{n}.png" for n in (1, 2)]
    rows = running.rows()
    for path in ("/broken.png", "/x.heic"):
        assert broker.failed[site.url + path].outcome == rows[site.url + path]["outcome"] == "transform_failed"
        assert rows[site.url + path]["status"] == "failed_to_resize"


def test_filters_need_no_process(run: Run, site: FaultySite, held: list[subprocess.Popen[bytes]]) -> None:
    filters = Transform(min_image_size=9, max_image_area=40 * 30 - 1, max_aspect_ratio=3.0)
    running = run("/tiny.png", "/long.png", "/i/1.png", "/x.heic", transform=filters)
    broker = running.finish()
    outcomes = {url.removeprefix(site.url): said.outcome for url, said in broker.failed.items()}
    assert outcomes == {"/tiny.png": "too_small", "/long.png": "unwanted_shape", "/i/1.png": "too_large"}
    assert {row["status"] for url, row in running.rows().items() if url in broker.failed} == {"failed_to_resize"}
    ((_, result),) = broker.stored.values()
    assert running.body(result) == HEIC and not result.stored_sha256 and not held


def test_what_a_filter_of_files_refuses_was_not_to_be_resized(run: Run, site: FaultySite) -> None:
    running = run("/tiny.png", min_width=9, transform=SMALL)
    assert running.finish().failed[site.url + "/tiny.png"].outcome == "too_small"
    assert running.rows()[site.url + "/tiny.png"]["status"] == "failed_to_download"


def test_what_needs_nothing_is_stored_as_it_came(run: Run, site: FaultySite) -> None:
    running = run("/i/1.png", transform=Transform(encode="png", skip_reencode=True))
    ((_, result),) = running.finish().stored.values()
    assert running.body(result) == png(1, 40, 30) and not result.stored_sha256


def test_a_process_that_is_killed_costs_one_image(
    run: Run, site: FaultySite, held: list[subprocess.Popen[bytes]]
) -> None:
    running = run(transform=SMALL)
    wait_for(lambda: held and len(asked(site)) >= CONNECTIONS)
    held[0].kill()
    broker = running.finish()
    (said,) = broker.failed.values()
    assert said.outcome == "transform_failed" and "SIGKILL" in said.message
    assert len(broker.stored) == IMAGES - 1


def test_no_more_is_fetched_than_may_wait(run: Run, site: FaultySite, held: list[subprocess.Popen[bytes]]) -> None:
    running = run(transform=SMALL)
    wait_for(lambda: held and len(asked(site)) >= CONNECTIONS)
    exchanges = running.broker._serial
    wait_for(lambda: running.broker._serial > exchanges + 1)
    assert len(asked(site)) < 2 * CONNECTIONS, "those that wait, and what was under way meanwhile"
    held[0].send_signal(signal.SIGCONT)
    assert len(running.finish().stored) == IMAGES


def test_a_worker_that_stops_finishes_what_is_under_way(
    run: Run, site: FaultySite, held: list[subprocess.Popen[bytes]]
) -> None:
    running = run(transform=SMALL)
    wait_for(lambda: held and len(asked(site)) >= CONNECTIONS)
    assert running.loop is not None
    running.loop.stop()
    held[0].send_signal(signal.SIGCONT)
    running.thread.join(30)
    assert running.ended == [State.DRAINING]
    stored, waiting = running.broker.stored, {task.url for task in running.broker.waiting}
    assert len(stored) >= CONNECTIONS and waiting and not running.broker.given
    assert len(stored) + len(waiting) == IMAGES and not waiting & set(stored)
    assert set(running.rows()) == set(stored)


def test_what_does_not_end_in_time_is_left_to_others(
    run: Run, held: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawler.work.STOP_TIME", 0.5)
    running = run(transform=SMALL)
    wait_for(lambda: held and running.broker.given)
    assert running.loop is not None
    running.loop.stop()
    running.thread.join(30)
    assert running.ended == [State.DRAINING] and not running.broker.stored and not running.broker.failed
    assert held[0].poll() is not None, "the process ended with it"


def test_the_same_bytes_again_keep_their_shard_and_their_hash(
    run: Run, site: FaultySite, held: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00009.tar").write_bytes(bytes(1024))
    past = ImageResult(
        file="shards/00009.tar/000090000.png", sha256=sha256(png(1, 40, 30)), stored_sha256="5" * 64, phash="abc",
    )  # fmt: skip
    url = site.url + "/i/1.png"
    broker = run("/i/1.png", known={url: past}, transform=SMALL, phash=True, refresh="always").finish()
    _, result = broker.unchanged[url]
    assert (result.file, result.stored_sha256, result.phash) == (past.file, past.stored_sha256, past.phash)
    assert len(asked(site)) == 1 and not held


def test_bytes_that_came_anyway_are_hashed_though_they_are_the_same(run: Run, site: FaultySite, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00009.tar").write_bytes(bytes(1024))
    past = ImageResult(file="shards/00009.tar/000090000.png", sha256=sha256(png(1, 40, 30)))
    url = site.url + "/i/1.png"
    broker = run("/i/1.png", known={url: past}, phash=True, refresh="always").finish()
    _, result = broker.unchanged[url]
    assert result.phash == perceptual_hash(png(1, 40, 30)) and result.file == past.file


def test_what_is_fresh_is_not_fetched_for_its_hash(run: Run, site: FaultySite, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00009.tar").write_bytes(bytes(1024))
    past = ImageResult(file="shards/00009.tar/000090000.png", sha256=sha256(png(1, 40, 30)), max_age=1000)
    url = site.url + "/i/1.png"
    assert not run("/i/1.png", known={url: past}, phash=True).finish().stored
    assert not asked(site)


def test_other_bytes_are_transformed_and_hashed_anew(run: Run, site: FaultySite, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00009.tar").write_bytes(bytes(1024))
    past = ImageResult(file="shards/00009.tar/000090000.png", sha256="4" * 64, stored_sha256="5" * 64, phash="abc")
    url = site.url + "/i/1.png"
    running = run("/i/1.png", known={url: past}, transform=SMALL, phash=True, refresh="always")
    _, result = running.finish().stored[url]
    assert result.stored_sha256 == sha256(running.body(result)) and result.previous == past.file
    assert result.phash == perceptual_hash(png(1, 40, 30))


@pytest.mark.parametrize("store", ["files", "shards"])
def test_hashes_are_of_what_was_fetched(run: Run, site: FaultySite, store: str) -> None:
    transform = SMALL if store == "shards" else Transform()
    running = run("/i/1.png", "/i/2.png", phash=True, store=store, transform=transform)
    stored = running.finish().stored
    hashes = {f"{site.url}/i/{n}.png": perceptual_hash(png(n, 40, 30)) for n in (1, 2)}
    assert {url: result.phash for url, (_, result) in stored.items()} == hashes
    if store == "shards":
        assert {url: row["phash"] for url, row in running.rows().items()} == hashes


def test_without_the_flag_there_is_neither_hash_nor_process(run: Run, held: list[subprocess.Popen[bytes]]) -> None:
    stored = run(store="files").finish().stored
    assert {result.phash for _, result in stored.values()} == {""} and not held


def test_a_hash_that_cannot_be_had_costs_nothing_else(
    run: Run, site: FaultySite, held: list[subprocess.Popen[bytes]]
) -> None:
    running = run(*(f"/i/{n}.png" for n in range(6)), "/broken.png", "/x.heic", phash=True)
    wait_for(lambda: held)
    held[0].kill()
    broker = running.finish()
    assert not broker.failed and len(broker.stored) == 8
    without = {url for url, (_, result) in broker.stored.items() if not result.phash}
    assert {site.url + "/broken.png", site.url + "/x.heic"} <= without and len(without) in (2, 3)
    rows = running.rows()
    assert {url for url in rows if not rows[url]["phash"]} == without


def test_an_image_may_be_decoded_hashed_and_transformed(run: Run, site: FaultySite) -> None:
    running = run("/i/1.png", "/broken.png", verify="decode", phash=True, transform=SMALL)
    broker = running.finish()
    _, result = broker.stored[site.url + "/i/1.png"]
    assert result.phash and result.stored_sha256
    assert broker.failed[site.url + "/broken.png"].outcome == "undecodable"
    assert running.rows()[site.url + "/broken.png"]["status"] == "failed_to_download"
