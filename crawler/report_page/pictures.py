"""Images of a run as small pictures; they are the job's own files, beside the report."""

from __future__ import annotations

from crawler.outcomes import Outcome
from crawler.report import Change, Named, Record
from crawler.report_page.markup import and_more, file_href, link, section, text
from crawler.report_page.words import METADATA_LINK
from crawler.shards.shard import tar_of

#: Pictures of what is new, and of what changed.
MOST_NEW, MOST_CHANGED = 60, 30
#: Formats of which most browsers show nothing.
_UNSHOWN = frozenset({"tiff", "heic", "jxl"})
#: Characters of a URL below a picture.
_CAPTION = 110


def new_pictures(record: Record) -> str:
    """Return what is new as pictures; `""` where nothing is."""
    return _pictures(record, Change.NEW, "New", MOST_NEW)


def changed_pictures(record: Record) -> str:
    """Return what changed, each as it was beside what it is."""
    return _pictures(record, Change.CHANGED, "Changed", MOST_CHANGED)


def _pictures(record: Record, change: str, title: str, most: int) -> str:
    total = record.images.get(change, 0)
    if not total:
        return ""
    seen = record.named.get(change, [])[:most]
    figures = "".join(_pair(image) if change == Change.CHANGED else _single(image) for image in seen)
    return section(
        change, f"{title} <span>{total:,}</span>",
        f'<div class="{"pairs" if change == Change.CHANGED else "pictures"}">\n{figures}</div>\n',
        and_more(total - len(seen), METADATA_LINK),
    )  # fmt: skip


def _single(image: Named) -> str:
    note = ""
    if image.outcome == Outcome.REPORTED:
        note = '<span class="note">reported by a stock client</span>'
    elif href := file_href(image.same_as):
        note = f'<span class="note">the same picture as <a href="{href}">another</a></span>'
    return f"<figure>{picture(image.file_name)}<figcaption>{link(image.url, _CAPTION)}{note}</figcaption></figure>\n"


def _pair(image: Named) -> str:
    return (
        f"<figure><div><p>before</p>{picture(image.previous)}</div><div><p>now</p>{picture(image.file_name)}</div>"
        f"<figcaption>{link(image.url, _CAPTION)}</figcaption></figure>\n"
    )


def picture(name: str) -> str:
    """Return a file of the job as a picture that leads to it, or the name of the shard that it is in.

    An SVG is shown, as no script runs in a picture, but its link has it saved: opened by itself its scripts would run.
    """
    tar = tar_of(name)
    href = file_href(tar or name)
    if not href:
        return '<span class="box">no file here</span>'
    if tar:
        return f'<a href="{href}"><span class="box">in {text(tar.rpartition("/")[2])}</span></a>'
    format = name.rpartition(".")[2].lower()
    if format in _UNSHOWN:
        return f'<a href="{href}"><span class="box">{text(format)}</span></a>'
    alt = text(name.rpartition("/")[2], 60)
    saves = ' download=""' if format == "svg" else ""
    return f'<a href="{href}"{saves}><img class="box" src="{href}" alt="{alt}" loading="lazy" decoding="async"/></a>'
