"""`python -m crawler SITE …`: collect and download on this machine, then end."""

from __future__ import annotations

import sys

from crawler.brokers.client import ServerAddress
from crawler.building import build_spec, local_key
from crawler.crawl import Crawl
from crawler.door import enter
from crawler.limits import Limits
from crawler.processes import Link
from crawler.settings import CollectSettings, CrawlSettings

ABOUT = "Fetch every image of a site, or of a list of URLs, into downloads/. Ctrl-C stops; the same command goes on."


def conduct(settings: CrawlSettings | CollectSettings, listen: ServerAddress | None, *, print_lines: bool) -> int:
    """Run the job that `settings` describe, and return the exit code."""
    spec = build_spec(settings)
    key = local_key(settings.key_file, settings.state_directory)
    link = Link(ServerAddress(), key, not settings.unencrypted, settings.log_file, settings.quiet)
    limits = Limits(settings.max_time, settings.max_images, settings.max_bytes, settings.min_free)
    crawl = Crawl(
        spec,
        settings.state_directory / spec.job,
        link,
        limits,
        listen=listen,
        processes=settings.processes,
        page_processes=settings.page_processes,
        connections=settings.connections,
        print_lines=print_lines,
        fail_above=settings.fail_above,
    )
    if settings.export:
        crawl.export()
        return 0
    return crawl.run()


def run(settings: CrawlSettings) -> int:
    return conduct(settings, None, print_lines=False)


if __name__ == "__main__":
    sys.exit(enter(CrawlSettings, "python -m crawler", ABOUT, run, sys.argv[1:]))
