"""`python -m crawler SITE …`: collect and download on this machine, then end."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from crawler import logs
from crawler.brokers.client import ServerAddress
from crawler.building import build_spec, collector_key
from crawler.crawl import Crawl, Limits
from crawler.errors import CrawlerError
from crawler.processes import Link
from crawler.settings import CollectSettings, CrawlSettings, parse

ABOUT = "Fetch every image of a site, or of a list of URLs, into downloads/. Ctrl-C stops; the same command goes on."


def conduct(settings: CrawlSettings | CollectSettings, listen: ServerAddress | None, *, print_lines: bool) -> int:
    """Run the job that `settings` describe, and return the exit code."""
    spec = build_spec(settings)
    link = Link(ServerAddress(), collector_key(settings), not settings.unencrypted, settings.log_file, settings.quiet)
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


def complain(error: CrawlerError) -> int:
    print(f"crawler: {error}", file=sys.stderr)
    return error.exit_code


def main(arguments: Sequence[str]) -> int:
    try:
        settings = parse(CrawlSettings, "python -m crawler", ABOUT, arguments)
        if settings is None:
            return 0
        logs.set_up(settings.log_file, settings.quiet)
        return conduct(settings, None, print_lines=False)
    except CrawlerError as error:
        return complain(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
