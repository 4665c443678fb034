"""`python -m crawler.collect --site URL`: scrape pages, host the manager for workers, print what became of each URL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import CollectSettings

ABOUT = "Scrape sites for image URLs, serve them to download workers, and print what became of each."


def run(settings: CollectSettings) -> int:
    from crawler.lasting import lasting

    with lasting():
        from crawler.brokers.client import parse_server
        from crawler.brokers.redis import check_url
        from crawler.conduct import conduct
        from crawler.hosting import announce

    listen = None if settings.server and check_url(settings.server) else parse_server(settings.listen)
    if not settings.export:
        announce(settings, listen)
    return conduct(settings, listen, print_lines=True)


def main() -> int:
    from crawler.door import enter
    from crawler.settings import CollectSettings

    return enter(CollectSettings, "python -m crawler.collect", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
