"""The last runs as bars, one above the other what each brought; and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence

from crawler.progress import duration, size
from crawler.report import Numbers
from crawler.report_page.markup import moment, text, wide
from crawler.report_page.words import LABELS, NEWS

#: Units of the drawing: of a run, and of its bar.
_STEP, _BAR = 10, 7
#: Units from the ground to the highest line of the scale, and to the top: bars that are cut off reach there.
_HIGH, _FULL = 160, 176
#: Units that the smallest part of a bar has, to be seen.
_LEAST = 2
#: Times the middle one of all bars, beyond which a bar is cut off: a first run would make all others lines.
_FAR = 8


def chart(runs: Sequence[Numbers]) -> str:
    """Return the chart of `runs`, the first first, and its table."""
    top = _top([_news(run) for run in runs])
    scale = "".join(f"<span>{number:,}</span>" for number in (top, top // 2, 0))
    days = list(dict.fromkeys(text(run.began[:10]) for run in (runs[0], runs[-1])))
    return (
        '<figure class="chart">\n'
        f'<div class="plot"><div class="scale" aria-hidden="true">{scale}</div><div>\n{_drawing(runs, top)}'
        f'<div class="days" aria-hidden="true">{"".join(f"<span>{day}</span>" for day in days)}</div></div></div>\n'
        f"<figcaption>{_legend()}{_told_of_cuts(runs, top)}</figcaption>\n</figure>\n"
        f"<details><summary>The same in numbers, with what is unchanged</summary>\n{_table(runs)}</details>\n"
    )


def _news(run: Numbers) -> int:
    return sum(_of(run, change) for change in NEWS)


def _of(run: Numbers, change: str) -> int:
    return max(0, run.images.get(change, 0))


def _top(totals: Sequence[int]) -> int:
    """Return the highest number of the scale, 2, 4, 6, 8 or 10 and so on; the bars that are beyond it are cut off."""
    there = [total for total in totals if total]
    if not there:
        return 2
    median = sorted(there)[(len(there) - 1) // 2]
    highest = max(total for total in there if total <= _FAR * median)
    tens = 1
    while 10 * tens < highest:
        tens *= 10
    return next(factor * tens for factor in (2, 4, 6, 8, 10) if factor * tens >= highest)


def _drawing(runs: Sequence[Numbers], top: int) -> str:
    width = _STEP * len(runs)
    pixels = len(runs) * max(24, min(72, 720 // len(runs)))
    lines = "".join(f"M0 {_FULL - height}H{width}" for height in (0, _HIGH // 2, _HIGH))
    bars = "".join(_bar(run, _STEP * number, top) for number, run in enumerate(runs))
    return (
        f'<svg viewBox="0 0 {width} {_FULL}" width="{pixels}" height="{_FULL}" preserveAspectRatio="none" role="img" '
        'aria-labelledby="chart-title chart-desc">\n<title id="chart-title">What the last runs brought</title>\n'
        f'<desc id="chart-desc">A bar for each of {len(runs)} runs, of images that were new, changed, gone, that work '
        f'again or failed. The last: {_told(runs[-1])}. The table below has all numbers.</desc>\n'
        f'<path class="grid" d="{lines}"/>\n{bars}</svg>\n'
    )  # fmt: skip


def _told(run: Numbers) -> str:
    told = ", ".join(f"{number:,} {LABELS[change]}" for change in NEWS if (number := _of(run, change)))
    return f"run {run.run}, {text(run.began[:10])}: {told or 'no news'}"


def _bar(run: Numbers, left: int, top: int) -> str:
    total, y = _news(run), float(_FULL)
    parts = [f'<title>{_told(run)}</title><rect class="all" x="{left}" y="0" width="{_STEP}" height="{_FULL}"/>']
    is_cut = total > top
    scale = (_FULL - _LEAST * len(NEWS)) / total if is_cut else _HIGH / top
    x = left + (_STEP - _BAR) / 2
    for change in NEWS:
        if number := _of(run, change):
            height = max(_LEAST, number * scale)
            y -= height
            parts.append(f'<rect class="{change}" x="{x}" y="{max(0.0, y):.1f}" width="{_BAR}" height="{height:.1f}"/>')
    if is_cut:
        parts.append(f'<path class="cut" d="M{left} 34l{_STEP} -8v5l-{_STEP} 8z"/>')
    return f"<g>{''.join(parts)}</g>\n"


def _legend() -> str:
    items = "".join(f'<li class="{change}">{LABELS[change]}</li>' for change in NEWS)
    return f'<ul class="legend">{items}</ul>'


def _told_of_cuts(runs: Sequence[Numbers], top: int) -> str:
    cut = [f"run {run.run} ({_news(run):,})" for run in runs if _news(run) > top]
    return f"<p>Cut off, as they are so much higher: {', '.join(cut)}.</p>" if cut else ""


def _table(runs: Sequence[Numbers]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("run", "began", *LABELS.values(), "bytes", "took"))
    rows = "".join(
        f'<tr><th scope="row">{run.run}</th><td>{moment(run.began)}</td>'
        + "".join(f"<td>{_of(run, change):,}</td>" for change in LABELS)
        + f"<td>{size(run.bytes)}</td><td>{duration(run.seconds)}</td></tr>\n"
        for run in reversed(runs)
    )
    caption = "<caption>Images of the last runs, by what became of them</caption>"
    return wide(
        "The last runs in numbers", f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table>"
    )
