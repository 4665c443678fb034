"""A job's settings, as every process that works on it has them."""

from __future__ import annotations

import hashlib

import msgspec

from crawler import __version__, captions
from crawler.model import SourceDetail
from crawler.transforms.transform import Transform


class Cookie(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie that a person brings; `expires` is 0 where it ends with the session.

    It goes to the default ports, and to `ports`.
    """

    domain: str
    subdomains: bool
    path: str
    secure: bool
    ports: tuple[str, ...] = ()
    expires: int
    name: str
    value: str


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What sites may see of who we are; never logged."""

    cookies: tuple[Cookie, ...] = ()
    headers: tuple[tuple[str, str, str], ...] = ()  #: HOST or https://HOST, name, value
    certificate: str = ""  #: with its key, PEM
    certificate_hosts: tuple[str, ...] = ()  #: HOST or HOST:PORT
    unverified: tuple[str, ...] = ()  #: HOST or HOST:PORT whose certificates are not checked

    def __repr__(self) -> str:
        return "Access(…)"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What is other for one source of a job than for the rest; what is empty or None is not."""

    name: str
    scope: str = ""
    depth: int | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_time: float = 0.0  #: seconds of a start in which it is worked on; 0 is without limit
    max_images: int = 0  #: saved in a run; 0 is without limit


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A job's settings, the same for every process that works on it."""

    job: str
    sources: tuple[tuple[str, SourceDetail], ...] = ()  #: URL and detail
    job_id: str = ""  #: random; also in `<output>/<job>/.job`
    output: str = ""
    # pages
    scope: str = "host"
    depth: int = 0  #: 0 is without limit
    max_pages: int = 0
    max_alike: int = 1000  #: pages that differ in one number or parameter; 0 is without limit
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    page_deadline: float = 60.0
    page_max_bytes: int = 20 * 2**20
    # politeness
    requests_per_host: int = 8
    delay: float = 0.0
    obey_robots: bool = True
    obeyed: tuple[str, ...] = ()  #: the other rules that are kept to, by name (crawler.optout)
    user_agent: str = ""
    allow_net: tuple[str, ...] = ()
    proxy: str = ""  #: its URL; it may hold a password
    proxy_env: bool = False  #: each machine asks through the proxies that its own environment names
    access: Access = Access()
    queue_limit: int = 50_000
    lease: float = 15.0
    # images
    connect_timeout: float = 5.0
    timeout: float = 60.0
    max_image_bytes: int = 50 * 2**20
    max_redirects: int = 5
    formats: tuple[str, ...] = ()
    min_width: int = 0
    min_height: int = 0
    min_bytes: int = 0
    max_pixels: int = 100_000_000
    svg: str = "any"  #: `safe`: none that runs or loads something
    verify: str = "structure"  #: `decode`: also to the last pixel
    keep_runs: int = 100  #: whose numbers the state remembers; 0 is all
    refresh: str = "auto"  #: what an earlier run has: `auto` asks where there may be news, `always`, or `new`: never
    forgotten: tuple[str, ...] = ()  #: SHA-256 of contents that are not to be stored
    forgotten_urls: tuple[str, ...] = ()  #: ids, hex, of what is not to be asked for, by a redirect either
    # datasets
    phash: bool = False  #: perceptual hashes of what is fetched
    store: str = "files"  #: or `shards`
    shard_samples: int = 10_000
    shard_bytes: int = 2**30
    shard_seconds: float = 300.0
    transform: Transform = Transform()  #: of what goes into shards
    # limits of a run
    max_images: int = 0
    css: bool = False  #: also style sheets that pages link
    sitemaps: bool = True  #: look for them
    icons: bool = False  #: also what people call no image of a page: icons, tracking pixels
    caption_from: tuple[str, ...] = captions.DEFAULT  #: kinds of words, best first
    variants: str = "best"  #: `best`: one image of those that are the same in several sizes; `all`: each
    # sites that are other
    sites: tuple[Site, ...] = ()
    only: tuple[str, ...] = ()  #: names of the sources that this run has; empty is all
    delays: tuple[tuple[str, float], ...] = ()  #: HOST or HOST:PORT, and seconds between requests there

    @property
    def reading(self) -> tuple[object, ...]:
        """What decides which of its links a page is read for, beside its bytes."""
        return (
            __version__, self.scope, self.depth, self.max_pages, self.max_alike, self.include, self.exclude,
            self.obeyed, self.user_agent, self.css, self.sitemaps, self.icons, self.variants,
            hashlib.sha256(msgspec.msgpack.encode(self.access)).digest(),  # who signs in sees more
            *((site.name, site.scope, site.depth, site.include, site.exclude) for site in self.sites),
        )  # fmt: skip

    def of_site(self, name: str) -> Spec:
        """Return the settings that hold for the pages of one source."""
        site = next((site for site in self.sites if site.name == name), None)
        if site is None:
            return self
        return msgspec.structs.replace(
            self, scope=site.scope or self.scope, depth=self.depth if site.depth is None else site.depth,
            include=site.include or self.include, exclude=site.exclude or self.exclude,
        )  # fmt: skip

    @property
    def counts_links(self) -> bool:
        """Tell whether how many links a page is away decides if it is read."""
        return bool(self.depth) or any(site.depth for site in self.sites)

    @property
    def per_row(self) -> bool:
        """Tell whether rows of a list that have one URL are samples of their own."""
        return any(detail.per_row for _, detail in self.sources)

    @property
    def reads_pages(self) -> bool:
        """Tell whether it begins with anything but lists, which name images only."""
        return any(detail.sort != "list" for _, detail in self.sources)
