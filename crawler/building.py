"""From a door's settings to what its rooms take."""

from __future__ import annotations

import os
import sys
import zlib
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from crawler import __version__
from crawler.brokers.client import ServerAddress
from crawler.brokers.wire import check_key, key_file, read_key
from crawler.captions import parse_order
from crawler.checks import check, check_lists, proxy_of, transform_of
from crawler.digests import parse_column
from crawler.errors import CrawlerError, UsageError
from crawler.forking import apart
from crawler.model import SourceDetail
from crawler.optout import DEFAULT, RULES
from crawler.outputs import parse_output
from crawler.paths import absolute
from crawler.settings import KEY_VARIABLE, CollectSettings, CrawlSettings, Job
from crawler.sites import access_of_sites, chosen, delays_of, named_sites, others
from crawler.sources.formats import list_format, lists_in
from crawler.sources.lists import Reading, read_list, reading_of
from crawler.sources.spool import spool
from crawler.spec import Spec

KEY_NAME = "key"
#: Bytes of a job's name, which names folders and a socket.
MAX_NAME = 120
_HERE = ("127.0.0.1", "localhost", "::1")


def user_agent(contact: str, given: str) -> str:
    return given or f"crawler/{__version__} (image crawler{'; +' + contact if contact else ''})"


def job_name(settings: Job, sites: list[str]) -> str:
    if settings.job:
        name = settings.job
    elif settings.sites_file is not None and settings.sites_file.suffix == ".toml":
        name = settings.sites_file.stem  # sites come and go in it
    elif settings.urls:
        name = "list" if settings.urls == "-" else Path(settings.urls).name.partition(".")[0] or "list"
    else:
        name = urlsplit(sites[0]).netloc.replace(":", "_")
        name += f"-and-{len(sites) - 1}-more" if len(sites) > 1 else ""
    if len(os.fsencode(name)) > MAX_NAME:
        raise UsageError(f"the name {name[:40]!r}… is too long for a job; give another with --job")
    if (
        not name
        or name == KEY_NAME
        or name.startswith(".")
        or name != name.strip()
        or any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    ):
        raise UsageError(f"{name!r} cannot be the name of a job: it is a folder's name; give another with --job")
    return name


def build_spec(settings: CrawlSettings | CollectSettings) -> Spec:
    """Return the job that the settings describe.

    Raises UsageError that names what is wrong and what is allowed.
    """
    named = named_sites(settings)
    sites, sitemaps = [site.url for site in named if not site.is_sitemap], [s.url for s in named if s.is_sitemap]
    if not named and not settings.urls:
        raise UsageError("nothing to crawl: name a site, such as example.com, or a list with --urls FILE")
    job = job_name(settings, sites or sitemaps)
    sources = [(s.url, SourceDetail(sort="sitemap" if s.is_sitemap else "site", name=s.name)) for s in named]
    if settings.urls:
        sources += _list_sources(settings, job)
    check(settings)
    check_lists(settings)
    return Spec(
        job=job,
        sources=tuple(sources),
        output=str(parse_output(settings.output)),
        scope=settings.scope,
        depth=settings.depth,
        max_pages=settings.max_pages,
        include=settings.include,
        exclude=settings.exclude,
        page_deadline=settings.page_deadline,
        page_max_bytes=int(settings.max_page_bytes),
        requests_per_host=settings.requests_per_host,
        delay=settings.delay,
        obey_robots=not settings.ignore_robots and "robots" not in settings.ignore,
        obeyed=tuple(name for name in RULES if name in {*DEFAULT, *settings.respect} - {"robots", *settings.ignore}),
        user_agent=user_agent(settings.contact, settings.user_agent),
        allow_net=settings.allow_net,
        proxy=proxy_of(settings),
        proxy_env=settings.proxy_env,
        access=access_of_sites(settings, named),
        sites=others(named),
        only=chosen(settings.only, [(detail.name, url) for url, detail in sources]),
        delays=delays_of(named),
        queue_limit=settings.queue_limit,
        lease=settings.lease,
        connect_timeout=settings.connect_timeout,
        timeout=settings.timeout,
        max_image_bytes=int(settings.max_image_bytes),
        max_redirects=settings.max_redirects,
        formats=settings.formats,
        min_width=settings.min_width,
        min_height=settings.min_height,
        min_bytes=int(settings.min_bytes),
        max_pixels=settings.max_pixels,
        svg=settings.svg,
        verify=settings.verify,
        store=settings.store,
        shard_samples=settings.shard_samples,
        shard_bytes=int(settings.shard_bytes),
        shard_seconds=settings.shard_seconds,
        transform=transform_of(settings),
        phash=settings.phash,
        keep_runs=settings.keep_runs,
        refresh=settings.refresh,
        max_images=settings.max_images,
        max_alike=settings.max_alike,
        css=settings.css,
        sitemaps=not settings.no_sitemaps,
        icons=settings.icons,
        variants=settings.variants,
        caption_from=parse_order(settings.caption_from),
    )


