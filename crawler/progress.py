"""What a person reads of a run: numbers in words, and the summary."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from crawler.account import Counts
from crawler.outcomes import PAGES_READ, SAVED, SUCCESSES, Outcome
from crawler.shown import shown

#: Lines of a summary that tell what needs a person.
MOST_ATTENTION = 8
_PREFIXES = ("B", "kB", "MB", "GB", "TB")


def size(number: float) -> str:
    """Return bytes in the largest decimal unit that leaves a digit before the point."""
    for prefix in _PREFIXES:
        text = f"{number:.0f}" if prefix == "B" else f"{number:.1f}"
        if float(text) < 1000 or prefix == _PREFIXES[-1]:
            return f"{text} {prefix}"
        number /= 1000
    return ""


def counted(number: int, noun: str) -> str:
    """Return `1 page`, `2 pages`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def listed(outcomes: dict[str, int]) -> str:
    """Return `15 success, 3 http_404`: what was saved first, failures last."""
    ordered = sorted(
        outcomes.items(), key=lambda item: (item[0] not in SAVED, item[0] not in SUCCESSES, -item[1], item[0])
    )
    return ", ".join(f"{number:,} {name}" for name, number in ordered) or "none"


class HasName(Protocol):
    """A site, in numbers or in a record."""

    url: str
    name: str


def called(site: HasName) -> str:
    """Return a site's URL, with its name where that is another."""
    return site.url if not site.name or site.name in site.url else f"{site.name} ({site.url})"


def attention(counts: Counts) -> list[str]:
    """Return a line for each site that a person should look at."""
    lines = []
    for site in counts.sites:
        total = sum(site.outcomes.values())
        good = sum(site.outcomes.get(name, 0) for name in SUCCESSES)
        if site.first_outcome and site.first_outcome not in PAGES_READ:
            why = f": {site.first_message}" if site.first_message else ""
            what = "its first page failed" if site.url.startswith("http") else "it could not be read to its end"
            lines.append(f"{called(site)}: {what}: {site.first_outcome}{why}")
        elif total and not good and not counts.already_there:
            none = f"none of its {counted(total, 'image')} could be saved"
            lines.append(f"{called(site)}: {none}: {listed(site.outcomes)}")
        if site.stopped:
            lines.append(f"{called(site)}: stopped at its {site.stopped}; the next run goes on")
    if walled := counts.pages.get(Outcome.LOGIN_REQUIRED, 0):
        verb = "leads" if walled == 1 else "lead"
        lines.append(f"{counted(walled, 'page')} {verb} to where people sign in (see --cookies)")
    return lines


class Found(Protocol):
    """What is asked of a run that found no image."""

    @property
    def pages(self) -> dict[str, int]: ...

    @property
    def left_out(self) -> dict[str, int]: ...


def why_none(counts: Found) -> str:
    """Return why a run found no image at all."""
    pages = counts.pages
    reasons = []
    if pages.get(Outcome.SCRIPT_ONLY):
        number = pages[Outcome.SCRIPT_ONLY]
        verbs = "names no images but runs" if number == 1 else "name no images but run"
        reasons.append(f"{counted(number, 'page')} {verbs} scripts; rendering is not supported yet")
    if pages.get(Outcome.ROBOTS_DENIED):
        reasons.append(f"robots.txt forbids {counted(pages[Outcome.ROBOTS_DENIED], 'page')}")
    if counts.left_out.get("scope"):
        verb = "leads" if counts.left_out["scope"] == 1 else "lead"
        reasons.append(f"{counted(counts.left_out['scope'], 'link')} {verb} out of the scope (--scope)")
    untold = {*PAGES_READ, Outcome.ROBOTS_DENIED, Outcome.NO_SITEMAP}
    failed = {name: n for name, n in pages.items() if name not in untold}
    if failed:
        reasons.append(f"pages failed: {listed(failed)}")
    if not reasons:
        number = sum(pages.values())
        what = "the page that was read names" if number == 1 else f"the {number:,} pages that were read name"
        reasons.append(f"{what} none")
    return "no image was found: " + "; ".join(reasons)


class Ended(NamedTuple):
    """How a run ended: `finished`, or stopped at what; what needs a person, and what is other than in the last run."""

    how: str
    attention: list[str]
    changes: str = ""
    is_reported: bool = False  #: its report is written
    pruned: int = 0  #: files that were removed


def summary(job: str, counts: Counts, folder: object, ended: Ended, seconds: float, resumed: bool = False) -> str:
    """Return the run in a few lines: what needs a person first; `seconds` are those of this start."""
    ending = ended.how
    pages = sum(counts.pages.get(name, 0) for name in PAGES_READ)
    lines = [f"! {line}" for line in ended.attention[:MOST_ATTENTION]]
    if (more := len(ended.attention) - MOST_ATTENTION) > 0:
        lines.append(f"! and {counted(more, 'more site')}: python -m crawler.status {job}")
    if ending == "finished" and not counts.images and not counts.already_there:
        lines.append(f"! {why_none(counts)}")
    there = f", {counts.already_there:,} were there already" if counts.already_there else ""
    lines += [
        f"{job}: run {counts.run} {ending} in {duration(seconds)}" + (" after it was resumed" if resumed else ""),
        f"  pages   {pages:,} read"
        + _rest({k: n for k, n in counts.pages.items() if k not in {*PAGES_READ, Outcome.NO_SITEMAP}}),
        f"  images  {listed(counts.images)}{there}; {size(counts.bytes)}",
    ]
    if ended.changes or ended.pruned:
        pruned = f"{counted(ended.pruned, 'file')} pruned" if ended.pruned else ""
        lines.append(f"  changes {', '.join(filter(None, (ended.changes, pruned)))}")
    if counts.left_out:
        lines.append(f"  left out  {listed(counts.left_out)}")
    if counts.waiting_images or counts.waiting_pages:
        lines.append(
            f"  waiting {counted(counts.waiting_images, 'image')}, {counted(counts.waiting_pages, 'page')}; "
            "the same command goes on"
        )
    written = f"{folder}/metadata.jsonl, failures.jsonl"
    ledger = written if ending == "finished" else "not written yet; the same command with --export writes it now"
    lines += [f"  files   {folder}", f"  ledger  {ledger}"]
    if ended.is_reported:
        lines.append(f"  report  {folder}/report.html")
    return "\n".join(shown(line) for line in lines)


def _rest(outcomes: dict[str, int]) -> str:
    return f", {listed(outcomes)}" if outcomes else ""
