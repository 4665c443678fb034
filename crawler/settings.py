"""The settings of the doors: one frozen dataclass each; defaults < config file < environment < flags."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from crawler.paths import absolute

ENVIRONMENT = "CRAWLER_"
#: Variables that are no field: the key is a secret and never a flag.
KEY_VARIABLE = "CRAWLER_KEY"
SHOW_ALL = "--help-all" in sys.argv
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

JOB, _PAGES, _POLITENESS = (
    Group.create_ordered("Job"),
    Group.create_ordered("Pages"),
    Group.create_ordered("Politeness"),
)
_ACCESS = Group.create_ordered("Signing in")
_IMAGES, _LIMITS = Group.create_ordered("Images"), Group.create_ordered("Limits of a run")
_PROCESSES, _NETWORK, _OUT = (Group.create_ordered(name) for name in ("Processes", "Network", "Output"))


def _flag(help: str, group: Group, *, common: bool = False, **more: Any) -> Parameter:
    """Describe a flag; `common` ones are shown by `--help`, all by `--help-all`."""
    return Parameter(help=help, group=group, show=common or SHOW_ALL, negative=(), **more)


def _scaled(units: dict[str, float], what: str) -> Callable[[Any, Sequence[Any]], float]:
    def convert(_: Any, tokens: Sequence[Any]) -> float:
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", tokens[0].value)
        if match is None or match[2].lower() not in units:
            raise ValueError(
                f"{tokens[0].value!r} is no {what}: write a number, with one of {', '.join(u for u in units if u)}"
            )
        return float(match[1]) * units[match[2].lower()]

    return convert


def _lines(_: Any, text: str, **__: Any) -> list[str]:
    """Split a variable that holds several values with spaces in them: one a line."""
    return text.splitlines()


_seconds = _scaled({"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}, "time")
_bytes = _scaled(
    {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}, "size"
)


def default_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "crawler"


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every door knows."""

    config: Annotated[Path | None, _flag("TOML file with any of these settings.", _OUT, common=True)] = None
    state: Annotated[Path | None, _flag("Where jobs keep their state; a local disk.", JOB)] = None
    log_file: Annotated[Path | None, _flag("Log to this file instead of stderr.", _OUT)] = None
    quiet: Annotated[bool, _flag("Print errors and the summary only.", _OUT, common=True)] = False

    @property
    def state_directory(self) -> Path:
        return absolute(self.state or default_state(), "--state")


@dataclass(frozen=True, kw_only=True)
class Keyed(Common):
    """What doors know that talk to a broker."""

    key_file: Annotated[Path | None, _flag("The shared secret of collector and workers.", _NETWORK, common=True)] = None


@dataclass(frozen=True, kw_only=True)
class Working(Keyed):
    """What doors with download workers know."""

    connections: Annotated[int, _flag("Downloads at a time in one process.", _PROCESSES)] = 64
    store_endpoint: Annotated[
        str, _flag("Where the object store of --output answers, such as http://127.0.0.1:9000.", _NETWORK)
    ] = ""
    unencrypted: Annotated[bool, _flag("No TLS between machines: who listens sees and forges all.", _NETWORK)] = False


