"""The settings of the doors: one class each; defaults < config file < environment < flags."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar

from crawler.paths import absolute

ENVIRONMENT = "CRAWLER_"
#: Variables that are no field: the key is a secret and never a flag.
KEY_VARIABLE = "CRAWLER_KEY"
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

#: Under which the flags stand in the help, in this order.
GROUPS = (
    JOB, _LIST, _PAGES, _POLITENESS, _ACCESS, _IMAGES, _DATA, _LIMITS, _PROCESSES, _NETWORK, _OUT
) = (
    "Job", "Lists", "Pages", "Politeness", "Signing in", "Images", "Datasets", "Limits of a run", "Processes",
    "Network", "Output",
)  # fmt: skip
_INTERPOLATION = Literal["nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4"]


class Scale:
    """Numbers with a unit behind them: `30m`, `1.5G`; without one they are of the first."""

    def __init__(self, name: str, units: dict[str, float]) -> None:
        self.name = name
        self._units = {"": 1.0, **units}
        self._factors = {unit.lower(): factor for unit, factor in self._units.items()}

    def __call__(self, text: str) -> float:
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
        if match is None or match[2].lower() not in self._factors:
            units = ", ".join(filter(None, self._units))
            raise ValueError(f"{text!r} is no {self.name}: write a number, with one of {units}")
        return float(match[1]) * self._factors[match[2].lower()]

    def show(self, value: float) -> str:
        """Return `value` in the largest unit of which it is a whole number."""
        whole = [unit for unit, factor in self._units.items() if value % factor == 0]
        unit = max(whole, key=lambda unit: (self._units[unit], unit != "", -len(unit)))
        return f"{value / self._units[unit]:g}{unit}"


_seconds = Scale("time", {"s": 1, "m": 60, "h": 3600, "d": 86400})
_bytes = Scale(
    "size", {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
)


class Flag(NamedTuple):
    """How a setting is given; `common` ones are shown by `--help`, all by `--help-all`."""

    help: str
    group: str
    common: bool = False
    convert: Callable[[str], object] | None = None  #: where the field's type does not say it
    alone: str | None = None  #: what it means without a value, where it may stand so
    by_line: bool = False  #: several values in a variable stand one a line, not one a word
    flag_only: bool = False  #: of one start alone: neither a variable nor a key


def default_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "crawler"


class Settings:
    """Values by name, that do not change; those that are not given are the defaults of the class.

    No dataclass: to make sixteen of them, of some hundred fields, took a door 20 ms each time it was opened.
    """

    def __init__(self, **values: Any) -> None:
        defaults = self.defaults()
        if unknown := values.keys() - defaults.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        vars(self).update(defaults | values)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of each setting, by its name and in the order of the classes."""
        kinds = [kind for kind in reversed(cls.__mro__) if issubclass(kind, Settings)]
        return {name: getattr(cls, name) for kind in kinds for name in kind.__annotations__}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} is set when a {type(self).__name__} is made, and stays")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        told = (f"{name}={value!r}" for name, value in vars(self).items() if value != getattr(type(self), name))
        return f"{type(self).__name__}({', '.join(told)})"


S = TypeVar("S", bound=Settings)


def changed(settings: S, **values: Any) -> S:
    """Return settings that differ in `values`."""
    return type(settings)(**(vars(settings) | values))


class Common(Settings):
    """What every door knows."""

    config: Annotated[Path | None, Flag("TOML file with any of these settings.", _OUT, common=True)] = None
    state: Annotated[Path | None, Flag("Where jobs keep their state; a local disk.", JOB)] = None
    log_file: Annotated[Path | None, Flag("Log to this file instead of stderr.", _OUT)] = None
    quiet: Annotated[bool, Flag("Print errors and the summary only.", _OUT, common=True)] = False

    @property
    def state_directory(self) -> Path:
        return absolute(self.state or default_state(), "--state")


