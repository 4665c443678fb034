"""Failures that are to be tried again."""

from __future__ import annotations

from collections.abc import Callable, Collection

from crawler.account import LedgerRow
from crawler.contracts import Broker
from crawler.errors import UsageError
from crawler.outcomes import SUCCESSES, Outcome, chosen

ALL = "all"
_NO_FAILURES = frozenset({Outcome.OPTED_OUT, Outcome.PRUNED, Outcome.FORGOTTEN})
#: Rows looked at, and results reopened, in one call.
_BATCH = 1000


def wanted(text: str) -> Callable[[str], bool]:
    """Return what tells whether an outcome is a failure that `text` names, `all` or kinds; raises UsageError.

    What its site wants left alone is no failure.
    """
    try:
        is_named = chosen(text) if text != ALL else lambda _: True
    except ValueError as error:
        raise UsageError(f"--retry-failed: {error}") from error
    for outcome in (*sorted(_NO_FAILURES), *sorted(SUCCESSES)):
        if text != ALL and is_named(outcome):
            raise UsageError(f"--retry-failed: what is {outcome} did not fail")
    return lambda outcome: outcome not in SUCCESSES | _NO_FAILURES and is_named(outcome)


def _is_of(row: LedgerRow, only: Collection[str]) -> bool:
    return row.current and (not only or row.site in only)


def reopen_failed(broker: Broker, is_wanted: Callable[[str], bool], only: Collection[str]) -> int:
    """Make tasks again of the images whose current results are such failures, and return how many they are.

    Where sites are named, `only` those that one of them brought.
    """
    page = broker.ledger("", _BATCH)
    reopened = 0
    while page.rows:
        seqs = [row.seq for row in page.rows if _is_of(row, only) and is_wanted(row.outcome)]
        reopened += broker.reopen(seqs) if seqs else 0
        page = broker.ledger(page.cursor, _BATCH)
    return reopened
