from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from acceptance.fleet.judging import Found, judge, manners
from servers.manners import Asked

IMAGES = {f"http://h/{number}": bytes([number]) for number in range(3)}
DIGESTS = {url: hashlib.sha256(body).hexdigest() for url, body in IMAGES.items()}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    rows = [{"url": url, "file_name": f"h/{url[-1]}"} for url in IMAGES]
    (tmp_path / "h").mkdir()
    for row in rows:
        (tmp_path / row["file_name"]).write_bytes(IMAGES[row["url"]])
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "failures.jsonl").write_text("")
    return tmp_path


def test_all_is_well(job: Path) -> None:
    assert judge(job, DIGESTS) == Found(lost=0, double=0, partial=0, left_over=0, failed=0)


def test_each_wrong_is_seen(job: Path) -> None:
    lines = (job / "metadata.jsonl").read_text().splitlines(keepends=True)
    (job / "metadata.jsonl").write_text("".join([lines[0], lines[0], lines[1]]))
    (job / "failures.jsonl").write_text(lines[1])
    (job / "h/1").write_bytes(b"")
    (job / ".incoming").mkdir()
    assert judge(job, DIGESTS) == Found(lost=1, double=2, partial=1, left_over=2, failed=1)


def test_bad_manners_are_seen() -> None:
    asked = [Asked(start, start + 1, "h", "c", 200, "/") for start in (0.0, 0.5, 0.7, 3.0)]
    seen = manners(asked, [], most=2, delay=1.5)
    assert (seen.most_at_once, seen.too_many, seen.too_close) == (3, 1, 3)
