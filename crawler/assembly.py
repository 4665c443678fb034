"""A dataset as a door asks for it: from a job's ledger and images to shards or a folder of images."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import msgspec

from crawler.captions import parse_order
from crawler.checks import MOST_SAMPLES, transform_of
from crawler.datasets.bodies import Bodies
from crawler.datasets.draft import Draft, opened_draft
from crawler.datasets.making import LOADED, Making
from crawler.datasets.selection import Line, Selection, selection
from crawler.datasets.writers import ImageFolder, Shards, Writer
from crawler.errors import FetchError, Undecodable, UsageError
from crawler.ledger import Kept
from crawler.outputs import Output, check_endpoint, parse_output
from crawler.progress import counted
from crawler.reading import Reader
from crawler.settings import ExportSettings
from crawler.shown import shown
from crawler.similarity.groups import Row, groups
from crawler.similarity.hasher import Hasher, check_hashing
from crawler.spec import Spec
from crawler.stores import open_folder
from crawler.transforms.pool import TransformPool
from crawler.transforms.transform import Transform

Stretches: TypeAlias = Iterable[Sequence[Line]]

#: Settings of one start, which do not make another dataset.
_OF_A_START = frozenset({"config", "state", "log_file", "quiet", "key_file", "server", "store_endpoint", "processes"})
_DEFAULTS = vars(ExportSettings())
_AT_ONCE = 1000


class _Row(msgspec.Struct):
    row: int | None = None


_row = msgspec.json.Decoder(_Row).decode


def choose(
    rows: Selection, reader: Reader, settings: ExportSettings, stretches: Stretches, bodies: Bodies, *, files_only: bool
) -> None:
    """Choose what the settings ask for, unless it was chosen before.

    Raises UsageError where an expression is none.
    """
    if rows.is_made:
        return
    rows.load(_by_row(stretches) if reader.spec().per_row else stretches)
    rows.choose(settings.where, files_only=files_only, once=settings.dedupe != "no")
    if settings.dedupe == "perceptual":
        rows.leave_out(groups(_hashed(rows, bodies, reader.spec().max_pixels), settings.distance))
    rows.settle(settings.shuffle, by_row=reader.spec().per_row)


def _by_row(stretches: Stretches) -> Iterator[list[Line]]:
    """Yield a line for each row of a list that names an image, not for each image."""
    for lines in stretches:
        yield [row for line in lines for row in _rows_of(line)]


def _rows_of(line: Line) -> list[Line]:
    if len(line.mentions) < 2:
        return [line]
    mentions = sorted(line.mentions, key=lambda raw: _row(raw).row or 0)
    return [msgspec.structs.replace(line, mentions=[mention], mentions_total=1) for mention in mentions]


def _hashed(rows: Selection, bodies: Bodies, max_pixels: int) -> Iterator[Row]:
    """Give the perceptual hash of each image, computed where the ledger has none."""
    check_hashing()
    with contextlib.closing(Hasher(max_pixels)) as hasher:
        for number, line in rows.wanted():
            if isinstance(line, Kept) and line.format in LOADED:
                digits = line.phash or _hash_of(line, bodies, hasher)
                yield Row(number, digits, line.width * line.height, line.size)


def _hash_of(line: Kept, bodies: Bodies, hasher: Hasher) -> str:
    try:
        return hasher.hash(bodies.read(line))
    except (FetchError, Undecodable):
        return ""  # what cannot be read is like no other; making the dataset tells of it


def make_dataset(settings: ExportSettings, reader: Reader, stretches: Stretches) -> int:
    """Make the dataset, or what is left of it, and return the exit code; raises UsageError, StateError, StoreError."""
    target = _target(settings)
    spec = reader.spec()
    order = _order(settings, spec)
    transform = transform_of(settings)
    folder = open_folder(parse_output(spec.output), spec.job, settings.store_endpoint)
    with ExitStack() as stack:
        draft = stack.enter_context(opened_draft(target, settings.state_directory, settings.store_endpoint))
        draft.begin(_digest(settings, target))
        rows = stack.enter_context(selection(draft.folder, order))
        bodies = Bodies(folder, draft.folder / "copies")
        choose(rows, reader, settings, stretches, bodies, files_only=True)
        pool = None
        if transform.changes_pixels:
            pool = TransformPool(transform, spec.max_pixels, settings.processes)
            stack.callback(pool.close)
        making = Making(draft, rows, bodies, _writer(settings, draft, transform), transform, pool, order)
        with _bar(settings, len(rows), draft.progress.rows) as told:
            making.run(told, _about(settings, spec))
        progress = draft.progress
    if not settings.quiet:
        failed = f", {counted(progress.failures, 'failure')}" if progress.failures else ""
        print(f"{counted(progress.images, 'image')}{failed}: {shown(str(target))}", file=sys.stderr)
    return 0


def _order(settings: ExportSettings, spec: Spec) -> tuple[str, ...]:
    """Return the kinds of words for captions: those that are named here, else the job's."""
    return parse_order(settings.caption_from) if settings.caption_from else spec.caption_from


