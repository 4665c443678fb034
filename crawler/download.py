"""`python -m crawler.download --server HOST`: fetch, verify and save the images of a collector's job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import DownloadSettings

ABOUT = "Fetch, verify and save the images of a collector's job; ends when the job is finished."


def run(settings: DownloadSettings) -> int:
    from crawler.lasting import lasting

    with lasting():
        from crawler.workers import work

    return work(settings)


def main() -> int:
    from crawler.door import enter
    from crawler.settings import DownloadSettings

    return enter(DownloadSettings, "python -m crawler.download", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
