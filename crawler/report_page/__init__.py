"""The report of a run: one page, by itself, that tells a person what the night brought.

Everything in it that came from the web is a stranger's text: it goes through `markup`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from crawler.outcomes import Outcome
from crawler.progress import duration, listed, size, why_none
from crawler.report import RUNS, Numbers, Record, changes
from crawler.report_page.chart import chart
from crawler.report_page.lists import failures, gone, sites, works_again
from crawler.report_page.markup import file_href, link, moment, section, text
from crawler.report_page.pictures import changed_pictures, new_pictures
from crawler.report_page.words import FAILURES_LINK, LABELS, METADATA_LINK, RARE, SECTION_OF

#: Runs in the chart, this one among them.
MOST_RUNS = 30
#: Lines of what needs a person.
MOST_ATTENTION = 100
#: Characters of a number that a tile has room for; longer ones get two.
_MOST_IN_TILE = 8
#: Read at once: the program's files may be replaced while a run goes on.
STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
#: `'self'` is not said to hold for files in every browser, so they are named too.
_POLICY = f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


def report_page(record: Record, earlier: Sequence[Numbers]) -> str:
    """Return the report of a run; `earlier` are those before it, the first first."""
    runs = [*earlier, record][-MOST_RUNS:]
    body = [
        _header(record),
        _attention(record),
        section("numbers", "This run", _numbers(record), _details(record)),
        section("runs", "The last runs", chart(runs)),
        new_pictures(record),
        changed_pictures(record),
        gone(record),
        works_again(record),
        failures(record),
        sites(record),
    ]
    return f"{_head(record)}<body>\n<main>\n{''.join(body)}</main>\n{_footer(record)}</body>\n</html>\n"


def _head(record: Record) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n<meta name="referrer" content="no-referrer"/>\n'
        '<meta name="robots" content="noindex, nofollow, noimageindex"/>\n'
        f"<title>{text(record.job)}: run {record.run}</title>\n<style>{STYLE}</style>\n</head>\n"
    )


def _header(record: Record) -> str:
    news = "The first run of this job" if record.run == 1 else changes(record) or "Nothing is other than before"
    return (
        f"<header>\n<h1>{text(record.job)}</h1>\n<p>Run {record.run} ended {moment(record.ended)} after "
        f'{duration(record.seconds)}.</p>\n<p class="news">{news}.</p>\n</header>\n'
    )


def _attention(record: Record) -> str:
    lines = list(record.attention)
    if not any(record.outcomes.values()) and not record.already_there:
        lines.append(why_none(record))
    if not lines:
        return '<p class="calm">Nothing needs you.</p>\n'
    items = "".join(f"<li>{_reason(line)}</li>\n" for line in lines[:MOST_ATTENTION])
    more = len(lines) - MOST_ATTENTION
    rest = f'<p class="more">and {more:,} more, in the record of the run</p>\n' if more > 0 else ""
    return section("attention", "Needs you first", f'<ul class="rows">\n{items}</ul>\n', rest)


def _reason(line: str) -> str:
    """Return a line of what needs a person; those of a site begin with its URL."""
    url, colon, why = line.partition(": ")
    if not colon or not url.startswith(("http://", "https://")):
        return text(line)
    return f'{link(url)} <span class="reason">{text(why)}</span>'


def _numbers(record: Record) -> str:
    tiles = []
    for change, label in LABELS.items():
        number = record.images.get(change, 0)
        linked = f'<a href="#{SECTION_OF[change]}">{label}</a>' if number and change in SECTION_OF else label
        if number or change not in RARE:
            tiles.append(_tile(linked, f"{number:,}", change if number else "zero"))
    if record.already_there:
        tiles.append(_tile("there already, not asked for", f"{record.already_there:,}"))
    tiles += [_tile("bytes", size(record.bytes)), _tile("duration", duration(record.seconds))]
    return f'<dl class="tiles">\n{"".join(tiles)}</dl>\n'


def _tile(label: str, value: str, kind: str = "plain") -> str:
    long = " long" if len(value) > _MOST_IN_TILE else ""
    return f'<div class="{kind}{long}"><dt>{label}</dt><dd>{value}</dd></div>\n'


def _details(record: Record) -> str:
    pages = {outcome: number for outcome, number in record.pages.items() if outcome != Outcome.NO_SITEMAP}
    told = {"Pages": pages, "Images": record.outcomes, "Left out": record.left_out}
    lines = "".join(f"<dt>{name}</dt><dd>{text(listed(numbers), 400)}</dd>\n" for name, numbers in told.items())
    return f'<dl class="details">\n{lines}</dl>\n'


def _footer(record: Record) -> str:
    href = file_href(f"{RUNS}/{record.file_name}")
    return (
        f'<footer>\n<p>Every image has its row in {METADATA_LINK} or {FAILURES_LINK}; '
        f'<a href="{href}">the record of the run</a> has these numbers for programs.</p>\n</footer>\n'
    )  # fmt: skip
