"""Lists of URLs, in each format and from standard input: gone on with after a kill, other columns in the ledger."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, children, kill_all, page, wait_for
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


def test_the_library_for_parquet_does_not_come_into_the_door(here: Here, site: FaultySite) -> None:
    write_table(here.folder / "list.parquet", [{"url": site.url + path} for path in PATHS])
    door = here.start("crawler", *here.job("--urls", str(here.folder / "list.parquet")))
    wait_for(lambda: len(asked(site)) > 100)
    words = [Path(f"/proc/{process}/cmdline").read_bytes() for process in (door.pid, *children(door.pid))]
    assert len(words) > 3 and len(set(words)) == 1, "with its threads there all would have had to start anew"
    _, errors = door.communicate(timeout=60)
    assert door.returncode == 0, errors
    assert len(here.rows("metadata.jsonl")) == len(PATHS)


def test_a_column_that_is_not_there_is_named(here: Here, site: FaultySite) -> None:
    path = here.folder / "list.csv.gz"
    write_table(path, [{"picture": site.url + PATHS[0], "text": "x"}])
    code, _, errors = here.crawl("--urls", str(path), "--url-column", "pictur")
    assert code == 2 and "no column 'pictur'; it has picture, text" in errors


def hashed(site: FaultySite, kinds: tuple[str, ...] = ("md5", "sha256")) -> list[dict[str, str]]:
    """Return rows of eight images with their hashes, of one or another kind."""
    rows = []
    for n, path in enumerate(PATHS[:8]):
        digest = hashlib.new(kinds[n % len(kinds)], png(n)).hexdigest()
        rows.append({"url": site.url + path, "text": f"picture {n}", "hash": digest, "id": str(n)})
    return rows


def outcomes(here: Here) -> dict[str, str]:
    """Return how each image ended, by its number."""
    rows = here.rows("metadata.jsonl") | here.rows("failures.jsonl")
    return {url.rpartition("/")[2].removesuffix(".png"): row["outcome"] for url, row in rows.items()}


def test_images_that_are_not_what_a_list_says_are_not_stored(here: Here, site: FaultySite) -> None:
    rows = hashed(site)
    rows[3]["hash"] = rows[5]["hash"] = "0" * 32
    rows[6]["hash"] = ""
    write_table(here.folder / "list.parquet", rows)
    flags = ["--urls", str(here.folder / "list.parquet"), "--verify-hash", "hash", "--caption-column", "text"]
    flags += ["--columns", "id", "--fail-above", "90", "--refresh", "always"]
    code, _, errors = here.crawl(*flags)
    assert code == 0 and "5 success, 3 wrong_hash" in errors
    failures = here.rows("failures.jsonl")
    assert failures[rows[3]["url"]]["message"].startswith(f"the list says md5 {'0' * 32}, its bytes have ")
    assert "has no hash" in failures[rows[6]["url"]]["message"]
    (mention,) = here.rows("metadata.jsonl")[rows[2]["url"]]["mentions"]
    assert (mention["caption"], mention["columns"], mention["row"]) == ("picture 2", {"id": "2"}, None)
    assert here.is_clean()

    asked_before = len(asked(site))
    rows[3]["hash"] = hashlib.sha1(png(3)).hexdigest()
    rows[4]["hash"] = "1" * 32
    write_table(here.folder / "list.parquet", rows)
    code, _, errors = here.crawl(*flags)
    assert code == 0, errors
    assert len(asked(site)) == asked_before + 8
    told = outcomes(here)
    assert {n for n, outcome in told.items() if outcome == "unchanged"} == {"0", "1", "2", "7"}
    assert {n for n, outcome in told.items() if outcome == "wrong_hash"} == {"4", "5", "6"} and told["3"] == "success"
    assert here.rows("metadata.jsonl")[rows[4]["url"]]["file_name"], "what an earlier run has stays"


def test_a_file_that_was_never_compared_is_before_it_rests(here: Here, site: FaultySite) -> None:
    """Without a version an image rests for a week; with a hash that is new its bytes are looked at."""
    rows = hashed(site, ("md5",))
    write_table(here.folder / "list.parquet", rows)
    assert here.crawl("--urls", str(here.folder / "list.parquet"))[0] == 0
    asked_before = len(asked(site))
    flags = ["--urls", str(here.folder / "list.parquet"), "--verify-hash", '["hash", "md5"]']
    for requests in (8, 0):
        code, _, errors = here.crawl(*flags)
        assert code == 0 and "8 unchanged" in errors
        assert len(asked(site)) == asked_before + requests
        asked_before = len(asked(site))


def test_what_was_not_compared_is_asked_for_without_conditions(here: Here, site: FaultySite) -> None:
    path = "/i/versioned.png"
    site.add(path, png(1), headers={"ETag": '"one"'})
    write_table(here.folder / "list.parquet", [{"url": site.url + path, "sha1": hashlib.sha1(png(1)).hexdigest()}])
    flags = ["--urls", str(here.folder / "list.parquet"), "--refresh", "always"]
    for more in ([], [], ["--verify-hash", "sha1"], ["--verify-hash", "sha1"]):
        code, _, errors = here.crawl(*flags, *more)
        assert code == 0, errors
    told = [sent.get("if-none-match") for sent in site.headers(path)]
    assert told == [None, '"one"', None, '"one"']


def test_rows_with_one_url_are_fetched_once_and_all_kept(here: Here, site: FaultySite) -> None:
    url, other = site.url + PATHS[0], site.url + PATHS[1]
    records = [{"url": url, "text": f"question {n % 30}"} for n in range(60)] + [{"url": other, "text": "alone"}]
    (here.folder / "list.json").write_text(json.dumps(records, indent=1))
    flags = ["--urls", str(here.folder / "list.json"), "--caption-column", "text"]
    for per, shown, total in (("url", 20, 30), ("row", 60, 60)):
        code, _, errors = here.crawl(*flags, "--per", per)
        assert code == 0, errors
        row = here.rows("metadata.jsonl")[url]
        assert (len(row["mentions"]), row["mentions_total"]) == (shown, total)
    said = {mention["row"]: mention["caption"] for mention in row["mentions"]}
    assert said == {n + 1: f"question {n % 30}" for n in range(60)}
    assert len(asked(site)) == 2
    code, out, _ = here.run("crawler.export", "--job", "j")  # from the state, without a broker
    exported = {row["url"]: row["mentions"] for row in map(json.loads, out.splitlines())}
    assert code == 0 and sorted(mention["row"] for mention in exported[url]) == list(range(1, 61))


def test_a_folder_of_lists_is_read_whole(here: Here, site: FaultySite) -> None:
    (here.folder / "lists").mkdir()
    rows = hashed(site)
    write_table(here.folder / "lists" / "a.parquet", rows[:3])
    write_table(here.folder / "lists" / "b.csv.gz", rows[3:6])
    (here.folder / "lists" / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[5:]))
    (here.folder / "lists" / "README.md").write_text("no list")
    code, _, errors = here.crawl("--urls", str(here.folder / "lists"))
    assert code == 0, errors
    kept = here.rows("metadata.jsonl")
    assert sorted(kept) == sorted(row["url"] for row in rows)
    assert {kept[row["url"]]["site"] for row in rows[:3]} == {"a.parquet"}
    assert kept[rows[7]["url"]]["site"] == "c.jsonl"


def test_a_compressed_table_comes_by_standard_input(here: Here, site: FaultySite) -> None:
    text = "".join(f"{row['url']}\t{row['text']}\n" for row in [{"url": "url", "text": "text"}, *hashed(site)])
    path = here.folder / "list.dat"
    path.write_bytes(gzip.compress(text.encode()))
    flags = ["--urls", "-", "--input-format", "tsv.gz", "--caption-column", "text"]
    with path.open("rb") as file:
        door = here.start("crawler", *here.job(*flags), stdin=file)
        _, errors = door.communicate(timeout=60)
    assert door.returncode == 0, errors
    kept = here.rows("metadata.jsonl")
    assert len(kept) == 8
    assert kept[site.url + PATHS[4]]["mentions"][0]["caption"] == "picture 4"
