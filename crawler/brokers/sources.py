"""Which sources a job may go on with."""

from __future__ import annotations

from crawler.errors import UsageError
from crawler.model import SourceDetail
from crawler.spec import Spec


def check_sources(known: Spec, spec: Spec, unfinished: int) -> None:
    """Raise UsageError where `spec` is another job than `known`, whose run `unfinished` (0: none) is to go on.

    Sites may come and go, as long as one stays.
    """
    before, now = dict(known.sources), dict(spec.sources)
    if not before.keys() & now.keys():
        named = ", ".join(list(before)[:5]) + (", …" if len(before) > 5 else "")
        raise UsageError(
            f"job {spec.job!r} was made for {named}; for another site or list give it another name with --job NAME"
        )
    if unfinished and _lists(known) != _lists(spec):
        raise UsageError(
            f"run {unfinished} of job {spec.job!r} is not finished, and it reads another list or other columns: go on "
            "with those (on a pipe, an empty list stands for them), or use another --job"
        )


def check_taken_up(run: int, is_open: bool, spec: Spec) -> None:
    """Raise UsageError where there is no run that could go on with what failed in it."""
    if not run:
        raise UsageError(f"job {spec.job!r} has no run whose failures could be tried again")
    if is_open:
        raise UsageError(
            f"run {run} of job {spec.job!r} is not finished: the same command without --retry-failed goes on with it"
        )


def _lists(spec: Spec) -> dict[str, SourceDetail]:
    return {url: detail for url, detail in spec.sources if detail.sort == "list"}
