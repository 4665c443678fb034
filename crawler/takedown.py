"""Images removed for good: their files, their rows, what records say of them; only that they are is remembered."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
from msgspec.structs import replace

from crawler.account import LedgerPage, LedgerRow
from crawler.brokers.forgetting import Forgotten
from crawler.brokers.local import job_lock
from crawler.brokers.offline import STATE_FILE
from crawler.brokers.records import Records
from crawler.errors import AlreadyRunning, StateError, UsageError
from crawler.keeper import Keeper
from crawler.ledger import file_of
from crawler.model import ImageResult, Kind, decode, pack, task_id
from crawler.outcomes import KEPT
from crawler.outputs import parse_output
from crawler.progress import counted, size
from crawler.settings import ForgetSettings
from crawler.shards.shard import FOLDER, tar_of
from crawler.shown import shown
from crawler.spec import Spec
from crawler.stores import open_folder
from crawler.urls import from_command_line, normalise

_BATCH = 1000
#: Images that are listed before a person is asked.
MOST_LISTED = 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Wanted:
    """What a person wants forgotten."""

    def __init__(self, settings: ForgetSettings) -> None:
        self.urls = {twin for text in settings.url for twin in _twins(text)}
        self.contents = [text.lower() for text in settings.sha256]
        self.sites = settings.site
        for text in self.contents:
            if not _SHA256.fullmatch(text):
                raise UsageError(f"--sha256: {text!r} is no SHA-256 (64 hexadecimal digits)")
        if not (self.urls or self.contents or self.sites):
            raise UsageError("nothing to forget: name images with --url, --sha256 or --site")

    def has(self, row: LedgerRow) -> bool:
        """Tell whether a row's content is wanted, or where its redirects ended."""
        results = [decode(raw, ImageResult) for raw in (row.result, row.kept) if bytes(raw) != b"\xc0"]
        return any(result.sha256 in self.contents or result.final_url in self.urls for result in results)

    def names(self, file: str) -> bool:
        """Tell whether a file's name is that of a content that is wanted."""
        return any(f"-{sha256[:12]}." in file for sha256 in self.contents)


def sites_of(spec: Spec, sites: Iterable[str]) -> dict[str, str]:
    """Return the names of the sources of a job that `sites` names, by name or URL, by their URLs."""
    wanted = {*sites, *map(from_command_line, sites)}
    return {url: detail.name or url for url, detail in spec.sources if wanted & {detail.name, url}}


def _twins(text: str) -> tuple[str, str]:
    """Return the URL, with http and with https, whose file is one."""
    url = normalise(text.strip())
    if url is None:
        raise UsageError(f"--url: {text!r} is no http or https URL")
    rest = url.partition("://")[2]
    return f"http://{rest}", f"https://{rest}"


def _files_of(row: LedgerRow) -> Iterator[str]:
    """Give the files that a row names, also those of earlier runs, and the table that a failure is in."""
    for raw in (row.result, row.kept):
        if bytes(raw) != b"\xc0":
            result = decode(raw, ImageResult)
            yield from (result.file, result.previous)


def _is_table(file: str) -> bool:
    return file.startswith(f"{FOLDER}/") and file.endswith(".parquet")


