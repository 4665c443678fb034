"""What sources and pages name, on its way into the partitions."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

from msgspec import Raw

from crawler.brokers.redis.job import Job
from crawler.brokers.redis.partitions import Given, Partitions
from crawler.brokers.redis.rows import Body, binary, mention_digest, text
from crawler.model import Found, Kind, PageDetail, SourceDetail, decode, encode, pack, task_id
from crawler.traps import Traps

log = logging.getLogger(__name__)

#: Items on their way at a time.
MOST_ITEMS = 4000


class Putting:
    """Puts tasks where they belong; knows which pages a run has had enough of."""

    def __init__(self, partitions: Partitions, job: Job) -> None:
        self._partitions = partitions
        self._job = job
        self._traps = Traps(0)
        self._run = 0
        self.given: dict[int, Given] = {}  #: by number, what the workers of this process were given

    def put_sources(self, sources: tuple[tuple[str, SourceDetail], ...]) -> dict[int, str]:
        """Put the tasks of sources, unless this run has them; return their URLs by number."""
        partition = self._partitions.place_of("").partition
        group = self._group(Kind.SOURCE, "", 0)
        group["items"] = [self._item(Found(Kind.SOURCE, url, pack(detail)), 0, 0, "") for url, detail in sources]
        _, numbers = self._partitions.call("put", {partition: {"groups": [group]}})[partition]
        return {int(number): url for number, (url, _) in zip(numbers, sources, strict=True)}

    def put(self, found: list[Found], parent: int) -> int:
        """Put what task `parent` named, and return how many tasks are new."""
        kinds = {Kind.IMAGE, Kind.PAGE} if self._job.spec.reads_pages else {Kind.IMAGE}
        found = [item for item in found if item.kind in kinds]  # sources name files here: only `begin` puts them
        given = self.given.get(parent)
        source, page = (given.row.source, given.row.body.url) if given else (parent, "")
        found = self._admitted(found, source, first=parent == source)
        new = 0
        for start in range(0, len(found), MOST_ITEMS):
            groups: dict[tuple[int, Kind, str], dict[str, Any]] = {}
            for item in found[start : start + MOST_ITEMS]:
                place = self._partitions.place_of(item.url)
                group = groups.get((place.partition, item.kind, place.origin))
                if group is None:
                    group = self._group(item.kind, place.origin, source)
                    groups[place.partition, item.kind, place.origin] = group
                group["items"].append(self._item(item, source, parent, page))
            calls: dict[int, dict[str, Any]] = {}
            for (partition, _, _), group in groups.items():
                calls.setdefault(partition, {"groups": []})["groups"].append(group)
            new += sum(answer[0] for answer in self._partitions.call("put", calls).values())
            self._job.note_ready(set(calls))
        return new

    def _group(self, kind: Kind, origin: str, source: int) -> dict[str, Any]:
        return {"kind": int(kind), "origin": text(origin), "source": source, "items": []}

    def _item(self, item: Found, source: int, parent: int, page: str) -> list[Any]:
        body, digest = Body(item.url, "", item.detail), b""
        if item.words is not None:
            words = encode(item.words)
            page = "" if parent == source else page
            body = Body(item.url, "", item.detail, 0, 0, page, Raw(words))
            digest = mention_digest(page, words)
        first = item.kind is Kind.PAGE and decode(item.detail, PageDetail).depth == 0
        return [
            binary(task_id(item.kind, item.url)), binary(encode(body)), binary(digest), text(item.opted_out[:200]),
            int(first),
        ]  # fmt: skip

    # Pages that a run has had enough of

    def _admitted(self, found: list[Found], source: int, *, first: bool) -> list[Found]:
        """Return what is to be put; a site's first page always is, and what this run has is no news."""
        pages = [item for item in found if item.kind is Kind.PAGE]
        if first or not pages:
            return found
        self._begin_run()
        said = self._look_up(pages)
        room = self._room_for_pages() if "u" in said.values() else 0
        kept: list[Found] = []
        seen: set[str] = set()
        for item in found:
            known = said.get(item.url, "n") if item.kind is Kind.PAGE and item.url not in seen else "n"
            seen.add(item.url)
            reason = ""
            if known == "u" and room <= 0:
                reason = "max_pages"
            elif known != "n" and not decode(item.detail, PageDetail).listed and not self._traps.admits(item.url):
                reason = "alike"
            if reason:
                self._leave_out(source, reason)
                said[item.url] = "u"
                seen.discard(item.url)
                continue
            room -= known == "u"
            kept.append(item)
        self._traps.warn(log)
        return kept

    def _begin_run(self) -> None:
        if self._run != self._job.run.number:
            self._run, self._traps = self._job.run.number, Traps(0)
        self._traps.most = self._job.spec.max_alike

    def _look_up(self, pages: list[Found]) -> dict[str, str]:
        """Return for each page whether it is unknown (u), of this run (n), or of an earlier one (e)."""
        urls: dict[int, list[str]] = defaultdict(list)
        for url in dict.fromkeys(item.url for item in pages):
            urls[self._partitions.place_of(url).partition].append(url)
        calls = {at: {"ids": [binary(task_id(Kind.PAGE, url)) for url in some]} for at, some in urls.items()}
        answers = self._partitions.call("look", calls)
        return {
            url: answer.decode() for at, some in urls.items() for url, answer in zip(some, answers[at], strict=True)
        }

    def _room_for_pages(self) -> float:
        """Return how many new pages the run may have."""
        most = self._job.spec.max_pages
        if not most:
            return float("inf")
        keys = [self._partitions.key(at, "numbers") for at in self._partitions.all]
        counters = self._partitions.ask(*(("HMGET", key, "run", "new_pages") for key in keys))
        return most - sum(int(pages or 0) for run, pages in counters if int(run or 0) == self._job.run.number)

    def _leave_out(self, source: int, reason: str) -> None:
        partition = self._partitions.place_of("").partition
        said = {"verb": "left_out", "source": source, "reason": reason, "times": 1}
        self._partitions.call("settle", {partition: {"worker": "", "settled": [said]}})
