"""The files of images that are gone, removed where a person asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crawler.account import LedgerRow
from crawler.contracts import Broker, JobFolder
from crawler.errors import UsageError
from crawler.ledger import file_of
from crawler.progress import counted

#: What `--prune` means without a number: no more than this part of a job's files.
PART = "10%"
_BATCH = 1000


class Gone(NamedTuple):
    """How many files a job has, and of those of images that are gone, by name, the results and URLs."""

    files: int
    gone: dict[str, list[tuple[int, str]]]


def most_of(text: str, flag: str = "--prune") -> int | None:
    """Return how many files may be removed, None where it is a tenth of them; raises UsageError."""
    if text == PART:
        return None
    if not text.isdecimal() or not text.isascii():
        raise UsageError(f"{flag}: {text!r} is no number; write how many files may be removed")
    return int(text)


def prune(broker: Broker, folder: JobFolder, most: int | None) -> tuple[int, str]:
    """Remove the files of images that are gone, unless they are more than `most`.

    Earlier versions of such an image go with its file. Returns how many were removed, and why none was, or `""`.
    Raises StoreError.
    """
    found = _gone(broker)
    allowed = found.files // 10 if most is None else most
    if len(found.gone) > allowed:
        limit = "a tenth" if most is None else f"{most:,}"
        return 0, (
            f"{counted(len(found.gone), 'file')} of {found.files:,} would be pruned, more than {limit}: none was; "
            f"--prune {len(found.gone)} does it"
        )
    names = list(found.gone)
    for start in range(0, len(names), _BATCH):
        some = names[start : start + _BATCH]
        images = [image for name in some for image in found.gone[name]]
        folder.remove([*some, *folder.versions({url for _, url in images})])
        broker.prune([seq for seq, _ in images])
    return len(names), ""


def _gone(broker: Broker) -> Gone:
    files = 0
    gone: dict[str, list[tuple[int, str]]] = {}
    for row in rows_of(broker):
        if name := file_of(row):
            files += 1
            if row.gone:
                gone.setdefault(name, []).append((row.seq, row.url))
    for row in rows_of(broker) if gone else ():
        if not row.gone:
            gone.pop(file_of(row), None)  # http and https of one image share a file
    return Gone(files, gone)


def rows_of(broker: Broker) -> Iterator[LedgerRow]:
    """Give the current results of a job."""
    page = broker.ledger("", _BATCH)
    while page.rows:
        yield from page.rows
        page = broker.ledger(page.cursor, _BATCH)
