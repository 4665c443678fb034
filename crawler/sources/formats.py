"""The formats of lists: which a file has, and which files of a folder are lists."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from crawler.errors import UsageError

#: What a list may be told to be; also what the files of a folder are told by.
FORMATS: Final = (
    "txt", "txt.gz", "csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "json", "json.gz", "parquet",
)  # fmt: skip
#: Kinds by the ends of names.
_ENDS: Final = {
    "txt": "txt", "": "txt", "lst": "txt", "csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "ndjson": "jsonl",
    "json": "json", "parquet": "parquet",
}  # fmt: skip


def list_format(path: Path, format: str = "") -> str:
    """Return `txt`, `csv`, `tsv`, `jsonl`, `json` or `parquet`: what `format` says, or else the name.

    Raises UsageError for another.
    """
    if format:
        return format.removesuffix(".gz")
    end = _end(path.name)
    if end not in _ENDS:
        raise UsageError(
            f"{path} is no list that can be read: use .txt, .csv, .tsv, .json, .jsonl or .parquet (and .gz), or say "
            "with --input-format what it is"
        )
    return _ENDS[end]


def is_compressed(path: Path, format: str = "") -> bool:
    return path.name.lower().endswith(".gz") or format.endswith(".gz")


def lists_in(folder: Path, format: str = "") -> list[Path]:
    """Return the lists in `folder` by their names: those that end in `format`, or else in any that is one's."""
    found = []
    for path in folder.iterdir():
        end = _end(path.name)
        wanted = path.name.lower().endswith(f".{format}") if format else bool(end) and end in _ENDS
        if wanted and path.is_file() and not path.name.startswith((".", "_")):
            found.append(path)
    return sorted(found)


def _end(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix.lstrip(".")