class Keyed(Common):
    """What doors know that talk to a broker."""

    key_file: Annotated[Path | None, Flag("The shared secret of collector and workers.", _NETWORK, common=True)] = None


class Working(Keyed):
    """What doors with download workers know."""

    connections: Annotated[int, Flag("Downloads at a time in one process.", _PROCESSES)] = 64
    store_endpoint: Annotated[
        str, Flag("Where the object store of --output answers, such as http://127.0.0.1:9000.", _NETWORK)
    ] = ""
    unencrypted: Annotated[bool, Flag("No TLS between machines: who listens sees and forges all.", _NETWORK)] = False


class Signing(Settings):
    """What doors know that sign in at sites."""

    cookies: Annotated[Path | None, Flag("Cookies to sign in with, in Netscape's format.", _ACCESS)] = None
    header: Annotated[
        tuple[str, ...], Flag("'Name: value' for the sites, or 'HOST Name: value'.", _ACCESS, by_line=True)
    ] = ()
    netrc: Annotated[bool, Flag("Sign in with what ~/.netrc has for the sites' hosts.", _ACCESS)] = False
    client_cert: Annotated[Path | None, Flag("Certificate and key (PEM) for the sites' hosts.", _ACCESS)] = None


class Asking(Settings):
    """What doors know whose requests go to sites."""

    allow_net: Annotated[
        tuple[str, ...], Flag("Open a private network (CIDR) to requests.", _POLITENESS, common=True)
    ] = ()
    proxy: Annotated[str, Flag("Ask sites through http(s)://HOST:PORT, from all machines.", _NETWORK)] = ""
    proxy_env: Annotated[bool, Flag("Use each machine's http_proxy, https_proxy, no_proxy.", _NETWORK)] = False


class Transforming(Settings):
    """What doors know that change images on their way into a dataset; names are img2dataset's, where it has one."""

    resize: Annotated[
        Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"],
        Flag("How images of a dataset are resized to --image-size.", _DATA, common=True),
    ] = "no"
    image_size: Annotated[int, Flag("Side to which they are resized (pixels).", _DATA, common=True)] = 256
    resize_only_if_bigger: Annotated[bool, Flag("Enlarge none.", _DATA)] = False
    upscale_interpolation: Annotated[_INTERPOLATION, Flag("By which smaller ones are enlarged.", _DATA)] = "lanczos"
    downscale_interpolation: Annotated[_INTERPOLATION, Flag("By which larger ones are made smaller.", _DATA)] = "area"
    encode: Annotated[Literal["jpg", "png", "webp", "avif"] | None, Flag("Encode them so.", _DATA, common=True)] = None
    encode_quality: Annotated[int | None, Flag("95 of jpg and webp, 75 of avif; of png its compression, 9.", _DATA)] = (
        None
    )
    skip_reencode: Annotated[bool, Flag("Leave what has the format already, and its size.", _DATA)] = False
    animation: Annotated[
        Literal["first", "keep"], Flag("Of what is animated keep the first frame, or all, when transformed.", _DATA)
    ] = "first"
    background: Annotated[
        str, Flag("What alpha and borders become: #rrggbb, a colour's name, or transparent.", _DATA)
    ] = "white"
    min_image_size: Annotated[int, Flag("Leave out what has a shorter side (pixels).", _DATA)] = 0
    max_image_area: Annotated[int, Flag("Leave out what has more pixels; 0 for any.", _DATA)] = 0
    max_aspect_ratio: Annotated[
        float, Flag("Leave out what is longer than so many times its width; 0 for any.", _DATA)
    ] = 0.0


