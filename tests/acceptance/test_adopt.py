"""A job whose state was lost, and whose ledger is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from acceptance.here import Here, asked, page
from servers.faulty import FaultySite
from servers.pictures import png
from servers.s3 import BUCKET, S3, needed

NAMES = [f"/i/{n}.png" for n in range(6)]


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        made.add("/", page(*NAMES), "text/html")
        for n, name in enumerate(NAMES):
            made.add(name, png(n), headers={"ETag": f'"{n}"'})
        made.add(NAMES[5], status=404)
        yield made


def test_nothing_is_fetched_again(here: Here, site: FaultySite) -> None:
    assert here.crawl(site.url)[0] == 0
    site.add(NAMES[0], png(10), headers={"ETag": '"10"'})
    assert here.crawl(site.url, "--refresh", "always")[0] == 0
    before, failed = here.rows("metadata.jsonl"), here.rows("failures.jsonl")
    shutil.rmtree(here.state / "j")
    code, _, errors = here.crawl(site.url)
    assert code == 2 and "belongs to another job, whose state is elsewhere or was removed" in errors
    count = len(site.requests)
    code, _, errors = here.crawl(site.url, "--adopt", "--refresh", "always")
    assert code == 0 and "j: run 3 finished" in errors and "6 images" in errors, errors
    rows = here.rows("metadata.jsonl")
    assert {row["outcome"] for row in rows.values()} == {"unchanged"}
    for url, row in before.items():
        same = {key: rows[url][key] for key in ("file_name", "sha256", "size", "etag", "width", "site", "previous")}
        assert same == {key: row[key] for key in same}
    assert here.rows("failures.jsonl").keys() == failed.keys()
    sent = [headers.get("if-none-match") for name in NAMES[:5] for headers in site.headers(name)[-1:]]
    assert sent == ['"10"', *(f'"{n}"' for n in range(1, 5))]
    assert sorted(asked(site)[-6:]) == NAMES and len(site.requests) == count + 9
    code, _, errors = here.crawl(site.url, "--adopt")
    assert code == 0 and "there is nothing to adopt" in errors and "run 4 finished" in errors


def test_what_is_not_there_is_said(here: Here, site: FaultySite) -> None:
    code, _, errors = here.crawl(site.url, "--adopt")
    assert code == 2 and "is no job's; leave --adopt out" in errors
    assert here.crawl(site.url)[0] == 0
    ledger = here.output / "j" / "metadata.jsonl"
    text = ledger.read_text()
    missing = (None, "there is no metadata.jsonl")
    for spoiled, said in ((text[:-20], "line 5: "), (text + text, "is in the ledger twice"), missing):
        shutil.rmtree(here.state / "j", ignore_errors=True)
        ledger.write_text(spoiled) if spoiled else ledger.unlink()
        code, _, errors = here.crawl(site.url, "--adopt")
        assert code == 2 and said in errors and "Traceback" not in errors, errors
    ledger.write_text(text)
    assert here.crawl(site.url, "--adopt")[0] == 0, "a state that was not made does no harm"


def test_from_a_bucket(here: Here, site: FaultySite) -> None:
    needed()
    with S3() as store:
        here.environment |= store.environment
        flags = ("--job", "j", "--output", f"s3://{BUCKET}/all", "--allow-net", "127.0.0.0/8")
        assert here.run("crawler", site.url, *flags)[0] == 0
        shutil.rmtree(here.state / "j")
        code, _, errors = here.run("crawler", site.url, *flags, "--adopt", "--refresh", "always")
        assert code == 0 and "5 unchanged" in errors, errors
