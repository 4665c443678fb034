"""The link collector's loop: take pages, read them, settle them with all that they name."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from msgspec.structs import replace

from crawler import answers
from crawler.contracts import Broker
from crawler.errors import FetchError
from crawler.guard import Guard
from crawler.leave import Leave
from crawler.model import Kind, PageDetail, PageResult, Settlement, Task, Verb, decode, moved_to, pack
from crawler.optout import TDMREP_PATH, Reservations, of_page
from crawler.outcomes import Outcome
from crawler.pages.extract import read, sitemap
from crawler.pages.extract.links import Links
from crawler.pages.finding import Finding
from crawler.pages.scope import Scope
from crawler.pages.session import Page, PageSession
from crawler.pooled import PooledLoop
from crawler.proxies import Proxies
from crawler.refresh import conditions, confirmed, is_spared, max_age, spared
from crawler.robots import MAX_BYTES
from crawler.spec import Spec
from crawler.urls import address, normalise

log = logging.getLogger(__name__)

#: Pages under way at a time in one process.
THREADS = 16
_PAGES = (
    "text/html", "application/xhtml+xml", "text/plain", "application/xml", "text/xml", "application/rss+xml",
    "application/atom+xml", "application/rdf+xml", "",
)  # fmt: skip
#: Seconds that a site is given to say what it reserves.
TDMREP_TIME = 10.0
#: Sitemaps that one robots.txt may name.
MAX_SITEMAPS = 1000


class PageLoop(PooledLoop):
    """Reads the pages of one job."""

    def __init__(
        self, broker: Broker, worker: str, spec: Spec, *, patience: float, own: Sequence[tuple[str, int]] = ()
    ) -> None:
        super().__init__(broker, worker, spec, patience, THREADS)
        self._of_sites = {site.name: _of(spec.of_site(site.name)) for site in spec.sites}
        self._of_others = _of(spec)
        self._session = PageSession(
            Guard(spec.allow_net, own), spec.user_agent, spec.connect_timeout, THREADS, spec.access,
            Proxies(spec.proxy, of_environment=spec.proxy_env),
        )  # fmt: skip
        self._reservations: dict[str, Reservations] = {}
        self._reserving = threading.Lock()

    def _room(self, now: float) -> dict[Kind, int]:
        return {Kind.PAGE: self._agenda.room(4 * THREADS, now), Kind.ROBOTS: THREADS}

    def _refusal(self, task: Task) -> Settlement | None:
        if task.kind is not Kind.PAGE:
            return None
        if not self._allowed(task):
            return _denied(task)
        detail, past = decode(task.detail, PageDetail), self._past(task)
        if self._is_excluded(task, detail):
            return answers.failed(task, FetchError(Outcome.OUT_OF_SCOPE, "it is left out by the settings of this run"))
        known, now = task.known, time.time()
        if known is None or past is None or not is_spared(known, past, self._spec.refresh, now, detail.lastmod):
            return None
        return answers.unasked(task, 0, pack(spared(known, past)))

    def _is_excluded(self, task: Task, detail: PageDetail) -> bool:
        """Tell whether a page that nobody need have named in this run is one that would not be followed."""
        if not detail.depth or detail.sort != "page":
            return False
        spec, scope = self._settings(detail)
        return bool(scope.refuses(task.url, detail.scope_base)) or 0 < spec.depth < detail.depth

    def _settings(self, detail: PageDetail) -> tuple[Spec, Scope]:
        """Return the settings that hold for a page, and its scope."""
        return self._of_sites.get(detail.site, self._of_others)

    def _past(self, task: Task) -> PageResult | None:
        """Return what a page was, where it can be believed to be still that.

        Not where it or its site speak of the use of images: what they say now is in the whole answer, or elsewhere.
        """
        if task.known is None or "tdm" in self._spec.obeyed:
            return None
        past = decode(task.known.result, PageResult)
        return None if past.opts_out else past

    def _do(self, task: Task, leave: Leave) -> tuple[Settlement | None, Task | None]:
        robots = task.kind is Kind.ROBOTS
        spec = self._spec
        detail = PageDetail() if robots else decode(task.detail, PageDetail)
        past = self._past(task)
        asked = conditions(task, past) if past is not None else {}
        most = {"robots": MAX_BYTES, "sitemap": max(spec.page_max_bytes, sitemap.MAX_BYTES)}
        page = self._session.get(
            task.at,
            spec.page_deadline,
            most.get("robots" if robots else detail.sort, spec.page_max_bytes),
            _is_page if detail.sort == "page" and not robots else (lambda _: True),
            cut=robots,
            leave=leave,
            conditions=asked,
        )
        if page.status == 304 and past is not None and asked:
            if any(of_page((), page.headers, self._agents.of(task.at), spec.obeyed)):
                return None, replace(task, known=None)  # what it says of its images is to be heard whole
            return _unchanged(task, confirmed(past, page.status, page.headers, time.time())), None
        retry = page.headers.get("retry-after", "")
        if 300 <= page.status < 400 and page.headers.get("location"):
            return self._redirected(task, page.headers["location"])
        if robots:
            return answers.robots_read(task, page.status, page.body, self._agents.of(task.at), retry, time.time()), None
        if detail.guessed and 400 <= page.status < 500 and page.status != 429:
            raise FetchError(Outcome.NO_SITEMAP, "")
        if page.status != 200:
            raise answers.http_error(page.status, retry, time.time())
        return self._understood(task, page, detail, leave), None

    def _redirected(self, task: Task, location: str) -> tuple[Settlement | None, Task | None]:
        redirect = answers.follow(task, location, self._spec.max_redirects)
        move = redirect.move
        detail = None if task.kind is Kind.ROBOTS else decode(task.detail, PageDetail)
        near = detail is None or not detail.depth or detail.sort not in ("page", "feed")
        if detail is not None and not near and self._settings(detail)[1].refuses(move.at, detail.scope_base):
            raise FetchError(Outcome.OUT_OF_SCOPE, f"redirects to {move.at[:300]}")
        if redirect.here:
            moved = replace(task, at=move.at, hops=move.hops)
            return (None, moved) if task.kind is Kind.ROBOTS or self._allowed(moved) else (_denied(moved), None)
        return Settlement(number=task.number, verb=Verb.MOVED, move=move), None

    def _understood(self, task: Task, page: Page, detail: PageDetail, leave: Leave) -> Settlement:
        content_type = page.headers.get("content-type", "")
        if detail.sort == "page" and not _is_page(content_type):
            raise FetchError(Outcome.NOT_HTML, f"it is {content_type[:80]}")
        try:
            links = read(page.body, page.headers, task.at, detail.sort)
        except ValueError as error:
            raise FetchError(Outcome.NO_SITEMAP if detail.guessed else Outcome.UNREADABLE, str(error)) from error
        if _is_walled(task, links):
            raise FetchError(Outcome.LOGIN_REQUIRED, "it asks for a password where it showed images (see --cookies)")
        verdict = of_page(links.metas, page.headers, self._agents.of(task.at), self._spec.obeyed)
        finding = Finding(*self._settings(detail), task.at, detail)
        finding.take(links, verdict, self._reservations_of(task.at, leave))
        if not detail.depth and detail.sort == "page":
            self._look_for_sitemaps(task, detail, finding)
        result = PageResult(
            final_url=moved_to(task), status=page.status, images=len(links.images), links=len(links.pages),
            etag=page.headers.get("etag", ""), last_modified=page.headers.get("last-modified", ""),
            max_age=max_age(page.headers, time.time()), asks_password=links.asks_password,
            opts_out=any(found.opted_out for found in finding.found),
        )  # fmt: skip
        script_only = links.scripts and not links.images
        return Settlement(
            number=task.number, verb=Verb.DONE, outcome=Outcome.SCRIPT_ONLY if script_only else Outcome.SUCCESS,
            size=len(page.body), result=pack(result), found=finding.found, left_out=finding.left_out,
        )  # fmt: skip

    def _look_for_sitemaps(self, task: Task, detail: PageDetail, finding: Finding) -> None:
        """Add the sitemaps that robots.txt names, or one where sites usually have it; a depth is counted in links."""
        if not self._spec.sitemaps or self._settings(detail)[0].depth:
            return
        origin, named = address(task.at).origin, self._rules_of(task.at).sitemaps
        urls = [url for text in named[:MAX_SITEMAPS] if (url := normalise(text, origin + "/robots.txt"))]
        finding.name("sitemap", urls or [origin + "/sitemap.xml"], guessed=not urls)

    def _reservations_of(self, url: str, leave: Leave) -> Reservations | None:
        """Return what the site of `url` reserves, asked for once; None where that rule is not kept to."""
        if "tdm" not in self._spec.obeyed:
            return None
        origin = address(url).origin
        with self._reserving:
            if origin not in self._reservations:
                self._reservations[origin] = Reservations(self._tdmrep_of(origin, leave))
            return self._reservations[origin]

    def _tdmrep_of(self, origin: str, leave: Leave) -> bytes:
        """Return what a site says in its tdmrep.json; nothing where it has none, or none that may be asked for."""
        url = origin + TDMREP_PATH
        if not self._rules_of(url).allows(url):
            return b""
        try:
            page = self._session.get(url, TDMREP_TIME, MAX_BYTES, lambda _: True, cut=True, leave=leave)
        except FetchError as error:
            log.warning("%s is taken to reserve nothing: %s", url, error)
            return b""
        return page.body if page.status == 200 else b""


def _of(spec: Spec) -> tuple[Spec, Scope]:
    return spec, Scope(spec.scope, spec.include, spec.exclude)


def _is_page(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in _PAGES


def _is_walled(task: Task, links: Links) -> bool:
    """Tell whether people must sign in now for what a page showed before: then it tells nothing of its images."""
    if task.known is None or not links.asks_password:
        return False
    past = decode(task.known.result, PageResult)
    return not past.asks_password and 2 * len(links.images) < past.images


def _unchanged(task: Task, result: PageResult) -> Settlement:
    return Settlement(number=task.number, verb=Verb.DONE, outcome=Outcome.UNCHANGED, result=pack(result))


def _denied(task: Task) -> Settlement:
    return answers.failed(task, FetchError(Outcome.ROBOTS_DENIED, "robots.txt forbids it"))