class Job(Working, Signing, Asking, Transforming):
    """What a job is made of."""

    sites_file: Annotated[
        Path | None, Flag("Sites, one a line; or .toml, with settings for each.", JOB, common=True)
    ] = None
    only: Annotated[tuple[str, ...], Flag("Of the job's sites only this one, by name or URL.", JOB)] = ()
    urls: Annotated[
        str,
        Flag(
            "List of image URLs, or a folder of lists: txt, csv, tsv, json, jsonl, parquet, .gz; or -",
            _LIST,
            common=True,
        ),
    ] = ""
    input_format: Annotated[
        Literal[
            "auto", "txt", "txt.gz", "csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "json", "json.gz", "parquet"
        ],
        Flag("What the list is; auto: as its name ends.", _LIST),
    ] = "auto"
    url_column: Annotated[str, Flag("The list's column of URLs.", _LIST)] = ""
    caption_column: Annotated[str, Flag("The list's column of captions.", _LIST)] = ""
    columns: Annotated[tuple[str, ...], Flag("Its other columns that are kept (a,b); by default all.", _LIST)] = ()
    verify_hash: Annotated[
        str, Flag("Its column of hashes (md5, sha1, sha256, sha512), which the images must have.", _LIST)
    ] = ""
    per: Annotated[
        Literal["url", "row"], Flag("One sample of each URL, or of each row: rows may have one URL.", _LIST)
    ] = "url"
    job: Annotated[str, Flag("Name of the job; by default from site or list.", JOB, common=True)] = ""
    output: Annotated[
        str,
        Flag("Where images and ledger go, in a folder per job: a directory, or s3://, gs://, az://.", JOB, common=True),
    ] = "downloads"
    export: Annotated[bool, Flag("Only write the ledger's files, as things stand.", _OUT)] = False
    adopt: Annotated[bool, Flag("Make a state that was lost anew, from the job's ledger.", _OUT)] = False
    prune: Annotated[
        str, Flag("Remove files of what is gone, at the end; more than 10% of all: the number.", _OUT, alone="10%")
    ] = ""
    retry_failed: Annotated[
        str, Flag("Only images that failed, again: all, or kinds (timeout,http_5xx).", JOB, common=True, alone="all")
    ] = ""

    scope: Annotated[
        Literal["host", "domain", "prefix", "any"], Flag("Which pages belong to a site.", _PAGES, common=True)
    ] = "host"
    depth: Annotated[int, Flag("Links from the first page at most; 0: no limit.", _PAGES, common=True)] = 0
    max_pages: Annotated[int, Flag("Pages of a run at most; 0: no limit.", _PAGES, common=True)] = 0
    include: Annotated[tuple[str, ...], Flag("Read only pages whose URL matches this regex.", _PAGES)] = ()
    exclude: Annotated[tuple[str, ...], Flag("Never read pages whose URL matches this regex.", _PAGES)] = ()
    icons: Annotated[bool, Flag("Also icons and tracking pixels.", _PAGES)] = False
    variants: Annotated[Literal["best", "all"], Flag("Of an image in several sizes the best one, or all.", _PAGES)] = (
        "best"
    )
    css: Annotated[bool, Flag("Also images of style sheets that pages link.", _PAGES, common=True)] = False
    sitemap: Annotated[tuple[str, ...], Flag("A sitemap to begin with, beside sites.", _PAGES)] = ()
    no_sitemaps: Annotated[bool, Flag("Do not look for sitemaps.", _PAGES)] = False
    max_alike: Annotated[
        int, Flag("Pages that differ in one number or parameter at most; 0: no limit, endless URLs too.", _PAGES)
    ] = 1000
    page_deadline: Annotated[float, Flag("Time for a page in all.", _PAGES, convert=_seconds)] = 60.0
    max_page_bytes: Annotated[float, Flag("Largest page.", _PAGES, convert=_bytes)] = 20 * 2**20

    requests_per_host: Annotated[int, Flag("Requests at a time per host.", _POLITENESS, common=True)] = 8
    delay: Annotated[
        float,
        Flag("Pause between requests to a host, then one at a time.", _POLITENESS, common=True, convert=_seconds),
    ] = 0.0
    ignore_robots: Annotated[bool, Flag("Do not ask robots.txt; only for sites that are yours.", _POLITENESS)] = False
    respect: Annotated[tuple[str, ...], Flag("Also keep to these rules: tdm, nofollow.", _POLITENESS)] = ()
    ignore: Annotated[
        tuple[str, ...], Flag("Do not keep to these rules: robots, meta-robots, x-robots-tag, noai.", _POLITENESS)
    ] = ()
    contact: Annotated[str, Flag("Your URL or e-mail, told to sites in the User-Agent.", _POLITENESS, common=True)] = ""
    user_agent: Annotated[str, Flag("The whole User-Agent.", _POLITENESS)] = ""
    queue_limit: Annotated[int, Flag("Waiting images of a source at which it pauses.", _POLITENESS)] = 50_000

    connect_timeout: Annotated[float, Flag("Time to connect.", _IMAGES, convert=_seconds)] = 5.0
    timeout: Annotated[
        float,
        Flag("Time for an image in all; a sixth of it, 10s at least, at less than 1 kB/s.", _IMAGES, convert=_seconds),
    ] = 60.0
    max_image_bytes: Annotated[float, Flag("Largest image.", _IMAGES, convert=_bytes)] = 50 * 2**20
    max_redirects: Annotated[int, Flag("Redirects followed.", _IMAGES)] = 5
    formats: Annotated[tuple[str, ...], Flag("Keep only these formats (jpeg, png, webp …).", _IMAGES)] = ()
    min_width: Annotated[int, Flag("Leave out images that are narrower (pixels).", _IMAGES)] = 0
    min_height: Annotated[int, Flag("Leave out images that are lower (pixels).", _IMAGES)] = 0
    min_bytes: Annotated[float, Flag("Leave out images with fewer bytes.", _IMAGES, convert=_bytes)] = 0
    max_pixels: Annotated[int, Flag("Leave out images with more pixels; 0 for any.", _IMAGES)] = 100_000_000
    svg: Annotated[
        Literal["any", "safe"], Flag("SVGs: any, or none that runs a script or loads from elsewhere.", _IMAGES)
    ] = "any"
    verify: Annotated[
        Literal["structure", "decode"], Flag("Walk the structure of images, or also decode them (Pillow).", _IMAGES)
    ] = "structure"

    store: Annotated[
        Literal["files", "shards"],
        Flag("Images as files, or as WebDataset shards with tables.", _DATA, common=True),
    ] = "files"
    shard_samples: Annotated[int, Flag("Rows of a shard at most.", _DATA)] = 10_000
    shard_bytes: Annotated[float, Flag("Size of a shard, about (500M, 1G).", _DATA, convert=_bytes)] = 2**30
    shard_seconds: Annotated[float, Flag("Time after which a shard is closed.", _DATA, convert=_seconds)] = 300.0
    caption_from: Annotated[
        tuple[str, ...],
        Flag("Which words are a caption, best first; by default list,caption,alt,title,json-ld.", _DATA),
    ] = ()
    phash: Annotated[
        bool, Flag("Perceptual hashes of new images, by which near-duplicates are found.", _DATA, common=True)
    ] = False

    refresh: Annotated[
        Literal["auto", "always", "new"],
        Flag("Ask again for what is there: where there may be news, always, or never.", _IMAGES, common=True),
    ] = "auto"

    max_time: Annotated[float, Flag("Stop after this time (30m, 4h).", _LIMITS, common=True, convert=_seconds)] = 0.0
    max_images: Annotated[int, Flag("Stop after so many images of this start.", _LIMITS)] = 0
    max_bytes: Annotated[float, Flag("Stop after about so much (10G) of this start.", _LIMITS, convert=_bytes)] = 0.0
    min_free: Annotated[float, Flag("Stop when the output disk has less free.", _LIMITS, convert=_bytes)] = 0.0
    fail_above: Annotated[float, Flag("Exit with 1 when more than this percentage failed.", _LIMITS)] = 20.0

    keep_runs: Annotated[int, Flag("Records of runs that are kept; 0: all.", _OUT)] = 100
    notify: Annotated[str, Flag("Command that gets each end as JSON on its standard input.", _OUT, common=True)] = ""

    page_processes: Annotated[int, Flag("Processes that read pages.", _PROCESSES)] = 1
    lease: Annotated[
        float, Flag("Silence after which a worker's tasks go to others.", _PROCESSES, convert=_seconds)
    ] = 15.0


