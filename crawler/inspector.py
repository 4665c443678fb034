"""What the collector sees on a page, for people who ask why an image was left out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crawler.building import user_agent
from crawler.checks import check_asking, proxies_of
from crawler.errors import FetchError, UsageError
from crawler.guard import Guard
from crawler.optout import RULES, Verdict, of_page
from crawler.outcomes import Outcome
from crawler.pages.extract import Links, read
from crawler.pages.scope import Scope
from crawler.pages.session import Page, PageSession
from crawler.paths import absolute
from crawler.robots import MAX_BYTES, Rules, product_token
from crawler.robots import read as read_robots
from crawler.settings import InspectSettings
from crawler.shown import shown
from crawler.signing import access_of, place, signed_with
from crawler.traps import endless
from crawler.urls import address, from_command_line, normalise

#: What a document is read as, by its type or the ending of its name; else as a page.
_SORTS = {
    "text/css": "sheet", ".css": "sheet", ".gz": "sitemap", "application/gzip": "sitemap",
    "application/json": "manifest", "application/ld+json": "manifest", ".json": "manifest",
}  # fmt: skip


_NO_WORDS = ("columns", "page_title", "page_language", "page_license")


class Seen(NamedTuple):
    """A page as it was read: where it is, its links, what it says of their use, and robots.txt's verdict."""

    url: str
    links: Links
    verdict: Verdict
    robots: Rules | None


class Inspector:
    """Reads pages from files and from the web, as the collector would."""

    def __init__(self, settings: InspectSettings) -> None:
        self._settings = settings
        self._agent = user_agent(settings.contact, settings.user_agent)
        bare = [signed_with(target) for target in settings.targets]
        urls = [(url, said) for text, said in bare if (url := from_command_line(text))]
        signed = [(place(url), "Authorization", said) for url, said in urls if said]
        access = access_of(settings, [url for url, _ in urls], signed)
        check_asking(settings)
        proxies = proxies_of(settings)
        self._session = PageSession(Guard(settings.allow_net), self._agent, 5.0, access=access, proxies=proxies)
        self._rules: dict[str, Rules] = {}

    def see(self, target: str) -> Seen:
        """Return what is on a page; raises UsageError or FetchError where it cannot be read."""
        path = absolute(Path(target), "FILE")
        if path.is_file():
            try:
                body = path.read_bytes()
            except OSError as error:
                raise UsageError(f"{target} cannot be read: {error.strerror}") from error
            base = self._settings.base
            url = normalise(base) if base else "http://localhost/"
            if url is None:
                raise UsageError(f"--base {base!r} is no http or https URL")
            return self._understand(url, body, {}, None, path.suffix)
        bare, _ = signed_with(target)
        first = from_command_line(bare)
        if first is None or ("/" not in bare and "." not in bare and ":" not in bare):
            raise UsageError(f"{bare!r} is no file that is there, and no URL")
        url, page = self._fetch(first)
        return self._understand(url, page.body, page.headers, self._robots(url))

    def _understand(
        self, url: str, body: bytes, head: Mapping[str, str], rules: Rules | None, suffix: str = ""
    ) -> Seen:
        kind = head.get("content-type", "").partition(";")[0].strip().lower() or suffix
        try:
            links = read(body, head, url, _SORTS.get(kind, "page"))
        except ValueError as error:
            raise FetchError(Outcome.UNREADABLE, f"{url}: {error}") from error
        return Seen(url, links, of_page(links.metas, head, product_token(self._agent), RULES), rules)

    def _fetch(self, url: str, most: int = 20 * 2**20, *, cut: bool = False) -> tuple[str, Page]:
        for _ in range(6):
            page = self._session.get(url, 60.0, most, lambda _: True, cut=cut)
            target = normalise(page.headers.get("location", ""), url) if 300 <= page.status < 400 else None
            if target is None:
                if page.status != 200 and not cut:
                    raise FetchError(Outcome.http(page.status), f"{url} answered {page.status}")
                return url, page
            url = target
        raise FetchError(Outcome.TOO_MANY_REDIRECTS, f"more than 5 redirects, the last to {url[:300]}")

    def _robots(self, url: str) -> Rules:
        origin = address(url).origin
        if origin not in self._rules:
            agent = product_token(self._agent)
            _, page = self._fetch(f"{origin}/robots.txt", MAX_BYTES, cut=True)
            file = read_robots(page.status, page.body, agent)
            self._rules[origin] = Rules(file.text if file.reachable else "User-agent: *\nDisallow: /", agent)
        return self._rules[origin]


