"""Redis has the queue and a bucket the rest: results go into it, out of Redis, and every collector reads them there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as library

from acceptance.here import OPEN, Here, kill_all, wait_for
from crawler.brokers.redis.broker import WRITTEN_TOGETHER
from servers.faulty import FaultySite
from servers.pictures import jpeg
from servers.redis import RedisServer, redis_server, required
from servers.s3 import BUCKET, S3, forget_stores, needed

OUTPUT = f"s3://{BUCKET}/prefix"
#: Images that are there, and images that are missing: more in one partition than it keeps.
THERE, MISSING = 100, WRITTEN_TOGETHER + 500


@pytest.fixture
def s3() -> Iterator[S3]:
    needed()
    with S3() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    required()
    with redis_server() as server:
        yield server


@pytest.fixture
def here(here: Here, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Commands whose environment names the object store."""
    forget_stores(monkeypatch)
    here.environment = {**os.environ, "XDG_STATE_HOME": here.environment["XDG_STATE_HOME"], **s3.environment}
    return here


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.slow("/i/0.jpg", jpeg(0, 3000), 9.0)  # so that the run lasts until results have left Redis
        for n in range(1, THERE):
            made.add(f"/i/{n}.jpg", jpeg(n, 3000))
        yield made


def flags(here: Here, site: FaultySite, redis: RedisServer) -> list[str]:
    path = here.folder / "urls.txt"
    names = [f"/i/{n}.jpg" for n in range(THERE)] + [f"/missing/{n}.jpg" for n in range(MISSING)]
    path.write_text("".join(f"{site.url}{name}\n" for name in names))
    return [
        "--server", redis.url, "--urls", str(path), "--job", "j", "--output", OUTPUT, "--log-file", str(here.log),
        "--ignore-robots", "--processes", "1", "--requests-per-host", "64", "--fail-above", "100", "--lease", "2",
        *OPEN,
    ]  # fmt: skip


def parts(s3: S3) -> list[str]:
    return s3.names("prefix/j/.ledger/")


def in_redis(redis: RedisServer) -> int:
    """Return how many results Redis still has."""
    with library.Redis.from_url(redis.url) as client:
        streams = [client.xrange(key) for key in client.scan_iter("*:results")]
    return sum(int(fields[b"n"]) for stream in streams for _, fields in stream)


def ledger(s3: S3) -> dict[str, list[str]]:
    """Return the lines of the ledger's files."""
    names = ("metadata.jsonl", "failures.jsonl")
    return {name: s3.objects(f"prefix/j/{name}")[f"prefix/j/{name}"].decode().splitlines() for name in names}


def is_exact(s3: S3, site: FaultySite) -> bool:
    lines = ledger(s3)
    for name, path, number in (("metadata.jsonl", "i", THERE), ("failures.jsonl", "missing", MISSING)):
        urls = [found[1] for line in lines[name] if (found := re.search(r'"url":"([^"]+)"', line))]
        assert sorted(urls) == sorted(f"{site.url}/{path}/{n}.jpg" for n in range(number))
    return True


def test_results_go_into_the_bucket_and_out_of_redis(
    here: Here, s3: S3, redis: RedisServer, site: FaultySite, tmp_path: Path
) -> None:
    code, out, errors = here.run("crawler.collect", *flags(here, site, redis), seconds=240)
    assert code == 0, errors
    assert sum(line.startswith(f"{site.url}/") for line in set(out.splitlines())) == THERE + MISSING
    assert is_exact(s3, site)
    assert parts(s3) and in_redis(redis) <= MISSING + THERE - WRITTEN_TOGETHER
    code, _, errors = here.run("crawler.status", "--server", redis.url, "j")
    assert code == 0, errors
    before = ledger(s3)
    s3.client.delete_object(Bucket=BUCKET, Key="prefix/j/metadata.jsonl")
    here.environment["XDG_STATE_HOME"] = str(tmp_path / "another state")
    code, _, errors = here.run("crawler.collect", *flags(here, site, redis), "--export")
    assert code == 0 and f"{THERE} images and {MISSING:,} failures are in {OUTPUT}/j" in errors, errors
    assert ledger(s3) == before


def test_a_collector_killed_while_it_writes_out_loses_and_doubles_nothing(
    here: Here, s3: S3, redis: RedisServer, site: FaultySite
) -> None:
    door = here.start("crawler.collect", *flags(here, site, redis), "--quiet")
    wait_for(lambda: parts(s3), 120)
    kill_all(door)
    code, _, errors = here.run("crawler.collect", *flags(here, site, redis), "--quiet", seconds=240)
    assert code == 0, errors
    assert is_exact(s3, site)
    assert in_redis(redis) <= MISSING + THERE - WRITTEN_TOGETHER