class SiteSettings(Settings):
    """A `[[site]]` of a sites file."""

    url: Annotated[str, Flag("Its first page.", JOB)] = ""
    name: Annotated[str, Flag("What it is called in ledger and report.", JOB)] = ""
    scope: Annotated[Literal["host", "domain", "prefix", "any"] | None, Flag("Which pages belong to it.", _PAGES)] = (
        None
    )
    depth: Annotated[int | None, Flag("Links from its first page at most; 0: no limit.", _PAGES)] = None
    include: Annotated[tuple[str, ...], Flag("Read only pages whose URL matches this regex.", _PAGES)] = ()
    exclude: Annotated[tuple[str, ...], Flag("Never read pages whose URL matches this regex.", _PAGES)] = ()
    delay: Annotated[float | None, Flag("Pause between requests to its host.", _POLITENESS, convert=_seconds)] = None
    user_agent: Annotated[str, Flag("The whole User-Agent that its host sees.", _POLITENESS)] = ""
    header: Annotated[tuple[str, ...], Flag("'Name: value' for its host, or 'HOST Name: value'.", _ACCESS)] = ()
    cookies: Annotated[Path | None, Flag("Cookies to sign in with, in Netscape's format.", _ACCESS)] = None
    tls_verify: Annotated[bool, Flag("Check the certificate of its host.", _ACCESS)] = True
    max_time: Annotated[float, Flag("Time for it of a start (30m, 4h).", _LIMITS, convert=_seconds)] = 0.0
    max_images: Annotated[int, Flag("Images of it that a run saves at most.", _LIMITS)] = 0


