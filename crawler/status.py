"""`python -m crawler.status`: the jobs of this machine, and what becomes of them; where an image is from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import StatusSettings

ABOUT = "List the jobs of this machine: where they stand, and how to stop them. Or tell where an image is from."


def run(settings: StatusSettings) -> int:
    from crawler.lasting import lasting

    with lasting():
        from crawler.jobs import report

    return report(settings)


def main() -> int:
    from crawler.door import enter
    from crawler.settings import StatusSettings

    return enter(StatusSettings, "python -m crawler.status", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