@dataclass(frozen=True, kw_only=True)
class Signing:
    """What doors know that sign in at sites."""

    cookies: Annotated[Path | None, _flag("Cookies to sign in with, in Netscape's format.", _ACCESS)] = None
    header: Annotated[
        tuple[str, ...], _flag("'Name: value' for the sites, or 'HOST Name: value'.", _ACCESS, env_var_split=_lines)
    ] = ()
    netrc: Annotated[bool, _flag("Sign in with what ~/.netrc has for the sites' hosts.", _ACCESS)] = False
    client_cert: Annotated[Path | None, _flag("Certificate and key (PEM) for the sites' hosts.", _ACCESS)] = None


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What doors know whose requests go to sites."""

    allow_net: Annotated[
        tuple[str, ...], _flag("Open a private network (CIDR) to requests.", _POLITENESS, common=True)
    ] = ()
    proxy: Annotated[str, _flag("Ask sites through http(s)://HOST:PORT, from all machines.", _NETWORK)] = ""
    proxy_env: Annotated[bool, _flag("Use each machine's http_proxy, https_proxy, no_proxy.", _NETWORK)] = False


@dataclass(frozen=True, kw_only=True)
class Job(Working, Signing, Asking):
    """What a job is made of."""

    sites_file: Annotated[Path | None, _flag("File with one site a line.", JOB)] = None
    urls: Annotated[str, _flag("List of image URLs: txt, csv, tsv, jsonl, parquet, .gz; or -", JOB, common=True)] = ""
    url_column: Annotated[str, _flag("The list's column of URLs.", JOB)] = ""
    caption_column: Annotated[str, _flag("The list's column of captions.", JOB)] = ""
    job: Annotated[str, _flag("Name of the job; by default from site or list.", JOB, common=True)] = ""
    output: Annotated[
        str,
        _flag(
            "Where images and ledger go, in a folder per job: a directory, or s3://, gs://, az://.", JOB, common=True
        ),
    ] = "downloads"
    export: Annotated[bool, _flag("Only write the ledger's files, as things stand.", _OUT)] = False

    scope: Annotated[
        Literal["host", "domain", "prefix", "any"], _flag("Which pages belong to a site.", _PAGES, common=True)
    ] = "host"
    depth: Annotated[int, _flag("Links from the first page at most; 0: no limit.", _PAGES, common=True)] = 0
    max_pages: Annotated[int, _flag("Pages of a run at most; 0: no limit.", _PAGES, common=True)] = 0
    include: Annotated[tuple[str, ...], _flag("Read only pages whose URL matches this regex.", _PAGES)] = ()
    exclude: Annotated[tuple[str, ...], _flag("Never read pages whose URL matches this regex.", _PAGES)] = ()
    icons: Annotated[bool, _flag("Also icons and tracking pixels.", _PAGES)] = False
    variants: Annotated[Literal["best", "all"], _flag("Of an image in several sizes the best one, or all.", _PAGES)] = (
        "best"
    )
    css: Annotated[bool, _flag("Also images of style sheets that pages link.", _PAGES, common=True)] = False
    sitemap: Annotated[tuple[str, ...], _flag("A sitemap to begin with, beside sites.", _PAGES)] = ()
    no_sitemaps: Annotated[bool, _flag("Do not look for sitemaps.", _PAGES)] = False
    max_alike: Annotated[
        int, _flag("Pages that differ in one number or parameter at most; 0: no limit, endless URLs too.", _PAGES)
    ] = 1000
    page_deadline: Annotated[float, _flag("Time for a page in all.", _PAGES, converter=_seconds)] = 60.0
    max_page_bytes: Annotated[float, _flag("Largest page.", _PAGES, converter=_bytes)] = 20 * 2**20

    requests_per_host: Annotated[int, _flag("Requests at a time per host.", _POLITENESS, common=True)] = 8
    delay: Annotated[
        float,
        _flag("Pause between requests to a host, then one at a time.", _POLITENESS, common=True, converter=_seconds),
    ] = 0.0
    ignore_robots: Annotated[bool, _flag("Do not ask robots.txt; only for sites that are yours.", _POLITENESS)] = False
    respect: Annotated[tuple[str, ...], _flag("Also keep to these rules: tdm, nofollow.", _POLITENESS)] = ()
    ignore: Annotated[
        tuple[str, ...], _flag("Do not keep to these rules: robots, meta-robots, x-robots-tag, noai.", _POLITENESS)
    ] = ()
    contact: Annotated[str, _flag("Your URL or e-mail, told to sites in the User-Agent.", _POLITENESS, common=True)] = (
        ""
    )
    user_agent: Annotated[str, _flag("The whole User-Agent.", _POLITENESS)] = ""
    queue_limit: Annotated[int, _flag("Waiting images of a source at which it pauses.", _POLITENESS)] = 50_000

    connect_timeout: Annotated[float, _flag("Time to connect.", _IMAGES, converter=_seconds)] = 5.0
    timeout: Annotated[float, _flag("Time for an image in all.", _IMAGES, converter=_seconds)] = 60.0
    max_image_bytes: Annotated[float, _flag("Largest image.", _IMAGES, converter=_bytes)] = 50 * 2**20
    max_redirects: Annotated[int, _flag("Redirects followed.", _IMAGES)] = 5
    formats: Annotated[tuple[str, ...], _flag("Keep only these formats (jpeg, png, webp …).", _IMAGES)] = ()
    min_width: Annotated[int, _flag("Leave out images that are narrower (pixels).", _IMAGES)] = 0
    min_height: Annotated[int, _flag("Leave out images that are lower (pixels).", _IMAGES)] = 0
    min_bytes: Annotated[float, _flag("Leave out images with fewer bytes.", _IMAGES, converter=_bytes)] = 0
    max_pixels: Annotated[int, _flag("Leave out images with more pixels; 0 for any.", _IMAGES)] = 100_000_000
    svg: Annotated[
        Literal["any", "safe"], _flag("SVGs: any, or none that runs a script or loads from elsewhere.", _IMAGES)
    ] = "any"
    verify: Annotated[
        Literal["structure", "decode"], _flag("Walk the structure of images, or also decode them (Pillow).", _IMAGES)
    ] = "structure"

    max_time: Annotated[float, _flag("Stop after this time (30m, 4h).", _LIMITS, common=True, converter=_seconds)] = 0.0
    max_images: Annotated[int, _flag("Stop after so many images of this start.", _LIMITS)] = 0
    max_bytes: Annotated[float, _flag("Stop after about so much (10G) of this start.", _LIMITS, converter=_bytes)] = 0.0
    min_free: Annotated[float, _flag("Stop when the output disk has less free.", _LIMITS, converter=_bytes)] = 0.0
    fail_above: Annotated[float, _flag("Exit with 1 when more than this percentage failed.", _LIMITS)] = 20.0

    page_processes: Annotated[int, _flag("Processes that read pages.", _PROCESSES)] = 1
    lease: Annotated[
        float, _flag("Silence after which a worker's tasks go to others.", _PROCESSES, converter=_seconds)
    ] = 15.0


@dataclass(frozen=True, kw_only=True)
class CrawlSettings(Job):
    """`python -m crawler`."""

    sites: Annotated[tuple[str, ...], _flag("The same as SITES, for configuration.", JOB)] = ()
    processes: Annotated[int, _flag("Download processes; by default one per core.", _PROCESSES, common=True)] = _CORES


@dataclass(frozen=True, kw_only=True)
class CollectSettings(Job):
    """`python -m crawler.collect`."""

    site: Annotated[tuple[str, ...], _flag("A site's first page; may be repeated.", JOB, common=True)] = ()
    listen: Annotated[str, _flag("HOST:PORT for workers.", _NETWORK, common=True)] = "127.0.0.1:8001"
    advertise: Annotated[str, _flag("The address by which workers reach this machine.", _NETWORK)] = ""
    processes: Annotated[int, _flag("Download processes here, beside the workers.", _PROCESSES, common=True)] = 0

    @property
    def sites(self) -> tuple[str, ...]:
        return self.site


@dataclass(frozen=True, kw_only=True)
class DownloadSettings(Working):
    """`python -m crawler.download`."""

    server: Annotated[str, _flag("The collector: HOST or HOST:PORT.", _NETWORK, common=True)] = ""
    output: Annotated[str, _flag("Where the shared directory is here, if elsewhere than there.", JOB, common=True)] = ""
    keep_local: Annotated[bool, _flag("Keep images here, where the collector does not see them.", JOB, common=True)] = (
        False
    )
    processes: Annotated[int, _flag("Download processes; by default one per core.", _PROCESSES, common=True)] = _CORES
    forever: Annotated[bool, _flag("Wait for the next job after each.", _PROCESSES, common=True)] = False
    wait: Annotated[
        float | None,
        _flag(
            "Time to wait for a collector: 60 s, for ever with --forever.", _NETWORK, common=True, converter=_seconds
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class StatusSettings(Keyed):
    """`python -m crawler.status`."""

    job: Annotated[str, _flag("The same as JOB, for configuration.", JOB)] = ""


@dataclass(frozen=True, kw_only=True)
class InspectSettings(Common, Signing, Asking):
    """`python -m crawler.inspect`."""

    targets: Annotated[tuple[str, ...], _flag("The same as TARGETS, for configuration.", JOB)] = ()
    json: Annotated[bool, _flag("One JSON object a line.", _OUT, common=True)] = False
    base: Annotated[str, _flag("The URL that files are taken to come from.", _PAGES, common=True)] = ""
    scope: Annotated[
        Literal["host", "domain", "prefix", "any"], _flag("Which pages belong to a site.", _PAGES, common=True)
    ] = "host"
    contact: Annotated[str, _flag("Your URL or e-mail, told to sites in the User-Agent.", _POLITENESS, common=True)] = (
        ""
    )
    user_agent: Annotated[str, _flag("The whole User-Agent.", _POLITENESS)] = ""