def _target(settings: ExportSettings) -> Output:
    if not settings.output:
        raise UsageError(f"--format {settings.format} is a folder: name a directory, or s3://BUCKET/PREFIX")
    target = parse_output(settings.output, "the place to export to")
    if target.directory is None and not target.prefix:
        raise UsageError(f"{target} is a whole bucket: name a folder in it, such as {target}/dataset")
    if settings.store_endpoint:
        check_endpoint(settings.store_endpoint)
    if not 1 <= settings.shard_samples <= MOST_SAMPLES or settings.shard_bytes < 1 or settings.processes < 1:
        raise UsageError(f"--shard-samples is 1 to {MOST_SAMPLES:,}, --shard-bytes and --processes at least 1")
    return target


def _writer(settings: ExportSettings, draft: Draft, transform: Transform) -> Writer:
    drafts = draft.folder / "drafts"
    if settings.format == "imagefolder":
        return ImageFolder(drafts, draft.folder / "parts")
    return Shards(drafts, settings.shard_samples, int(settings.shard_bytes), transform.encode or "jpg")


def _digest(settings: ExportSettings, target: Output) -> str:
    """Return what two exports have in common of which one can go on with the other."""
    said = {key: value for key, value in vars(settings).items() if key not in _OF_A_START}
    said["output"] = str(target)  # however it is written
    return hashlib.sha256(msgspec.json.encode(said, enc_hook=str)).hexdigest()


def _about(settings: ExportSettings, spec: Spec) -> dict[str, object]:
    """Return what is written beside a dataset: of what it was made, and how."""
    said = {key: value for key, value in vars(settings).items() if key not in _OF_A_START and value != _DEFAULTS[key]}
    return {"job": spec.job, "job_id": spec.job_id, "format": settings.format, **said}


@contextlib.contextmanager
def _bar(settings: ExportSettings, rows: int, before: int) -> Iterator[Callable[[int], object]]:
    """Have what is told how many more rows are done."""
    if settings.quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=rows, initial=before, unit="image", dynamic_ncols=True) as bar:
        yield bar.update


@contextlib.contextmanager
def chosen_lines(settings: ExportSettings, reader: Reader, stretches: Stretches) -> Iterator[Iterator[Sequence[Line]]]:
    """Have the rows that are chosen, many at a time."""
    with tempfile.TemporaryDirectory(prefix="crawler-export-") as name, ExitStack() as stack:
        spec = reader.spec()
        rows = stack.enter_context(selection(Path(name), _order(settings, spec)))
        folder = open_folder(parse_output(spec.output), spec.job, settings.store_endpoint)
        choose(rows, reader, settings, stretches, Bodies(folder, Path(name)), files_only=False)
        lines = (line for _, line in rows.lines())
        yield iter(lambda: list(islice(lines, _AT_ONCE)), [])
