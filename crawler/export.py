"""`python -m crawler.export --job NAME`: the job's ledger as a table, or its images as a dataset, at any time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import ExportSettings

ABOUT = (
    "Write a job's ledger as a table, every image a row, or its images as a dataset, as things stand; a job that runs "
    "is not disturbed."
)


def run(settings: ExportSettings) -> int:
    from crawler.exporter import export

    return export(settings)


def main() -> int:
    import signal

    from crawler.door import enter
    from crawler.settings import ExportSettings
    from crawler.shards.samples import keep_out

    keep_out("pandas")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that no draft is left
    return enter(ExportSettings, "python -m crawler.export", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
