"""What of a document's links becomes tasks, and why the rest does not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from crawler.model import Found, ImageDetail, Kind, PageDetail, pack
from crawler.optout import Reservations, Verdict
from crawler.pages.extract import ImageLink, Links
from crawler.pages.scope import Scope
from crawler.spec import Spec
from crawler.traps import endless
from crawler.urls import address

#: How deep sitemaps may name sitemaps, and style sheets may import style sheets.
MAX_NESTED = 5


class Finding:
    """Gathers what the document at `url` gives to do: tasks, and counts of what is left out, by reason."""

    def __init__(self, spec: Spec, scope: Scope, url: str, detail: PageDetail) -> None:
        self._spec = spec
        self._scope = scope
        self._url = url
        self._detail = detail
        self._base = detail.scope_base or url
        self.found: list[Found] = []
        self.left_out: dict[str, int] = {}

    def take(self, links: Links, verdict: Verdict, reservations: Reservations | None) -> None:
        """Take all that a document names, as far as the settings and the site's own rules let it."""
        self.left_out = dict(links.left_out)
        for image in links.images:
            if image.left_out and not self._spec.icons:
                self._leave(image.left_out)
            else:
                self._take_image(image, links, verdict.images, reservations)
        self._take_others(links, follow=not verdict.links)
        if verdict.links:
            self._leave("nofollow", len(links.pages) + len(links.feeds) + len(links.sitemaps))
        else:
            self._take_pages(links)

    def name(self, sort: str, urls: Collection[str], *, guessed: bool = False) -> None:
        """Add documents other than pages; they may lie anywhere, since pages of the site name them."""
        nested = self._detail.nested + 1 if self._detail.sort == sort else 0
        if nested > MAX_NESTED:
            self._leave("nested", len(urls))
            return
        depth = self._detail.depth + 1
        detail = pack(self._child(depth=depth, sort=sort, guessed=guessed, nested=nested))
        self.found += [Found(Kind.PAGE, url, detail) for url in urls]

    def _child(self, **detail: Any) -> PageDetail:
        """Return the detail of a page that this one names."""
        return PageDetail(scope_base=self._base, site=self._detail.site, **detail)

    def _leave(self, reason: str, number: int = 1) -> None:
        if number:
            self.left_out[reason] = self.left_out.get(reason, 0) + number

    def _take_image(self, image: ImageLink, links: Links, rule: str, reservations: Reservations | None) -> None:
        words = image.words
        words.page_title, words.page_language, words.page_license = links.title, links.language, links.license
        referrer = image.referrer or self._url
        first, *rest = image.candidates
        if not rule and reservations is not None and address(first).origin == address(self._url).origin:
            rule = "tdm: tdmrep.json" if reservations.reserve(first) else ""
        if self._spec.variants == "all":
            detail = pack(ImageDetail(referrer=referrer))
            self.found += [Found(Kind.IMAGE, url, detail, words, rule) for url in image.candidates]
        else:
            detail = pack(ImageDetail(fallbacks=tuple(rest), referrer=referrer))
            self.found.append(Found(Kind.IMAGE, first, detail, words, rule))

    def _take_pages(self, links: Links) -> None:
        depth = self._detail.depth
        listed = self._detail.sort == "sitemap"
        child = pack(self._child(depth=depth + 1, listed=listed))
        for url in links.pages:
            reason = self._refusal(url, links)
            if reason:
                self._leave(reason)
            elif changed := links.lastmod.get(url):
                dated = self._child(depth=depth + 1, lastmod=changed, listed=listed)
                self.found.append(Found(Kind.PAGE, url, pack(dated)))
            else:
                self.found.append(Found(Kind.PAGE, url, child))

    def _refusal(self, url: str, links: Links) -> str:
        """Return why a page is not to be read, or `""`."""
        spec = self._spec
        if reason := self._scope.refuses(url, self._base):
            return reason
        if spec.depth and self._detail.depth >= spec.depth:
            return "depth"
        if url in links.nofollow and "nofollow" in spec.obeyed:
            return "nofollow"
        return endless(url) if spec.max_alike else ""

    def _take_others(self, links: Links, *, follow: bool) -> None:
        if self._spec.css:
            self.name("sheet", links.sheets)
        self.name("manifest", links.manifests)
        if not follow:
            return
        self.name("sitemap", links.sitemaps if self._spec.sitemaps or self._detail.sort == "sitemap" else ())
        for url in links.feeds:
            if reason := self._refusal(url, links):
                self._leave(reason)
            else:
                self.name("feed", [url])