class CrawlSettings(Job):
    """`python -m crawler`."""

    sites: Annotated[tuple[str, ...], Flag("The same as SITES, for configuration.", JOB)] = ()
    processes: Annotated[int, Flag("Download processes; by default one per core.", _PROCESSES, common=True)] = _CORES


class CollectSettings(Job):
    """`python -m crawler.collect`."""

    site: Annotated[tuple[str, ...], Flag("A site's first page; may be repeated.", JOB, common=True)] = ()
    listen: Annotated[str, Flag("HOST:PORT for workers.", _NETWORK, common=True)] = "127.0.0.1:8001"
    server: Annotated[
        str, Flag("Queue in this Redis (redis://HOST:PORT/0) and listen nowhere.", _NETWORK, common=True)
    ] = ""
    advertise: Annotated[str, Flag("The address by which workers reach this machine.", _NETWORK)] = ""
    processes: Annotated[int, Flag("Download processes here, beside the workers.", _PROCESSES, common=True)] = 0

    @property
    def sites(self) -> tuple[str, ...]:
        return self.site


class DownloadSettings(Working):
    """`python -m crawler.download`."""

    server: Annotated[str, Flag("The collector: HOST or HOST:PORT; or redis://…", _NETWORK, common=True)] = ""
    job: Annotated[str, Flag("Of the jobs in a Redis only this one.", JOB)] = ""
    output: Annotated[str, Flag("Where the shared directory is here, if elsewhere than there.", JOB, common=True)] = ""
    keep_local: Annotated[bool, Flag("Keep images here, where the collector does not see them.", JOB, common=True)] = (
        False
    )
    processes: Annotated[int, Flag("Download processes; by default one per core.", _PROCESSES, common=True)] = _CORES
    forever: Annotated[bool, Flag("Wait for the next job after each.", _PROCESSES, common=True)] = False
    wait: Annotated[
        float | None,
        Flag("Time to wait for a collector: 60 s, for ever with --forever.", _NETWORK, common=True, convert=_seconds),
    ] = None


