"""What a report lists: what is gone, what works again, failures by kind, sites."""

from __future__ import annotations

from crawler.outcomes import MISSING, PAGES_READ, SUCCESSES, Outcome
from crawler.progress import called, listed
from crawler.report import Change, Named, Record, Site
from crawler.report_page.markup import and_more, file_href, link, section, text, wide
from crawler.report_page.words import FAILURES_LINK, METADATA_LINK

#: Images of a list, kinds of failure, and sites.
MOST_LISTED, MOST_KINDS, MOST_SITES = 60, 40, 200
#: Characters of what a site's failures are listed with.
_REASONS = 120


def gone(record: Record) -> str:
    """Return what is gone, with its files, which stay; `""` where nothing is."""
    return _listed(record, Change.GONE, "Gone")


def works_again(record: Record) -> str:
    """Return what works again, and how it failed before."""
    return _listed(record, Change.WORKS_AGAIN, "Works again")


def _listed(record: Record, change: str, title: str) -> str:
    total = record.images.get(change, 0)
    if not total:
        return ""
    seen = record.named.get(change, [])[:MOST_LISTED]
    items = "".join(f"<li>{link(image.url)} {_note(image, change)}</li>\n" for image in seen)
    return section(
        change, f"{title} <span>{total:,}</span>",
        f'<ul class="rows">\n{items}</ul>\n', and_more(total - len(seen), METADATA_LINK),
    )  # fmt: skip


def _note(image: Named, change: str) -> str:
    if change == Change.WORKS_AGAIN:
        why = f"was {image.before}"
    else:
        why = image.outcome if image.outcome in MISSING else "no page names it any more"
    href = file_href(image.file_name)
    file = f'; <a href="{href}">its file</a>' if href and not href.endswith(".svg") else ""
    return f'<span class="note">{text(why)}{file}</span>'


def failures(record: Record) -> str:
    """Return the kinds of failure, the most frequent first, with some images of each."""
    if not record.failures:
        return ""
    kinds = sorted(record.failures.items(), key=lambda item: (-item[1].images, item[0]))
    total = sum(kind.images for _, kind in kinds)
    first = sum(kind.first for _, kind in kinds)
    parts = []
    for outcome, kind in kinds[:MOST_KINDS]:
        items = "".join(f"<li>{link(image.url)} {_reason(image)}</li>\n" for image in kind.named)
        more = and_more(kind.images - len(kind.named), FAILURES_LINK)
        parts.append(f"<h3><code>{text(outcome)}</code> <span>{kind.images:,}</span></h3>\n")
        parts.append(f'<ul class="rows">\n{items}</ul>\n{more}')
    if len(kinds) > MOST_KINDS:
        parts.append(f'<p class="more">and {len(kinds) - MOST_KINDS:,} more kinds, in {FAILURES_LINK}</p>\n')
    when = f'<p class="more">{first:,} for the first time, {total - first:,} again.</p>\n'
    what = f'<p class="more">Those that have a file of an earlier run are in {METADATA_LINK}, and keep it.</p>\n'
    return section(Change.FAILED, f"Failed <span>{total:,}</span>", when, *parts, what)


def _reason(image: Named) -> str:
    again = "" if image.before in SUCCESSES or not image.before else "again"
    told = ": ".join(text(words) for words in (again, image.message) if words)
    return f'<span class="note">{told}</span>' if told else ""


def sites(record: Record) -> str:
    """Return the sites with their numbers, those that need a person first."""
    if not record.sites:
        return ""
    named = {line.partition(": ")[0] for line in record.attention}
    ordered = sorted(record.sites, key=lambda site: (called(site) not in named, -_failed(site)))
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("site", "there", "failed", "first page", "as"))
    rows = "".join(_row(site, called(site) in named) for site in ordered[:MOST_SITES])
    caption = "<caption>Images of each site in this run</caption>"
    more = len(ordered) - MOST_SITES
    return section(
        "sites", f"Sites <span>{len(ordered):,}</span>",
        wide("Sites", f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table>"),
        f'<p class="more">and {more:,} more, in the record of the run</p>\n' if more > 0 else "",
    )  # fmt: skip


def _failed(site: Site) -> int:
    return sum(_failures_of(site).values())


def _failures_of(site: Site) -> dict[str, int]:
    good = SUCCESSES | {Outcome.OPTED_OUT}
    return {outcome: number for outcome, number in site.images.items() if outcome not in good}


def _row(site: Site, needs_person: bool) -> str:
    there = sum(site.images.get(outcome, 0) for outcome in SUCCESSES)
    first = site.first_page if site.first_page not in PAGES_READ else "read"
    reasons = listed(_failures_of(site)) if _failed(site) else ""
    name = f"{text(site.name)}: " if called(site) != site.url else ""
    row = '<tr class="trouble">' if needs_person else "<tr>"
    return (
        f'{row}<th scope="row">{name}{link(site.url)}</th><td>{there:,}</td>'
        f"<td>{_failed(site):,}</td><td>{text(first)}</td><td>{text(reasons, _REASONS)}</td></tr>\n"
    )
