from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crawler import report
from crawler.account import Counts, SiteCounts
from crawler.errors import StoreError
from crawler.ledger import write_ledger
from crawler.model import ImageResult, State, pack
from crawler.report import (
    Change,
    Comparison,
    Record,
    changes,
    earlier_runs,
    forget_records,
    latest_record,
    shrunk,
    write_record,
)
from test_ledger import Results, row, saved

RUN = 2


def kept(seq: int, outcome: str, **more: Any) -> Any:
    result = pack(ImageResult(file=f"{seq}.jpg", sha256=f"{seq:064}", previous=more.pop("previous", "")))
    return row(seq, f"http://a.test/{seq}", outcome, result=result, size=1, **more)


def counts(**more: Any) -> Counts:
    values: dict[str, Any] = {"run": RUN, "state": State.FINISHED, "began": 86400.0, "ended": 86410.5, **more}
    return Counts(**values)


def seen(tmp_path: Path, *rows: Any) -> Comparison:
    comparison = Comparison(RUN)
    for number in rows:
        number.run = getattr(number, "run", 1)
    write_ledger(Results(*rows), tmp_path, comparison.see)
    return comparison


def of_run(made: Any, run: int = RUN) -> Any:
    made.run = run
    return made


@pytest.mark.parametrize(
    ("made", "change"),
    [
        (of_run(kept(1, "success")), Change.NEW),
        (of_run(kept(1, "success", previous="0.jpg")), Change.CHANGED),
        (of_run(kept(1, "success", before="http_500")), Change.WORKS_AGAIN),
        (of_run(kept(1, "success", before="http_500", previous="0.jpg")), Change.CHANGED),
        (of_run(kept(1, "unchanged", before="success")), Change.UNCHANGED),
        (of_run(kept(1, "unchanged", before="unchanged", previous="0.jpg")), Change.UNCHANGED),
        (of_run(kept(1, "unchanged", before="timeout")), Change.WORKS_AGAIN),
        (of_run(row(1, "u", "reported")), Change.NEW),
        (of_run(row(1, "u", "timeout")), Change.FAILED),
        (of_run(row(1, "u", "timeout", before="success")), Change.FAILED),
        (of_run(row(1, "u", "timeout", before="http_404")), Change.FAILED_AGAIN),
        (of_run(row(1, "u", "opted_out", before="opted_out")), Change.LEFT_ALONE),
        (of_run(row(1, "u", "http_404", gone=RUN)), Change.GONE),
        (of_run(kept(1, "success", gone=RUN), 1), Change.GONE),
        (of_run(kept(1, "success", gone=1), 1), ""),
        (of_run(kept(1, "success"), 1), ""),
        (of_run(row(1, "u", "timeout"), 1), ""),
    ],
)
def test_what_a_run_is_to_an_image(tmp_path: Path, made: Any, change: str) -> None:
    assert dict(seen(tmp_path, made).images) == {change: 1}


def test_a_record(tmp_path: Path) -> None:
    rows = [of_run(kept(n, "success", before="" if n else "dns")) for n in range(3)]
    sites = [SiteCounts(url="http://a.test/", outcomes={"success": 3}, first_outcome="success")]
    record = seen(tmp_path, *rows).record("j", counts(sites=sites, bytes=7), ["look"])
    file = write_record(record, tmp_path)
    assert file == tmp_path / "runs" / "1970-01-02T000000Z.json"
    read = json.loads(file.read_text())
    assert (read["began"], read["ended"], read["seconds"]) == ("1970-01-02T00:00:00Z", "1970-01-02T00:00:10Z", 10.5)
    assert read["images"] == {"new": 2, "works_again": 1} and read["attention"] == ["look"]
    assert [image["url"] for image in read["named"]["new"]] == ["http://a.test/1", "http://a.test/2"]
    assert read["named"]["works_again"][0]["before"] == "dns"
    assert write_record(record, tmp_path) == file and latest_record(tmp_path, "j", RUN + 1) == record
    assert changes(record) == "2 new, 1 failed before and work now"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_record_names_so_many_and_counts_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_NAMED", 2)
    comparison = seen(tmp_path, *[of_run(kept(n, "success")) for n in range(5)])
    assert comparison.images == {"new": 5} and len(comparison.named["new"]) == 2