class Telling(Keyed):
    """What doors know that tell of jobs."""

    server: Annotated[
        str, Flag("Jobs of this Redis (redis://HOST:PORT/0), not of this machine.", _NETWORK, common=True)
    ] = ""
    store_endpoint: Annotated[str, Flag("Where the object store of a job in a Redis answers.", _NETWORK)] = ""


class StatusSettings(Telling):
    """`python -m crawler.status`."""

    job: Annotated[str, Flag("Only this job; for configuration, the same as JOB.", JOB, common=True)] = ""
    image: Annotated[str, Flag("The same as FILE, URL or SHA256, for configuration.", JOB)] = ""


class ExportSettings(Telling, Transforming):
    """`python -m crawler.export`."""

    job: Annotated[str, Flag("The job.", JOB, common=True)] = ""
    format: Annotated[
        Literal["auto", "jsonl", "csv", "parquet", "imagefolder", "webdataset"],
        Flag("A table, or a dataset with its images; auto: as the file's name ends.", _OUT, common=True),
    ] = "auto"
    output: Annotated[str, Flag("The same as FILE, DIR or URL.", _OUT, flag_only=True)] = ""
    where: Annotated[
        str, Flag("Only rows for which this is true, in SQL: \"width >= 256 and caption <> ''\".", _DATA, common=True)
    ] = ""
    dedupe: Annotated[
        Literal["no", "sha256", "perceptual"],
        Flag("One of the images with the same bytes, or of those that look alike.", _DATA, common=True),
    ] = "no"
    distance: Annotated[int, Flag("Bits in which images that look alike may differ.", _DATA)] = 16
    shuffle: Annotated[int | None, Flag("Shuffle the rows, by this seed.", _DATA, common=True)] = None
    shard_samples: Annotated[int, Flag("Rows of a shard at most.", _DATA)] = 10_000
    shard_bytes: Annotated[float, Flag("Size of a shard, about (500M, 1G).", _DATA, convert=_bytes)] = 2**30
    caption_from: Annotated[
        tuple[str, ...],
        Flag("Which words are a caption, best first; by default list,caption,alt,title,json-ld.", _DATA),
    ] = ()
    processes: Annotated[int, Flag("Processes that transform images.", _PROCESSES)] = _CORES
    outcome: Annotated[str, Flag("Only rows with these outcomes (success,http_404,http_5xx).", _OUT, common=True)] = ""


class ForgetSettings(Common):
    """`python -m crawler.forget`."""

    url: Annotated[
        tuple[str, ...], Flag("The URL of an image; may be repeated.", JOB, common=True, flag_only=True)
    ] = ()
    sha256: Annotated[
        tuple[str, ...], Flag("The content of images, under whatever URL.", JOB, common=True, flag_only=True)
    ] = ()
    site: Annotated[
        tuple[str, ...], Flag("All images of a site, by its name or URL.", JOB, common=True, flag_only=True)
    ] = ()
    job: Annotated[str, Flag("Only in this job; by default in all jobs of this machine.", JOB, common=True)] = ""
    yes: Annotated[bool, Flag("Do not ask.", JOB, common=True, flag_only=True)] = False
    store_endpoint: Annotated[str, Flag("Where the object store of the job answers.", _NETWORK)] = ""


class InspectSettings(Common, Signing, Asking):
    """`python -m crawler.inspect`."""

    targets: Annotated[tuple[str, ...], Flag("The same as TARGETS, for configuration.", JOB)] = ()
    json: Annotated[bool, Flag("One JSON object a line.", _OUT, common=True)] = False
    base: Annotated[str, Flag("The URL that files are taken to come from.", _PAGES, common=True)] = ""
    scope: Annotated[
        Literal["host", "domain", "prefix", "any"], Flag("Which pages belong to a site.", _PAGES, common=True)
    ] = "host"
    contact: Annotated[str, Flag("Your URL or e-mail, told to sites in the User-Agent.", _POLITENESS, common=True)] = ""
    user_agent: Annotated[str, Flag("The whole User-Agent.", _POLITENESS)] = ""
