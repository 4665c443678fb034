"""What a run came to beside the one before: for the person who reads it, and as a record that stays."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from crawler.account import Counts, LedgerRow, SiteCounts
from crawler.errors import StoreError
from crawler.ledger import Kept
from crawler.outcomes import LEFT_ALONE, SUCCESSES, Outcome
from crawler.progress import called, counted
from crawler.stores.files import draft_of
from crawler.stores.folders import write_file

#: The folder of records in a job's folder.
RUNS = "runs"
#: The report of the last run, in a job's folder.
REPORT = "report.html"
#: Images of one change that a record names; the ledger has all.
MOST_NAMED = 1000
#: Images that a record names of each kind of failure.
MOST_EXAMPLES = 5
#: Images of a site below which half of them is no news.
FEW = 10
_JSON = msgspec.json.Encoder()
_NO_FAILURES = frozenset({"", Outcome.PRUNED, *SUCCESSES})


class Change:
    """What a run is to an image, beside the run before that named it."""

    NEW = "new"  #: it was not there
    CHANGED = "changed"  #: it is another picture
    UNCHANGED = "unchanged"
    GONE = "gone"  #: it is missing, or no page names it any more
    WORKS_AGAIN = "works_again"  #: it failed before
    FAILED = "failed"
    FAILED_AGAIN = "failed_again"  #: as it did before
    LEFT_ALONE = "left_alone"  #: its page or its server wants it so


_FAILURES = frozenset({Change.FAILED, Change.FAILED_AGAIN})


class Named(msgspec.Struct, omit_defaults=True):
    """An image of a record; what is empty is left out."""

    url: str
    file_name: str = ""
    previous: str = ""
    same_as: str = ""
    outcome: str = ""
    message: str = ""
    before: str = ""


class Site(msgspec.Struct):
    """What became of one source: of its images by outcome, and of its first page."""

    url: str
    images: dict[str, int]
    first_page: str
    name: str = ""
    stopped: str = ""  #: the limit of its own that it came to


class Kind(msgspec.Struct):
    """The images that failed with one outcome: how many, for the first time too, and some, those first."""

    images: int = 0
    first: int = 0
    named: list[Named] = []


class Numbers(msgspec.Struct, kw_only=True):
    """A run that is finished, in numbers; times are UTC."""

    job: str
    run: int
    began: str
    ended: str
    seconds: float
    images: dict[str, int]  #: by change
    outcomes: dict[str, int]  #: of images
    pages: dict[str, int]  #: by outcome
    left_out: dict[str, int]
    already_there: int
    bytes: int


class Record(Numbers, kw_only=True):
    """A run that is finished, with what it came to."""

    attention: list[str]
    sites: list[Site]
    named: dict[str, list[Named]]  #: by change, MOST_NAMED of each
    failures: dict[str, Kind] = msgspec.field(default_factory=dict)  #: by outcome

    @property
    def file_name(self) -> str:
        """The name of its file, the same for the same run."""
        return f"{self.began.replace(':', '')}.json"


_N = TypeVar("_N", bound=Numbers)


class Comparison:
    """Sees the rows of a ledger as they are written, and tells what the latest run was to each."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.images: Counter[str] = Counter()
        self.named: dict[str, list[Named]] = {}
        self.failures: dict[str, Kind] = {}

    def see(self, rows: Iterable[tuple[LedgerRow, Kept | None]]) -> None:
        """Take rows, each with its line where it has a file."""
        rows, run = list(rows), self.run
        changes = [
            _change(row.gone == run, row.run == run, row.outcome, row.before, line is not None and bool(line.previous))
            for row, line in rows
        ]
        self.images.update(changes)
        wanted = {change for change in set(changes) if change in _FAILURES or self._names(change)}
        if not wanted:
            return
        for (row, line), change in zip(rows, changes, strict=True):
            if change in wanted:
                self._note(change, row, line)

    def _names(self, change: str) -> bool:
        """Tell whether a record is to name one more image with this change."""
        return change not in ("", Change.UNCHANGED) and len(self.named.get(change, ())) < MOST_NAMED

    def _note(self, change: str, row: LedgerRow, line: Kept | None) -> None:
        if self._names(change):
            self.named.setdefault(change, []).append(_named(row, line))
        if change in _FAILURES:
            self._see_failure(row, line, is_first=change == Change.FAILED)

    def _see_failure(self, row: LedgerRow, line: Kept | None, *, is_first: bool) -> None:
        """Count a failure by its kind; what failed for the first time is named rather than what did before."""
        kind = self.failures.setdefault(row.outcome, Kind())
        kind.images += 1
        kind.first += is_first
        if is_first and kind.first <= MOST_EXAMPLES:
            kind.named.insert(kind.first - 1, _named(row, line))
            del kind.named[MOST_EXAMPLES:]
        elif len(kind.named) < MOST_EXAMPLES:
            kind.named.append(_named(row, line))

    def record(self, job: str, counts: Counts, attention: list[str]) -> Record:
        """Return the record of the run that has these counts."""
        return Record(
            job=job, run=self.run, began=_utc(counts.began), ended=_utc(counts.ended),
            seconds=round(counts.ended - counts.began, 3),
            images={change: number for change, number in sorted(self.images.items()) if change},
            outcomes=counts.images, pages=counts.pages, left_out=counts.left_out, already_there=counts.already_there,
            bytes=counts.bytes, attention=attention,
            sites=[Site(s.url, s.outcomes, s.first_outcome, s.name, s.stopped) for s in counts.sites], named=self.named,
            failures=self.failures,
        )  # fmt: skip


