"""From a door's settings to a run of a job, and to its exit code."""

from __future__ import annotations

import contextlib

from msgspec.structs import replace

from crawler.adopting import take_over
from crawler.brokers.client import ServerAddress
from crawler.brokers.offline import STATE_FILE, read_spec
from crawler.brokers.redis import check_url, shown_url
from crawler.building import build_spec, local_key
from crawler.checks import check_redis
from crawler.crawl import Crawl
from crawler.errors import AlreadyRunning, CrawlerError, UsageError
from crawler.failures import wanted
from crawler.hosting import listening
from crawler.limits import Limits
from crawler.notice import notify
from crawler.outputs import parse_output
from crawler.processes import Link, Place
from crawler.pruning import most_of
from crawler.settings import CollectSettings, CrawlSettings
from crawler.shown import shown
from crawler.sites import chosen
from crawler.spec import Spec
from crawler.stores import open_folder


def conduct(settings: CrawlSettings | CollectSettings, listen: ServerAddress | None, *, print_lines: bool) -> int:
    """Run the job that `settings` describe, and return the exit code."""
    retries = wanted(settings.retry_failed) if settings.retry_failed else None
    if settings.prune:
        most_of(settings.prune)
    spec = _spec(settings)
    if isinstance(settings, CollectSettings) and settings.server:
        check_redis(spec)
    link = _link(settings, spec.job, listen)
    limits = Limits(settings.max_time, settings.max_images, settings.max_bytes, settings.min_free)
    crawl = Crawl(
        spec,
        settings.state_directory / spec.job,
        link,
        limits,
        listen=listen,
        processes=settings.processes,
        page_processes=settings.page_processes,
        place=Place(settings.connections, store_endpoint=settings.store_endpoint),
        print_lines=print_lines,
        fail_above=settings.fail_above,
        retries=retries,
        prune=settings.prune,
    )
    if settings.adopt:
        if link.redis:
            raise UsageError("--adopt makes the state of one machine; a queue in a Redis is not made so")
        folder = open_folder(parse_output(spec.output), spec.job, settings.store_endpoint)
        take_over(spec, settings.state_directory / spec.job, folder)
    if settings.export:
        crawl.export()
        return 0
    return _notified(crawl, settings.notify) if settings.notify else crawl.run()


def _notified(crawl: Crawl, command: str) -> int:
    """Run a crawl, and tell a command how it ended; not that it was refused because it runs."""
    try:
        crawl.notice.exit_code = crawl.run()
    except AlreadyRunning:
        raise
    except CrawlerError as error:
        crawl.notice.ending, crawl.notice.exit_code, crawl.notice.summary = "failed", error.exit_code, shown(str(error))
        notify(command, crawl.notice)
        raise
    notify(command, crawl.notice)
    return crawl.notice.exit_code


def _spec(settings: CrawlSettings | CollectSettings) -> Spec:
    """Return the job that the settings describe, or name where only its failures are wanted."""
    named = settings.sites or settings.sites_file or settings.urls or settings.sitemap
    if named or not settings.retry_failed:
        return build_spec(settings)
    if not settings.job:
        raise UsageError("--retry-failed: name the job with --job NAME")
    if isinstance(settings, CollectSettings) and settings.server:
        spec = _spec_in_redis(settings.server, settings.job)
    else:
        spec = read_spec(settings.state_directory / settings.job / STATE_FILE)
    return replace(spec, only=chosen(settings.only, [(detail.name, url) for url, detail in spec.sources]))


def _spec_in_redis(url: str, job: str) -> Spec:
    from crawler.brokers.redis.broker import RedisBroker
    from crawler.brokers.redis.server import Server

    with contextlib.closing(RedisBroker(Server(check_url(url)), job)) as broker:
        spec = broker.spec()
    if not spec.job:
        raise UsageError(f"there is no job {job} in {shown_url(url)}")
    return spec


def _link(settings: CrawlSettings | CollectSettings, job: str, listen: ServerAddress | None) -> Link:
    redis = check_url(settings.server) if isinstance(settings, CollectSettings) and settings.server else ""
    key = b"" if redis else local_key(settings.key_file, settings.state_directory)
    return Link(
        ServerAddress(), key, not settings.unencrypted, settings.log_file, settings.quiet, listening(listen),
        redis, job if redis else "",
    )  # fmt: skip
