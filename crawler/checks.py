"""What settings may be: each refusal names the flag and what is allowed."""

from __future__ import annotations

import re

from crawler.errors import UsageError
from crawler.guard import parse_networks
from crawler.optout import RULES
from crawler.outputs import Output, check_endpoint, parse_output
from crawler.pages.scope import Scope
from crawler.proxies import Proxies, parse_proxy
from crawler.settings import Asking, CollectSettings, CrawlSettings, Job, Transforming, Working
from crawler.shards.samples import check_installed
from crawler.similarity.hasher import check_hashing
from crawler.sites import needs_one_broker
from crawler.spec import Spec
from crawler.transforms.transform import Transform, check_transform

#: Largest number that a setting may have: numbers travel as 64 bits, and some through floats.
MOST = 2**53
_MORE_THAN_NOTHING = ("connect_timeout", "timeout", "page_deadline", "shard_seconds")
#: Rows of one shard: each report names those of three, and what is held of a row is a kilobyte or two.
MOST_SAMPLES = 30_000
_LEAST = {
    "requests_per_host": 1, "connections": 1, "page_processes": 1, "queue_limit": 1, "lease": 1,
    "max_page_bytes": 1, "max_image_bytes": 1, "shard_samples": 1, "shard_bytes": 1,
    "image_size": 1,
    **dict.fromkeys(
        ("processes", "depth", "max_pages", "max_alike", "max_images", "max_redirects", "fail_above", "min_width",
         "min_height", "min_bytes", "max_pixels", "max_bytes", "min_free", "max_time", "keep_runs", "min_image_size",
         "max_image_area", "max_aspect_ratio"), 0,
    ),
}  # fmt: skip


def check(settings: Job) -> None:
    """Raise UsageError where a setting cannot be worked with."""
    _check_texts(settings)
    _check_numbers(settings)
    _check_output(settings)
    check_asking(settings)
    if settings.refresh == "always" and isinstance(settings, CollectSettings) and settings.server:
        raise UsageError("--refresh always: a queue in a Redis does not remember what could be asked for again")
    for flag, names in (("--respect", settings.respect), ("--ignore", settings.ignore)):
        for name in names:
            if name not in RULES:
                raise UsageError(f"{flag}: {name!r} is no rule; known are {', '.join(RULES)}")
    if settings.store == "shards":
        _check_shards(settings)
    elif not transform_of(settings).is_nothing:
        raise UsageError(
            "files keep the originals: to resize, encode or filter images take --store shards, or make a dataset of "
            "them with python -m crawler.export"
        )
    if settings.phash:
        check_hashing()
    if settings.formats:
        _check_formats(settings.formats)
    try:
        Scope(settings.scope, settings.include, settings.exclude)
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"--include and --exclude take regular expressions: {error}") from error


def _check_shards(settings: Job) -> None:
    if settings.shard_samples > MOST_SAMPLES:
        raise UsageError(f"--shard-samples must be at most {MOST_SAMPLES:,}")
    if settings.prune:
        raise UsageError("--prune removes files, and --store shards keeps none: make shards anew without what is gone")
    if settings.per == "row":
        raise UsageError(
            "--per row: what is bound at once is one sample of each URL; store files, and make the dataset "
            "with python -m crawler.export --format webdataset"
        )
    if isinstance(settings, CollectSettings) and settings.server:
        raise UsageError("--store shards needs the broker of a collector, which numbers them: leave --server away")
    check_installed()


def check_lists(settings: Job) -> None:
    """Raise UsageError where something is said of a list, and there is none."""
    said = {"input_format": "auto", "columns": (), "verify_hash": "", "per": "url"}
    for key, nothing in said.items():
        if not settings.urls and getattr(settings, key) != nothing:
            raise UsageError(f"{_flag(key)} is of a list: name one with --urls")


def check_redis(spec: Spec) -> None:
    """Raise UsageError where a queue in a Redis cannot keep what a job asks for."""
    if what := needs_one_broker(spec):
        raise UsageError(f"{what} is kept by the broker of a collector, and by no queue in a Redis (--server)")


def check_asking(settings: Asking) -> None:
    """Raise UsageError where a network or a proxy is none."""
    try:
        parse_networks(settings.allow_net)
    except ValueError as error:
        raise UsageError(f"--allow-net: {error}; write a network such as 192.168.1.0/24") from error
    if settings.proxy and settings.proxy_env:
        raise UsageError("--proxy names the proxy of all machines, --proxy-env lets each say its own: give one of them")
    proxies_of(settings)


def check_store(settings: Working, output: Output | None) -> None:
    """Raise UsageError where an endpoint is named that is none, or that `output` does not ask."""
    if settings.store_endpoint:
        check_endpoint(settings.store_endpoint)
        if output is not None and output.directory is not None:
            raise UsageError(f"--store-endpoint is of an object store, and {output} is a directory")


def proxies_of(settings: Asking) -> Proxies:
    """Return the proxies of this machine; raises UsageError where one is none."""
    return Proxies(proxy_of(settings), of_environment=settings.proxy_env)


def proxy_of(settings: Asking) -> str:
    return parse_proxy(settings.proxy, "--proxy") if settings.proxy else ""


def transform_of(settings: Transforming) -> Transform:
    """Return what is done with images on their way into a dataset; raises UsageError where it cannot be done."""
    transform = Transform(
        resize=settings.resize,
        image_size=settings.image_size,
        resize_only_if_bigger=settings.resize_only_if_bigger,
        upscale_interpolation=settings.upscale_interpolation,
        downscale_interpolation=settings.downscale_interpolation,
        encode=settings.encode or "",
        encode_quality=settings.encode_quality,
        skip_reencode=settings.skip_reencode,
        animation=settings.animation,
        background=settings.background,
        min_image_size=settings.min_image_size,
        max_image_area=settings.max_image_area,
        max_aspect_ratio=settings.max_aspect_ratio,
    )
    check_transform(transform)
    if settings.resize == "no" and settings.image_size != Transform().image_size:
        raise UsageError("--image-size is of --resize, which says how: border, keep_ratio, center_crop …")
    return transform


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _check_formats(names: tuple[str, ...]) -> None:
    from crawler.images.verify import FORMATS  # with all that reads images, a fifth of what a door would import

    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--formats: {name!r} is no format; known are {', '.join(FORMATS)}")


def _check_texts(settings: Job) -> None:
    for key, value in vars(settings).items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and any("\ud800" <= c <= "\udfff" for c in text):
                raise UsageError(f"{_flag(key)}: {text!r} is no UTF-8 text")
    for key in ("contact", "user_agent"):
        if not re.fullmatch(r"[\x20-\x7e]*", getattr(settings, key)):
            raise UsageError(f"{_flag(key)} goes into a header: write it in printable ASCII")


def _check_numbers(settings: Job) -> None:
    for key in _MORE_THAN_NOTHING:
        if not 0 < getattr(settings, key) <= MOST:
            raise UsageError(f"{_flag(key)} must be more than 0 and at most {MOST:,}")
    least = _LEAST | ({"processes": 1} if isinstance(settings, CrawlSettings) else {})
    for key, value in least.items():
        if not value <= getattr(settings, key) <= MOST:
            raise UsageError(f"{_flag(key)} must be at least {value} and at most {MOST:,}")


def _check_output(settings: Job) -> None:
    output = parse_output(settings.output)
    check_store(settings, output)
    if output.directory is None:
        if settings.min_free:
            raise UsageError(f"--min-free is of a disk, and {output} is none")
        return
    there = next(path for path in (output.directory, *output.directory.parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"--output {settings.output}: {there} is no directory")
