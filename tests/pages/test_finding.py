"""What of a document's links becomes tasks."""

from __future__ import annotations

from typing import Any

from crawler.model import Found, PageDetail, decode
from crawler.optout import Verdict
from crawler.pages.extract import Links
from crawler.pages.finding import MAX_NESTED, Finding
from crawler.pages.scope import Scope
from crawler.spec import Spec

URL = "https://a.example/page"
FREE = Verdict()


def taken(links: Links, verdict: Verdict = FREE, detail: PageDetail | None = None, **more: Any) -> Finding:
    finding = Finding(Spec(job="j", **more), Scope("host"), URL, detail or PageDetail(depth=2, scope_base=URL))
    finding.take(links, verdict, None)
    return finding


def sorts(found: list[Found]) -> list[tuple[str, str]]:
    return [(decode(one.detail, PageDetail).sort, one.url.rpartition("/")[2]) for one in found]


def test_links_that_are_not_to_be_followed_are_counted() -> None:
    links = Links(
        pages=[URL + "/1"], feeds=[URL + "/f"], sitemaps=[URL + "/s"], sheets=[URL + "/c"], manifests=[URL + "/m"]
    )  # fmt: skip
    finding = taken(links, Verdict(links="meta-robots: nofollow"), css=True)
    assert sorts(finding.found) == [("sheet", "c"), ("manifest", "m")]
    assert finding.left_out == {"nofollow": 3}


def test_a_document_that_is_named_as_something_comes_before_it_as_a_page() -> None:
    links = Links(pages=[URL + "/m"], manifests=[URL + "/m"])
    assert sorts(taken(links).found) == [("manifest", "m"), ("page", "m")]


def test_feeds_keep_to_the_scope_and_are_counted() -> None:
    finding = taken(Links(feeds=[URL + "/f", "https://b.example/f"]))
    assert sorts(finding.found) == [("feed", "f")] and finding.left_out == {"scope": 1}


def test_nesting_is_counted_by_itself_and_ends() -> None:
    links = Links(sheets=["https://b.example/x.css"])
    deep = PageDetail(depth=500, scope_base=URL)
    (first,) = taken(links, detail=deep, css=True).found
    assert decode(first.detail, PageDetail).nested == 0
    last = PageDetail(depth=500, scope_base=URL, sort="sheet", nested=MAX_NESTED)
    finding = taken(links, detail=last, css=True)
    assert finding.found == [] and finding.left_out == {"nested": 1}