def test_a_record_names_some_of_each_kind_of_failure_the_first_ones_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_EXAMPLES", 3)
    before = ["dns", "dns", "", "dns", "success", "dns", "", "", "unchanged"]
    rows = [of_run(row(n, f"u{n}", "timeout", before=outcome)) for n, outcome in enumerate(before)]
    rows += [of_run(row(20, "u20", "http_500")), of_run(row(21, "u21", "http_404", gone=RUN)), row(22, "u22", "dns")]
    rows += [of_run(row(23, "u23", "opted_out"))]
    failures = seen(tmp_path, *rows).record("j", counts(), []).failures
    assert {outcome: (kind.images, kind.first) for outcome, kind in failures.items()} == {
        "timeout": (9, 5), "http_500": (1, 1),
    }  # fmt: skip
    assert [image.url for image in failures["timeout"].named] == ["u2", "u4", "u6"]
    few = seen(tmp_path, *rows[:4]).record("j", counts(), []).failures["timeout"].named
    assert [image.url for image in few] == ["u2", "u0", "u1"]


def made(job: str, run: int, began: float, **sites: int) -> Record:
    found = [SiteCounts(url=url, outcomes={"success": number}) for url, number in sites.items()]
    return Comparison(run).record(job, counts(began=began, ended=began, sites=found), [])


def test_the_latest_record_of_an_earlier_run(tmp_path: Path) -> None:
    assert latest_record(tmp_path, "j", 9) is None
    for run in (1, 2, 3):
        write_record(made("j", run, run * 86400.0), tmp_path)
    write_record(made("other", 1, 5 * 86400.0), tmp_path)
    (tmp_path / "runs" / "9999.json").write_text("[1")
    latest = latest_record(tmp_path, "j", 3)
    assert latest is not None and latest.run == 2


def test_the_numbers_of_earlier_runs(tmp_path: Path) -> None:
    for run in range(1, 8):
        write_record(made("j", run, run * 86400.0), tmp_path)
    write_record(made("other", 1, 5.5 * 86400.0), tmp_path)
    (tmp_path / "runs" / "9999.json").write_text("[1")
    assert [numbers.run for numbers in earlier_runs(tmp_path, "j", 6, 3)] == [3, 4, 5]
    assert [numbers.run for numbers in earlier_runs(tmp_path, "j", 2, 3)] == [1]
    assert earlier_runs(tmp_path / "none", "j", 2, 3) == []


def test_a_record_of_the_version_before_is_one(tmp_path: Path) -> None:
    file = write_record(made("j", 1, 0.0), tmp_path)
    fields = json.loads(file.read_text())
    del fields["failures"]
    file.write_text(json.dumps(fields))
    assert latest_record(tmp_path, "j", 2) == made("j", 1, 0.0)


def test_only_so_many_records_stay(tmp_path: Path) -> None:
    for run in range(1, 6):
        write_record(made("j", run, run * 86400.0), tmp_path)
    write_record(made("other", 1, 9 * 86400.0), tmp_path)
    forget_records(tmp_path, "j", 3)
    left = [json.loads(path.read_text()) for path in sorted((tmp_path / "runs").glob("*.json"))]
    assert [(record["job"], record["run"]) for record in left] == [("j", 4), ("j", 5), ("other", 1)]


def test_a_record_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_record(made("j", 1, 0.0), tmp_path)


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "runs").symlink_to(tmp_path / "elsewhere")
    write_record(made("j", 1, 0.0), tmp_path / "job")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(("now", "before", "told"), [
    (49, 100, True), (50, 100, False), (0, 10, True), (0, 9, False), (100, 0, False),
])  # fmt: skip
def test_a_site_with_half_of_its_images(now: int, before: int, told: bool) -> None:
    sites = [SiteCounts(url="site", outcomes={"unchanged": now})]
    lines = shrunk(counts(sites=sites), made("j", 1, 0.0, site=before))
    assert lines == ([f"site: {now} images, and {before} in run 1"] if told else [])
    assert not shrunk(counts(sites=sites, already_there=1), made("j", 1, 0.0, site=before))
    assert not shrunk(counts(sites=sites), None)


def test_rows_without_a_change_are_seen_once(tmp_path: Path) -> None:
    assert seen(tmp_path, saved(1, "u1"), row(2, "u2", "http_404")).images == {"": 2}
