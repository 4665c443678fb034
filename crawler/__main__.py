"""`python -m crawler SITE …`: collect and download on this machine, then end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import CrawlSettings

ABOUT = "Fetch every image of a site, or of a list of URLs, into downloads/. Ctrl-C stops; the same command goes on."


def run(settings: CrawlSettings) -> int:
    from crawler.lasting import lasting

    with lasting():
        from crawler.conduct import conduct

    return conduct(settings, None, print_lines=False)


def main() -> int:
    from crawler.door import enter
    from crawler.settings import CrawlSettings

    return enter(CrawlSettings, "python -m crawler", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
