"""What the shards of a job really have in them, read with the standard library's tar and with pyarrow."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet


@dataclass
class Shards:
    """`rows` counts URLs over all tables, `samples` has the SHA-256 of images by their name in the ledger.

    `torn` names tars that are not whole, or say other than the table beside them; `names` are the files that a manifest
    accounts for.
    """

    rows: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def read_shards(directory: Path) -> Shards:
    """Read all that is in `shards` below the directory of a job."""
    folder, found = directory / "shards", Shards()
    manifest = json.loads((folder / "manifest.json").read_text())
    found.names.add("shards/manifest.json")
    for shard in manifest["shards"]:
        stem = f"{shard['number']:05d}"
        assert shard["tar"] == (f"{stem}.tar" if shard["samples"] else None)
        suffixes = (".tar", ".parquet", "_stats.json") if shard["tar"] else (".parquet", "_stats.json")
        found.names |= {f"shards/{stem}{suffix}" for suffix in suffixes}
        _read_shard(folder, stem, found)
    if (failures := folder / "failures.parquet").exists():
        found.names.add("shards/failures.parquet")
        found.rows.update(pyarrow.parquet.read_table(failures)["url"].to_pylist())
    return found


def _read_shard(folder: Path, stem: str, found: Shards) -> None:
    rows = pyarrow.parquet.read_table(folder / f"{stem}.parquet").to_pylist()
    found.rows.update(row["url"] for row in rows)
    told = {row["key"]: row for row in rows if row["status"] == "success"}
    if not told:
        assert not (folder / f"{stem}.tar").exists(), "an empty tar is broken to what loads it"
        return
    try:
        with tarfile.open(folder / f"{stem}.tar") as tar:
            bodies = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    except tarfile.TarError:
        found.torn.append(stem)
        return
    names = [f"{key}.{suffix}" for key in told for suffix in ("jpg", "json", "txt")]
    if list(bodies) != names:
        found.torn.append(stem)
    for key, row in told.items():
        sha256 = hashlib.sha256(bodies.get(f"{key}.jpg", b"")).hexdigest()
        beside = json.loads(bodies.get(f"{key}.json", b"{}"))
        if sha256 != row["sha256"] or beside.get("url") != row["url"] or beside.get("key") != key:
            found.torn.append(stem)
        found.samples[f"shards/{stem}.tar/{key}.jpg"] = sha256