class JobOfState:
    """A job that nobody runs, by its state and its folder; it is ours while its lock is."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self.name = directory.name
        self._records = records = Records(directory / STATE_FILE)
        spec = records.meta("spec")
        self.spec = decode(spec, Spec) if spec else Spec(job=self.name)
        self.folder = open_folder(parse_output(self.spec.output), self.name, endpoint)
        self._keeper = Keeper(self.folder, directory)
        self.sites: dict[str, str] = {}  #: names of the sources that are wanted, by URL
        self.rows: list[LedgerRow] = []  #: of what is wanted
        self.files: set[str] = set()

    def close(self) -> None:
        self._records.close()

    def ledger(self, cursor: str, limit: int) -> LedgerPage:
        return self._records.results.ledger(int(cursor or 0), limit)

    def look_for(self, wanted: Wanted) -> None:
        """Find the rows and the files of what is wanted; raises StoreError, StateError where the folder is gone.

        Raises UsageError where some of it is in shards.
        """
        self.sites = sites_of(self.spec, wanted.sites)
        names = set(self.sites.values())
        for row in self._all_rows():
            if row.url in wanted.urls or row.site in names or wanted.has(row):
                self.rows.append(row)
        if in_shards := {file for row in self.rows for file in _files_of(row) if tar_of(file) or _is_table(file)}:
            raise UsageError(
                f"job {self.name} has {min(in_shards)}, and nothing is taken out of shards: make them anew in another "
                "job, with --exclude, and remove this one; others are named with --job"
            )
        if not self.folder.is_marked():
            if any(map(file_of, self.rows)):
                raise StateError(f"job {self.name} has images, but {self.folder} is gone: mount it first")
            return
        self.files.update(filter(None, map(file_of, self.rows)))
        self.files.update(self.folder.versions({row.url for row in self.rows} | wanted.urls))
        for sha256 in wanted.contents:
            self.files.update(self.folder.with_content(sha256))
        found = {row.seq for row in self.rows}
        self.files.difference_update(file_of(row) for row in self._all_rows() if row.seq not in found)

    def _all_rows(self) -> Iterator[LedgerRow]:
        page = self.ledger("", _BATCH)
        while page.rows:
            yield from page.rows
            page = self.ledger(page.cursor, _BATCH)

    def forget(self, wanted: Wanted) -> None:
        """Forget what was found: first that it is not to be fetched, then its files, then its rows.

        Whoever was killed meanwhile does it again: what was to be written after that is then written.
        """
        forgetting = self._records.forgetting
        ids = [task_id(Kind.IMAGE, url) for url in wanted.urls]
        refused = Forgotten(wanted.contents, list(self.sites), [identity.hex() for identity in ids])
        with self._changing():
            is_known = forgetting.refuse(refused)
        self.folder.remove(sorted(self.files))
        with self._changing():
            forgetting.forget(self._numbers(ids))
            self._records.results.amend(self._without_previous(wanted))
        if self.folder.is_marked() and (is_known or self.rows or self.files):
            self._keeper.write(self)
            self._keeper.scrub(
                self.name,
                lambda url: forgetting.is_forgotten(task_id(Kind.IMAGE, url)),
                lambda name: name in self.files or wanted.names(name),
            )

    def _numbers(self, ids: list[bytes]) -> set[int]:
        """Return the numbers of the images that are to be forgotten, with those that have no result yet."""
        found = self._records.tasks.find_all([task_id(Kind.IMAGE, row.url) for row in self.rows])
        numbers = {known.number for known in found.values()}
        numbers |= {self._records.forgetting.number_of(identity) for identity in ids}
        sources = [number for number, url, _ in self._records.tasks.sources() if url in self.sites]
        return numbers | set(self._records.forgetting.waiting_images(sources))

    def _without_previous(self, wanted: Wanted) -> dict[int, msgspec.Raw]:
        """Return, by number, results that name an earlier file which is forgotten, without it."""
        changed = {}
        for row in self._all_rows():
            if row.outcome in KEPT:
                result = decode(row.result, ImageResult)
                if result.previous and (result.previous in self.files or wanted.names(result.previous)):
                    changed[row.seq] = pack(replace(result, previous=""))
        return changed

    def _changing(self) -> ExitStack:
        """Make what is done inside one durable transaction."""
        stack = ExitStack()
        self._records.start()
        stack.push(lambda kind, *_: self._records.rollback() if kind else self._records.commit())
        return stack


def take_down(settings: ForgetSettings) -> int:
    """Show what would be forgotten, ask, and forget it; return the exit code."""
    wanted = Wanted(settings)
    with ExitStack() as stack:
        jobs = []
        for directory in _directories(settings):
            try:
                stack.enter_context(job_lock(directory))
            except AlreadyRunning as error:
                raise AlreadyRunning(f"{error}; wait for its end, or name another with --job") from None
            job = JobOfState(directory, settings.store_endpoint)
            stack.callback(job.close)
            jobs.append(job)
        try:
            return _forget(jobs, wanted, settings)
        except sqlite3.Error as error:
            raise StateError(f"the state of a job cannot be used: {error}; the same command goes on") from error


def _directories(settings: ForgetSettings) -> list[Path]:
    state = settings.state_directory
    found = sorted(path.parent for path in state.glob(f"*/{STATE_FILE}")) if state.is_dir() else []
    if settings.job:
        found = [path for path in found if path.name == settings.job]
    if not found:
        raise UsageError(
            f"there is no job {settings.job} in {state}" if settings.job else f"there are no jobs in {state}"
        )
    return found


def _forget(jobs: list[JobOfState], wanted: Wanted, settings: ForgetSettings) -> int:
    for site in wanted.sites:
        if not any(sites_of(job.spec, [site]) for job in jobs):
            raise UsageError(f"--site: no job has a site {site!r}")
    for job in jobs:
        job.look_for(wanted)
        _show(job)
    if not settings.yes and not _is_agreed(jobs):
        print("nothing was changed", file=sys.stderr)
        return 1
    for job in jobs:
        job.forget(wanted)
        print(shown(f"{job.name}: {counted(len(job.rows), 'image')}, {counted(len(job.files), 'file')} forgotten"))
    return 0


def _show(job: JobOfState) -> None:
    for row in job.rows[:MOST_LISTED]:
        print(shown(f"{job.name}: {row.url}  {row.outcome}  {file_of(row)}  {size(row.kept_size or row.size)}"))
    if len(job.rows) > MOST_LISTED:
        print(shown(f"{job.name}: and {len(job.rows) - MOST_LISTED:,} more images"))
    rest = job.files - {file_of(row) for row in job.rows}
    for name in sorted(rest)[:MOST_LISTED]:
        print(shown(f"{job.name}: {name}  an earlier version"))
    if len(rest) > MOST_LISTED:
        print(shown(f"{job.name}: and {len(rest) - MOST_LISTED:,} more earlier versions"))


def _is_agreed(jobs: list[JobOfState]) -> bool:
    images, files = sum(len(job.rows) for job in jobs), sum(len(job.files) for job in jobs)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("--yes is needed where nobody can be asked")
    question = f"Remove {counted(images, 'image')}, {counted(files, 'file')}, and never fetch them again? [y/N] "
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
