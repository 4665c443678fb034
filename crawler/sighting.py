"""An image as a ledger knows it, in lines for people."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from crawler.ledger import Failure, Kept
from crawler.outputs import parse_output
from crawler.progress import counted, size
from crawler.shards.shard import tar_of
from crawler.targets import digits_of, is_there

#: Longest text of a mention that is shown.
MOST_TEXT = 300
_WIDTH = 10
_words = msgspec.json.Decoder(dict[str, Any]).decode


class Sighting(NamedTuple):
    """A row of a job's ledger; `place` is the job's output, `rank` how well it is what was looked for."""

    job: str
    line: Kept | Failure
    gone: int
    place: str = ""
    rank: int = 0

    @property
    def sha256(self) -> str:
        """Its content, `""` where no file is there."""
        return self.line.sha256 if isinstance(self.line, Kept) else ""


def tell(sighting: Sighting, digits: str = "") -> list[str]:
    """Return the lines that tell of an image; `digits` of a content are compared with its own."""
    line = sighting.line
    said = [("image", line.url), ("job", sighting.job)]
    message = f": {line.message}" if line.message else ""
    said.append(("outcome", f"{line.outcome}{message}"))
    said.append(("told", f"run {line.run}, {line.time.replace('T', ' ').replace('Z', ' UTC')}, by {line.worker}"))
    if isinstance(line, Kept):
        said += _file(sighting, line, digits)
    if sighting.gone:
        said.append(("gone", f"since run {sighting.gone}: it is missing, or no page names it any more"))
    for raw in line.mentions:
        said += _mention(_words(raw))
    if line.mentions_total > len(line.mentions):
        said.append(("", f"and {counted(line.mentions_total - len(line.mentions), 'more mention')}"))
    return [f"{name:<{_WIDTH}}{text}".rstrip() for name, text in said]


def _file(sighting: Sighting, line: Kept, digits: str) -> list[tuple[str, str]]:
    said = []
    if line.final_url != line.url:
        said.append(("final URL", line.final_url))
    extent = f", {line.width} x {line.height}" if line.width and line.height else ""
    active = ", active" if line.active else ""
    said.append(("is", f"{line.format or 'unknown'}{extent}, {size(line.size)}{active}"))
    said.append(("sha256", line.sha256))
    if line.stored_sha256:
        said.append(("stored", f"transformed, sha256 {line.stored_sha256}"))
    said.append(("file", where(sighting, line.file_name)))
    if line.previous:
        said.append(("previous", where(sighting, line.previous)))
    if digits and not any(sha256.startswith(digits) for sha256 in (line.sha256, line.stored_sha256)):
        before = digits_of(line.previous or "").startswith(digits[:12])
        said.append(
            ("!", "what you named is the previous file" if before else f"the file here has other bytes: {digits}")
        )
    return said


def where(sighting: Sighting, name: str) -> str:
    """Return the whole path of a file, or its URL where it is in no directory."""
    place = parse_output(sighting.place) if sighting.place else None
    if not name or place is None:
        return name
    if place.directory is None:
        return f"{place}/{sighting.job}/{name}"
    directory = place.directory / sighting.job
    there = is_there(directory / (tar_of(name) or name))
    return f"{directory / name}{'' if there else ' (not on this machine)'}"


def _mention(words: dict[str, Any]) -> list[tuple[str, str]]:
    said = [("page", words["page"] or "the list or client that named it")]
    said += [(f"  {name}", _short(words[name])) for name in ("alt", "title", "caption") if words[name]]
    return said


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def also(others: list[Sighting], total: int) -> list[str]:
    """Return the lines that tell where else such bytes are."""
    lines = [f"{counted(total, 'other')} with these bytes (their first digits, job, URL):"]
    width = max(len(other.job) for other in others)
    for other in others:
        lines.append(f"  {other.sha256[:12]:<12}  {other.job:<{width}}  {other.line.url}")
    if total > len(others):
        lines.append(f"  and {total - len(others):,} more")
    return lines
