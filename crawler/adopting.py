"""A job whose state was lost, taken up by what its ledger says, so that nothing is fetched again."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from crawler.brokers.adoption import Adopted, adopt, known_job
from crawler.brokers.local import job_lock
from crawler.brokers.offline import STATE_FILE
from crawler.contracts import JobFolder
from crawler.errors import UsageError
from crawler.ledger import FAILURES, METADATA
from crawler.manifest import read_manifest
from crawler.model import ImageResult
from crawler.spec import Spec

log = logging.getLogger(__name__)


class _Row(msgspec.Struct):
    """A line of a ledger's file, of whatever version of the program."""

    url: str
    outcome: str
    run: int
    time: datetime.datetime
    site: str = ""
    message: str = ""
    size: int = 0
    file_name: str = ""
    sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    active: bool = False
    final_url: str = ""
    status: int = 0
    etag: str = ""
    last_modified: str = ""
    previous: str | None = None
    gone: bool = False
    stored_sha256: str = ""
    phash: str = ""

    @property
    def result(self) -> ImageResult | None:
        if not self.file_name:
            return None
        return ImageResult(
            file=self.file_name, sha256=self.sha256, format=self.format, width=self.width, height=self.height,
            active=self.active, final_url="" if self.final_url == self.url else self.final_url, status=self.status,
            etag=self.etag, last_modified=self.last_modified, previous=self.previous or "",
            stored_sha256=self.stored_sha256, phash=self.phash,
        )  # fmt: skip


def take_over(spec: Spec, directory: Path, folder: JobFolder) -> None:
    """Fill the state in `directory`, where it is lost, from the ledger in `folder`.

    Raises UsageError where there is none, or where a state is there that is another job's.
    """
    job_id = folder.job_id()
    if not job_id:
        raise UsageError(f"--adopt: {folder} is no job's; leave --adopt out to begin anew")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with job_lock(directory):
        known = known_job(directory / STATE_FILE)
        if known == job_id:
            log.info("job %s has its state; there is nothing to adopt", spec.job)
            return
        if known:
            raise UsageError(f"--adopt: {directory} holds the state of another job than {folder}; choose another --job")
        shards = read_manifest(folder, directory)
        number = adopt(directory / STATE_FILE, spec, job_id, _rows(folder, directory), shards)
    log.info("the state of job %s was made anew from the ledger in %s: %d images", spec.job, folder, number)


def _rows(folder: JobFolder, into: Path) -> Iterator[Adopted]:
    decode = msgspec.json.Decoder(_Row).decode
    files = {name: folder.fetched(name, into) for name in (METADATA, FAILURES)}
    if files[METADATA] is None:
        raise UsageError(f"--adopt: there is no {METADATA} in {folder}")
    seen: set[str] = set()
    for name, path in files.items():
        if path is None:
            continue
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = decode(line)
                except msgspec.MsgspecError as error:
                    raise UsageError(f"--adopt: {folder}/{name}, line {number}: {error}") from error
                if row.url in seen:
                    raise UsageError(f"--adopt: {folder}/{name}, line {number}: {row.url} is in the ledger twice")
                seen.add(row.url)
                yield Adopted(
                    url=row.url, site=row.site, outcome=row.outcome, message=row.message, run=row.run,
                    time=row.time.timestamp(), size=row.size, gone=row.gone, result=row.result,
                )  # fmt: skip
