"""Lists of URLs, in each format and from standard input: gone on with after a kill, other columns in the ledger."""

from __future__ import annotations

import csv
import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, kill_all, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import png

PATHS = [f"/i/{n}.png" for n in range(2600)]  # more than are read of a list at a time


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        for n, path in enumerate(PATHS):
            made.add(path, png(n))
        made.add("/", page(), "text/html")
        yield made


def test_a_list_is_gone_on_with_after_everything_was_killed(here: Here, site: FaultySite) -> None:
    path = here.folder / "list.txt"
    urls = [site.url + path for path in PATHS]
    path.write_text("\n".join(["# some are there twice", *urls, *urls[::9], ""]))
    door = here.start("crawler", *here.job("--urls", str(path)))
    wait_for(lambda: len(asked(site)) > 1000)
    kill_all(door)
    assert here.crawl("--urls", str(path), "--export")[0] == 0
    settled, before = here.rows("metadata.jsonl"), len(asked(site))
    assert 0 < len(settled) < 2600
    code, _, errors = here.crawl("--urls", str(path))
    assert code == 0 and "resuming" in errors
    assert not {site.url + path for path in asked(site)[before:]} & set(settled), "settled, and requested again"
    assert sorted(here.rows("metadata.jsonl")) == sorted(urls) and not here.rows("failures.jsonl")
    assert here.is_clean()


def test_a_list_from_standard_input_is_kept_for_the_next_start(here: Here, site: FaultySite) -> None:
    urls = [site.url + path for path in PATHS[:40]]
    first = here.start("crawler", *here.job("--urls", "-", "--max-images", "10"), stdin=subprocess.PIPE)
    _, errors = first.communicate("\n".join(urls) + "\n", timeout=30)
    assert first.returncode == 3, errors
    code, _, errors = here.crawl("--urls", "-")  # with nothing on standard input
    assert code == 0 and "resuming" in errors
    assert sorted(here.rows("metadata.jsonl")) == sorted(urls)
    assert sorted(asked(site)) == sorted(PATHS[:40])


def test_another_list_on_standard_input_does_not_replace_the_one_that_is_read(here: Here, site: FaultySite) -> None:
    job = here.job("--urls", "-", "--max-images", "10")
    first = here.start("crawler", *job, stdin=subprocess.PIPE)
    first.communicate("\n".join(site.url + path for path in PATHS[:40]), timeout=30)
    other = here.start("crawler", *job, stdin=subprocess.PIPE)
    _, errors = other.communicate(site.url + PATHS[50], timeout=30)
    assert (first.returncode, other.returncode) == (3, 2) and "is not finished" in errors
    assert here.crawl("--urls", "-")[0] == 0
    assert len(here.rows("metadata.jsonl")) == 40
    last = here.start("crawler", *here.job("--urls", "-"), stdin=subprocess.PIPE)
    _, errors = last.communicate(site.url + PATHS[50], timeout=30)
    assert last.returncode == 0, errors
    assert len(here.rows("metadata.jsonl")) == 41
    assert len(list((here.state / "j").glob("input-*"))) == 1


def test_each_odd_row_has_an_outcome_and_the_others_are_fetched(here: Here, site: FaultySite) -> None:
    good = [site.url + path for path in PATHS[:6]]
    path = here.folder / "list.jsonl"
    nowhere = "http://a..b/x.png"  # a name that no resolver can be asked for
    lines = [f'{{"url": "{url}"}}' for url in [*good, nowhere]]
    path.write_text("\n".join([*lines[:2], "[1]", *lines[2:4], '{"url": "no-url"}', '{"url": ', *lines[4:]]))
    code, _, errors = here.crawl("--urls", str(path), "--fail-above", "60")
    assert code == 0 and "6 success" in errors and "3 bad_url" in errors
    assert sorted(here.rows("metadata.jsonl")) == sorted(good)
    failures = here.rows("failures.jsonl")
    assert {url: row["outcome"] for url, row in failures.items()} == {
        nowhere: "dns",
        **dict.fromkeys(["[1]", "no-url", '{"url":'], "bad_url"),
    }


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("name", ["list.csv.gz", "list.parquet"])
def test_the_other_columns_of_a_table_are_in_the_ledger(here: Here, site: FaultySite, name: str) -> None:
    urls = [site.url + path for path in PATHS[:30]]
    rows = [
        {"url": "not this one", "picture": url, "text": f'ein "Zitat",\nÄpfel {n}', "licence": "CC0", "page": str(n)}
        for n, url in enumerate(urls)
    ]
    write_table(here.folder / name, rows)
    columns = ["--url-column", "picture", "--caption-column", "text"]
    code, _, errors = here.crawl("--urls", str(here.folder / name), *columns, "--processes", "1")
    assert code == 0, errors
    kept = here.rows("metadata.jsonl")
    assert sorted(kept) == sorted(urls)
    (mention,) = kept[urls[7]]["mentions"]
    assert mention["caption"] == 'ein "Zitat",\nÄpfel 7'
    assert mention["columns"] == {"url": "not this one", "licence": "CC0", "page": "7"}


def test_a_column_that_is_not_there_is_named(here: Here, site: FaultySite) -> None:
    path = here.folder / "list.csv.gz"
    write_table(path, [{"picture": site.url + PATHS[0], "text": "x"}])
    code, _, errors = here.crawl("--urls", str(path), "--url-column", "pictur")
    assert code == 2 and "no column 'pictur'; it has picture, text" in errors