def entries(seen: Seen, scope: Scope) -> list[dict[str, Any]]:
    """Return what was seen as JSON objects: the document, then its images, its pages, and what else it names."""
    links = seen.links
    found: list[dict[str, Any]] = [
        {
            "kind": "document", "url": seen.url,
            "encoding": links.encoding or None, "encoding_found_in": links.encoding_found_in or None,
            "title": links.title or None, "language": links.language or None, "canonical": links.canonical or None,
            "license": links.license or None, "runs_scripts": links.scripts,
            "images_opted_out": seen.verdict.images or None, "links_opted_out": seen.verdict.links or None,
            "allowed": seen.robots.allows(seen.url) if seen.robots else None,
        }
    ]  # fmt: skip
    for image in links.images:
        words = {name: getattr(image.words, name) for name in image.words.__struct_fields__ if name not in _NO_WORDS}
        found.append(
            {"kind": "image", "candidates": image.candidates}
            | {name: text or None for name, text in words.items()}
            | {"left_out": image.left_out or None}
        )
    for url in links.pages:
        same = seen.robots is not None and address(url).origin == address(seen.url).origin
        found.append(
            {
                "kind": "page", "url": url, "in_scope": not (why := scope.refuses(url, seen.url)),
                "left_out": why or endless(url) or None, "nofollow": url in links.nofollow,
                "allowed": seen.robots.allows(url) if same and seen.robots else None,
            }
        )  # fmt: skip
    others = {"sheet": links.sheets, "feed": links.feeds, "manifest": links.manifests, "sitemap": links.sitemaps}
    return found + [{"kind": sort, "url": url} for sort, urls in others.items() for url in urls]


def readable(entry: dict[str, Any]) -> list[str]:
    """Return an entry in lines for a person."""
    if entry["kind"] == "document":
        said = [f"{name}: {entry[name]}" for name in ("title", "language", "canonical", "license") if entry[name]]
        said += [
            f"{what} are left alone: {entry[key]}"
            for what, key in (("images", "images_opted_out"), ("links", "links_opted_out"))
            if entry[key]
        ]
        robots = {True: "robots.txt allows it", False: "robots.txt forbids it", None: ""}[entry["allowed"]]
        encoding = f"encoding: {entry['encoding']}, found in: {entry['encoding_found_in']}" if entry["encoding"] else ""
        return [entry["url"], *(f"  {text}" for text in (encoding, *said, robots) if text)]
    if entry["kind"] in ("sheet", "feed", "manifest", "sitemap"):
        return [f"  {entry['kind']:8} {entry['url']}"]
    if entry["kind"] == "page":
        marks = [str(entry["left_out"])] if entry["left_out"] else []
        marks += ["rel=nofollow"] if entry["nofollow"] else []
        marks += ["robots.txt forbids it"] if entry["allowed"] is False else []
        return [f"  page   {entry['url']}" + (f"   [left out: {', '.join(marks)}]" if marks else "")]
    first, *others = entry["candidates"]
    words = [f"{name}: {entry[name]}" for name in ("alt", "title", "caption", "label", "link_text") if entry[name]]
    left_out = f"   [left out: {entry['left_out']}]" if entry["left_out"] else ""
    return [
        f"  image  {first}   ({entry['found_in']}){left_out}",
        *(f"         or {url}" for url in others),
        *(f"         {text}" for text in words),
    ]


def inspect(settings: InspectSettings) -> int:
    if not settings.targets:
        raise UsageError("name a page: a file, or a URL such as example.com")
    inspector, scope = Inspector(settings), Scope(settings.scope)
    worst = 0
    for target in settings.targets:
        try:
            seen = inspector.see(target)
        except FetchError as error:
            print(f"crawler: {shown(signed_with(target)[0])}: {error.outcome}: {shown(str(error))}", file=sys.stderr)
            worst = 1
            continue
        for entry in entries(seen, scope):
            if settings.json:
                print(json.dumps(entry).replace("\x7f", "\\u007f"))
            else:
                print("\n".join(shown(line) for line in readable(entry)))
    return worst