@lru_cache(maxsize=1024)  # few differ
def _change(gone: bool, looked_at: bool, outcome: str, before: str, replaces: bool) -> str:
    """Return what a run was to an image, which it found gone, or looked at; `""` where it did not."""
    if gone:
        return Change.GONE
    if not looked_at or outcome == Outcome.PRUNED:
        return ""
    broken = before not in _NO_FAILURES
    if outcome in LEFT_ALONE:
        return Change.LEFT_ALONE
    if outcome not in SUCCESSES:
        return Change.FAILED_AGAIN if broken else Change.FAILED
    if outcome == Outcome.SUCCESS and replaces:
        return Change.CHANGED
    if broken:
        return Change.WORKS_AGAIN
    return Change.UNCHANGED if outcome == Outcome.UNCHANGED else Change.NEW


def _named(row: LedgerRow, line: Kept | None) -> Named:
    named = Named(row.url, outcome=row.outcome, message=row.message, before=row.before)
    if line is not None:
        named.file_name, named.previous, named.same_as = line.file_name, line.previous or "", line.same_as or ""
    return named


def _utc(moment: float) -> str:
    when = datetime.datetime.fromtimestamp(int(moment), datetime.timezone.utc)
    return when.isoformat().replace("+00:00", "Z")


def changes(record: Record) -> str:
    """Return what is other than in the run before, in one line; `""` where nothing is."""
    told = {
        Change.NEW: "new", Change.CHANGED: "changed", Change.GONE: "gone",
        Change.WORKS_AGAIN: "failed before and work now", Change.FAILED: "failed for the first time",
        Change.FAILED_AGAIN: "failed again",
    }  # fmt: skip
    return ", ".join(f"{number:,} {words}" for change, words in told.items() if (number := record.images.get(change)))


def shrunk(counts: Counts, before: Record | None) -> list[str]:
    """Return a line for each site with fewer than half of the images that it had in the run before."""
    if before is None or counts.already_there or before.already_there:
        return []
    had = {site.url: _there(site.images) for site in before.sites}
    return [
        f"{called(site)}: {counted(_there(site.outcomes), 'image')}, and {had[site.url]:,} in run {before.run}"
        for site in counts.sites
        if _is_shrunk(site, had.get(site.url, 0))
    ]


def _is_shrunk(site: SiteCounts, had: int) -> bool:
    return not site.stopped and had >= FEW and _there(site.outcomes) < had / 2


def _there(outcomes: dict[str, int]) -> int:
    return sum(outcomes.get(outcome, 0) for outcome in SUCCESSES)


def write_record(record: Record, root: Path) -> Path:
    """Write a record below `root`, and return its file; raises StoreError."""
    folder, draft = root / RUNS, root / draft_of(record.file_name)
    try:
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        write_file(draft, msgspec.json.format(_JSON.encode(record), indent=2) + b"\n")
        return draft.replace(folder / record.file_name)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"the record of the run in {folder} cannot be written: {error.strerror}") from error


def write_report(text: str, root: Path) -> Path:
    """Write the report of a run into `root`, in place of the last one, and return its file; raises StoreError."""
    draft = root / draft_of(REPORT)
    try:
        write_file(draft, text.encode())
        return draft.replace(root / REPORT)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"the report of the run in {root} cannot be written: {error.strerror}") from error


def latest_record(root: Path, job: str, before: int) -> Record | None:
    """Return the last record of `job` below `root` of a run before `before`."""
    return next((record for _, record in _records(root, job, Record) if record.run < before), None)


def earlier_runs(root: Path, job: str, before: int, most: int) -> list[Numbers]:
    """Return the numbers of the last `most` runs of `job` before run `before` that have records, the first first."""
    earlier = (numbers for _, numbers in _records(root, job, Numbers) if numbers.run < before)
    return list(islice(earlier, most))[::-1]


def forget_records(root: Path, job: str, run: int) -> None:
    """Remove the records of `job` below `root` of all runs up to this one."""
    for path, record in _records(root, job, Numbers):
        if record.run <= run:
            with contextlib.suppress(OSError):  # the next run tries again
                path.unlink()


def scrub_records(
    root: Path, job: str, is_forgotten: Callable[[str], bool], is_removed: Callable[[str], bool]
) -> list[Path]:
    """Take what is forgotten, images by URL and files by name, out of the records of `job`; return those that changed.

    Raises StoreError.
    """
    changed = []
    for _, record in list(_records(root, job, Record)):
        before = _JSON.encode(record)
        for lists in (record.named, {name: kind.named for name, kind in record.failures.items()}):
            for named in lists.values():
                named[:] = [image for image in named if not is_forgotten(image.url)]
                for image in named:
                    for name in ("file_name", "previous", "same_as"):
                        if is_removed(getattr(image, name)):
                            setattr(image, name, "")
        if _JSON.encode(record) != before:
            changed.append(write_record(record, root))
    return changed


def _records(root: Path, job: str, kind: type[_N]) -> Iterator[tuple[Path, _N]]:
    """Give the records of a job, the latest first; what is no record, or of another job, is passed over."""
    for path in sorted((root / RUNS).glob("*.json"), reverse=True):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=kind)
        except (OSError, msgspec.MsgspecError):
            continue
        if record.job == job:
            yield path, record
