"""The sites of a job: from flags, from a file with one a line, or from a TOML file with settings for each."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from crawler.access import USER_AGENT
from crawler.errors import UsageError
from crawler.flags import Setting, converted, read_toml, settings_of
from crawler.model import MAX_WHOLE
from crawler.pages.scope import Scope
from crawler.paths import absolute
from crawler.settings import CollectSettings, CrawlSettings, Job, SiteSettings
from crawler.signing import Header, access_of, cookies_of, headers_of, place, signed_with
from crawler.spec import Access, Site, Spec
from crawler.urls import address, from_command_line, without_www

_FILE = "--sites-file"
_AS_ALL = SiteSettings()
_TEXTS = {"name": re.compile("[^\x00-\x1f\x7f\ud800-\udfff]*"), "user_agent": re.compile("[ -~]*")}


class NamedSite(msgspec.Struct, frozen=True):
    """A site, or a sitemap to begin with, as a person named it."""

    url: str
    name: str
    signed: str = ""  #: the Authorization that user and password in its URL stand for
    settings: SiteSettings = _AS_ALL
    is_sitemap: bool = False

    @property
    def host(self) -> str:
        """HOST or HOST:PORT without `www.`, as settings of hosts name it."""
        return without_www(address(self.url).authority)


def named_sites(settings: CrawlSettings | CollectSettings) -> list[NamedSite]:
    """Return the sites and sitemaps of the settings, each URL once.

    Raises UsageError where one is no URL, two have one name, or the file cannot be read.
    """
    named = [_site(text) for text in settings.sites]
    if settings.sites_file is not None:
        path = absolute(settings.sites_file, _FILE)
        named += _of_toml(path) if path.suffix == ".toml" else _of_lines(path)
    named += [_site(text, is_sitemap=True) for text in settings.sitemap]
    found: dict[str, NamedSite] = {}
    for site in named:
        known = found.get(site.url)
        if known is not None and _AS_ALL not in (known.settings, site.settings):
            raise UsageError(f"{site.url} stands twice in the sites file, as {known.name!r} and as {site.name!r}")
        if known is None or (known.settings == _AS_ALL and not site.is_sitemap):
            found[site.url] = replace(site, signed=site.signed or (known.signed if known else ""))
    for name, number in Counter(site.name for site in found.values()).items():
        if number > 1:
            raise UsageError(f"{number} sites are called {name!r}; give each a name of its own ({_FILE} sites.toml)")
    return list(found.values())


def sites_of(settings: CrawlSettings | CollectSettings) -> list[str]:
    """Return the first pages of all sites."""
    return [site.url for site in named_sites(settings) if not site.is_sitemap]


def _site(text: str, settings: SiteSettings = _AS_ALL, *, is_sitemap: bool = False) -> NamedSite:
    bare, signed = signed_with(text)
    url = from_command_line(bare)
    if url is None:
        raise UsageError(f"{bare!r} is no site; write example.com or https://example.com/start/")
    name = settings.name or url.partition("://")[2].rstrip("/")
    return NamedSite(url, name, signed, settings, is_sitemap)


def _of_lines(path: Path) -> list[NamedSite]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"the sites file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the sites file {path} is no UTF-8 text: {error}") from error
    return [_site(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _of_toml(path: Path) -> list[NamedSite]:
    content = read_toml(path, "the sites file")
    tables = content.pop("site", [])
    if content or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"the sites file {path}: write each site as a table [[site]], and nothing beside them")
    return [_of_table(table, f"{path}: site {number}", path.parent) for number, table in enumerate(tables, 1)]


@cache
def _keys() -> dict[str, Setting]:
    return settings_of(SiteSettings)


def _of_table(table: dict[str, object], where: str, folder: Path) -> NamedSite:
    keys = _keys()
    unknown = sorted(table.keys() - keys.keys())
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(keys)}")
    values = {key: converted(f"{where}: {key}", keys[key].read_key, value) for key, value in table.items()}
    if isinstance(cookies := values.get("cookies"), Path):
        values["cookies"] = folder / cookies
    settings = SiteSettings(**values)
    _check(settings, where)
    return _site(settings.url, settings)


def _check(settings: SiteSettings, where: str) -> None:
    if not settings.url:
        raise UsageError(f"{where}: its url is missing")
    for key in ("depth", "delay", "max_time", "max_images"):
        if not 0 <= (getattr(settings, key) or 0) <= MAX_WHOLE:
            raise UsageError(f"{where}: {key} must be at least 0 and at most {MAX_WHOLE:,}")
    for key, allowed in _TEXTS.items():
        if not allowed.fullmatch(getattr(settings, key)):
            raise UsageError(f"{where}: {key}: it has characters that cannot stand there")
    try:
        Scope("host", settings.include, settings.exclude)
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{where}: include and exclude take regular expressions: {error}") from error


# What becomes of the settings of sites


def others(named: list[NamedSite]) -> tuple[Site, ...]:
    """Return the sites that are other than the rest of the job."""
    sites = [
        Site(
            name=one.name, scope=one.settings.scope or "", depth=one.settings.depth, include=one.settings.include,
            exclude=one.settings.exclude, max_time=one.settings.max_time, max_images=one.settings.max_images,
        )
        for one in named
    ]  # fmt: skip
    return tuple(site for site in sites if site != Site(name=site.name))


def delays_of(named: list[NamedSite]) -> tuple[tuple[str, float], ...]:
    """Return the pauses of the hosts that have one of their own; of several for one host the longest."""
    found: dict[str, float] = {}
    for site in named:
        if site.settings.delay is not None:
            found[site.host] = max(found.get(site.host, 0.0), site.settings.delay)
    return tuple(found.items())


def access_of_sites(settings: Job, named: list[NamedSite]) -> Access:
    """Return what the settings let sites see; raises UsageError that names none of what is secret."""
    signed: list[Header] = [(place(site.url), "Authorization", site.signed) for site in named if site.signed]
    access = access_of(settings, [site.url for site in named], signed)
    headers, cookies, unverified = list(access.headers), list(access.cookies), []
    for site in named:
        own, where = site.settings, place(site.url)
        headers += [header for text in own.header for header in headers_of(text, [where], f"{site.name}: header")]
        if own.user_agent:
            headers.append((where, USER_AGENT, own.user_agent))
        if own.cookies:
            cookies += cookies_of(own.cookies, [site.url], f"{site.name}: cookies")
        if not own.tls_verify:
            unverified.append(site.host)
    return replace(access, headers=tuple(headers), cookies=tuple(cookies), unverified=tuple(unverified))


def chosen(only: tuple[str, ...], sources: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of the sources, of (name, URL), that `only` names; raises UsageError where it names none."""
    names = {name: name for name, _ in sources} | {url: name for name, url in sources}
    for text in only:
        if text not in names and (url := from_command_line(text)) in names:
            names[text] = names[url]
        if text not in names:
            known = ", ".join(name for name, _ in sources[:20]) + (", …" if len(sources) > 20 else "")
            raise UsageError(f"--only {text!r}: no site of this job is called so; there are {known}")
    return tuple(dict.fromkeys(names[text] for text in only))


def needs_one_broker(spec: Spec) -> str:
    """Return what of the settings only the broker of one collector keeps, not a Redis, or `""`."""
    if spec.only:
        return "--only"
    if spec.delays:
        return "delay of a site"
    if any(site.max_time or site.max_images for site in spec.sites):
        return "max_time and max_images of a site"
    return ""