def _list_sources(settings: Job, job: str) -> list[tuple[str, SourceDetail]]:
    """Return the list that is named as a source, or each list of the folder that is."""
    directory, format = settings.state_directory / job, _format(settings)
    if settings.urls == "-":
        if sys.stdin is None:
            raise UsageError("--urls - reads standard input, which is closed")
        path = spool(sys.stdin.buffer, directory, table=bool(settings.url_column), format=format)
        return [("stdin:", _list_detail(settings, path, "stdin"))]
    path = absolute(Path(settings.urls), "--urls")
    if path.is_fifo():
        with path.open("rb") as pipe:
            kept = spool(pipe, directory, table=bool(settings.url_column), format=format)
        return [("pipe:", _list_detail(settings, kept, path.name))]
    if path.is_file():
        return [(path.as_uri(), _list_detail(settings, path, Path(settings.urls).name))]
    lists = lists_in(path, format) if path.is_dir() else []
    if not lists:
        what = f": no file in this folder ends in .{format or 'txt, .csv, .parquet …'}" if path.is_dir() else ""
        raise UsageError(f"the list {settings.urls} is not there{what}")
    return [(one.as_uri(), _list_detail(settings, one, one.name)) for one in lists]


def _format(settings: Job) -> str:
    return "" if settings.input_format == "auto" else settings.input_format


def _list_detail(settings: Job, path: Path, name: str) -> SourceDetail:
    """Return how a list is read; raises UsageError where it cannot be, or lacks a column."""
    hash_column, hash_kind = parse_column(settings.verify_hash)
    named = [column.strip() for text in settings.columns for column in text.split(",")]
    detail = SourceDetail(
        sort="list", path=str(path), url_column=settings.url_column, caption_column=settings.caption_column, name=name,
        format=_format(settings), columns=tuple(filter(None, named)) if settings.columns else None,
        hash_column=hash_column, hash_kind=hash_kind, per_row=settings.per == "row",
    )  # fmt: skip
    try:
        look = partial(_first_row, path, reading_of(detail))
        if list_format(path, detail.format) == "parquet":
            apart(look)  # pyarrow starts threads
        else:
            look()
    except (CrawlerError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UsageError(f"the list {path} cannot be read: {error}") from error
    return detail


def _first_row(path: Path, reading: Reading) -> None:
    next(read_list(path, reading), None)


def local_key(key: Path | None, state: Path) -> bytes:
    """Return the secret of this machine's jobs: from flag, environment, or the key file, made when there is none."""
    text = os.environ.get(KEY_VARIABLE)
    if text and key is None:
        return check_key(text.strip(), KEY_VARIABLE)
    return key_file(absolute(key, "--key-file") if key else state / KEY_NAME)


def worker_key(key: Path | None, state: Path, server: ServerAddress) -> bytes:
    """Return the secret of the collector at `server`: from flag, environment, this machine's file, or the person.

    Raises UsageError where it is nowhere.
    """
    if key is not None:
        return read_key(absolute(key, "--key-file"))
    if os.environ.get(KEY_VARIABLE) or (state / KEY_NAME).exists() or server.path or server.host in _HERE:
        return local_key(None, state)  # on one machine whoever comes first makes it
    if sys.stdin is not None and sys.stdin.isatty():
        import getpass

        try:
            return check_key(getpass.getpass(f"Key of the collector at {server}: ").strip(), "the answer")
        except EOFError as error:
            raise UsageError(f"no key for {server} was given") from error
    raise UsageError(
        f"no key for {server}: copy the collector's key file here and name it with --key-file, or set {KEY_VARIABLE}"
    )
