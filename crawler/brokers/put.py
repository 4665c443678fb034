"""What becomes of tasks and mentions that were found: new ones wait, known ones are met again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Raw
from msgspec.structs import replace

from crawler.brokers.fresh import Fresh, are_plain
from crawler.brokers.lanes import Lane
from crawler.brokers.met import Met
from crawler.brokers.parcels import Result
from crawler.brokers.records import Records
from crawler.brokers.run import Run
from crawler.brokers.tasks import Known
from crawler.brokers.waiting import Waiting
from crawler.brokers.words import BROKER, LEFT_OUT
from crawler.model import Found, Kind, PageDetail, Task, decode, encode, task_id
from crawler.outcomes import MISSING, REST, SUCCESSES, Outcome
from crawler.spec import Spec
from crawler.traps import Traps

log = logging.getLogger(__name__)


class Putter:
    """Puts what sources and pages name into the state and the lanes."""

    def __init__(self, records: Records, waiting: Waiting, run: Run, clock: Callable[[], float]) -> None:
        self._records = records
        self._waiting = waiting
        self._run = run
        self._clock = clock
        self._max_pages = 0
        self._kinds = {Kind.IMAGE}
        self._traps = Traps(0)
        self._met = Met()
        self._fresh = Fresh(records, waiting)
        self._refresh, self._counts_links = "auto", False
        self._forgets = False  #: some URL is known by its hash alone: then not even its host may be noted before a look

    def configure(self, spec: Spec) -> None:
        self._max_pages = spec.max_pages
        self._kinds = {Kind.IMAGE, Kind.PAGE} if spec.reads_pages else {Kind.IMAGE}
        self._traps.most = spec.max_alike
        self._refresh, self._counts_links = spec.refresh, spec.counts_links
        self._forgets = bool(spec.forgotten_urls)

    def new_run(self) -> None:
        self._traps = Traps(self._traps.most)
        self._met = Met()

    def put(self, found: list[Found], parent: int, source: int) -> int:
        """Add what task `parent` named, and return how many tasks are new."""
        self._records.flush()
        new: dict[bytes, int] = {}
        resting: dict[int, int] = {}
        found = [item for item in found if item.kind in self._kinds]  # sources name files here: only `begin`
        identities = [task_id(item.kind, item.url) for item in found]
        if self._may_be_fresh(found, parent, source) and self._fresh.put(found, identities, source, self._run.number):
            return len(found)
        met = {identity: number for identity in identities if (number := self._met.page(identity))}
        all_known = self._records.tasks.find_all([identity for identity in identities if identity not in met])
        for item, identity in zip(found, identities, strict=True):
            number = new.get(identity) or met.get(identity, 0)
            if not number:
                known = all_known.get(identity)
                if not self._admits(item, known, source, first=parent == source):
                    continue
                if known is not None:
                    number = met[identity] = known.number
                    self._meet_again(item, known)
                    if self._rests_for_others(item, known, source):
                        resting[number] = source
                else:
                    number = new[identity] = self.insert(identity, item, source)
                if item.kind is Kind.PAGE:
                    self._met.add_page(identity, number)
            if item.words is not None:
                self._records.mentions.add(number, parent, encode(item.words), self._run.number)
        self._waiting.hand_over(resting)
        if parent != source and (new or met):
            self._records.tasks.name(parent, self._run.number, sorted({*new.values(), *met.values()}))
        self._traps.warn(log)
        if found:
            self._fresh.expected = len(new) == len(found)
        return len(new)

    def _may_be_fresh(self, found: list[Found], parent: int, source: int) -> bool:
        """Tell whether it is worth a try to put all of this as new."""
        is_likely = parent == source and self._fresh.expected and not self._forgets
        return is_likely and bool(found) and are_plain(found)

    def _rests_for_others(self, item: Found, known: Known, source: int) -> bool:
        """Tell whether an image may rest that a source names which does not."""
        resting = self._waiting.resting
        others = known.source in resting and source not in resting
        return others and known.outcome is None and item.kind is Kind.IMAGE

    def put_unchanged(self, page: int, source: int, sort: str) -> None:
        """Meet again what a page named when it was last read, which is what it names now.

        What a sitemap said of when others changed is its own to say again.
        """
        tasks = self._records.tasks
        self._records.flush()
        images, others = self._met.split(tasks.named(page))
        if self._waiting.resting:  # images that were met may rest since
            images, others = [], sorted(images + others)
        resting: dict[int, int] = {}
        for kind, url, detail, known in tasks.find_numbers(others):
            if kind is Kind.PAGE and sort != "sitemap":
                detail = encode(replace(decode(detail, PageDetail), lastmod=""))
            item = Found(kind, url, Raw(detail), opted_out=self._rule_of(known))
            if self._admits(item, known, source, first=False):
                self._meet_again(item, known)
                self._met.add(known.number, kind)
                images += [known.number] if kind is Kind.IMAGE else []
                if self._rests_for_others(item, known, source):
                    resting[known.number] = source
        self._records.mentions.renew(page, images, self._run.number)
        self._waiting.hand_over(resting)
        self._traps.warn(log)

    def look_back(self, now: float) -> int:
        """Let the pages wait that were read before and that nobody names any more; return how many they are.

        Whether they are there tells whether the images are that only they name. What is still there is looked at again
        a week later: calendars have ever more such pages.
        """
        if Kind.PAGE not in self._kinds:
            return 0
        self._records.flush()
        looked_at = []
        for url, detail, known in self._records.tasks.unnamed_pages(self._run.number, now - REST):
            item = Found(Kind.PAGE, url, Raw(detail))
            if (
                known.source in self._waiting.resting
                or self._pages_full()
                or not self._admits(item, known, known.source, first=False)
            ):
                continue
            self.rearm(known.number, known.source, item, self._asked_by(item, known))
            looked_at.append(known.number)
        self._records.flush()
        self._records.tasks.unnamed(looked_at, self._run.number)
        return len(looked_at)

    def _asked_by(self, item: Found, known: Known) -> int:
        """Return the number of the result by which something is asked for conditionally, or 0.

        A page that is so many links away may be nearer now, and name what was too far: it is read.
        """
        return 0 if item.kind is Kind.PAGE and self._counts_links else known.kept

    def _rule_of(self, known: Known) -> str:
        """Return the rule by which no page lets an image be taken, or `""`."""
        results = self._records.results
        if known.outcome != Outcome.OPTED_OUT or results.told_by(known.number) != BROKER:
            return ""
        return results.message(known.result)

    def _admits(self, item: Found, known: Known | None, source: int, *, first: bool) -> bool:
        """Tell whether something is to be worked on in this run, and count it where it is left out."""
        reason = self._left_out(item, known, first=first)
        if reason:
            self._run.count(Kind.PAGE, source, 0, LEFT_OUT + reason, 1, 0)
        return not reason

    def _left_out(self, item: Found, known: Known | None, *, first: bool) -> str:
        """Return why something is not to be worked on in this run, or `""`; a site's first page always is."""
        if known is not None and known.outcome == Outcome.FORGOTTEN:
            return "forgotten"
        if item.kind is not Kind.PAGE or first or (known and (known.outcome is None or known.run == self._run.number)):
            return ""
        if known is None and self._pages_full():
            return "max_pages"
        listed = decode(item.detail, PageDetail).listed  # a sitemap has an end, and names what the site wants read
        return "" if listed or self._traps.admits(item.url) else "alike"

    def insert(self, identity: bytes, item: Found, source: int) -> int:
        """Add a new task, and return its number."""
        lane = self._waiting.of(item.url if item.kind is not Kind.SOURCE else "")
        detail = bytes(item.detail)
        if item.opted_out and item.kind is Kind.IMAGE:
            number = self._records.tasks.add(identity, item.kind, lane.number, source, item.url, detail)
            self._opt_out(number, source, lane, item)
            return number
        number = self._records.tasks.insert(identity, item.kind, lane.number, source, item.url, detail)
        if item.kind is Kind.SOURCE:
            self._waiting.add(lane, item.kind, number, number)
        else:
            task = Task(number, item.kind, item.url, item.url, Raw(detail), 0, 0, 0)
            self._waiting.add(lane, item.kind, number, source, task)
        return number

    def rearm(self, number: int, source: int, item: Found, known: int = 0) -> None:
        """Make a done task wait again: as if new, or to be asked for by what the result numbered `known` says."""
        lane = self._waiting.of(item.url if item.kind is not Kind.SOURCE else "")
        run = self._run.number
        self._records.tasks.rearm(number, item.kind, lane.number, source, bytes(item.detail) or None, run, known)
        self._waiting.add(lane, item.kind, number, source)

    def _meet_again(self, item: Found, known: Known) -> None:
        """In a new run, what is named again waits again, unless there is no news to be had.

        An image that one page wants left alone is taken where another names it freely.
        """
        if known.outcome is None:
            return
        if known.run == self._run.number:
            if known.outcome != Outcome.OPTED_OUT or item.opted_out:
                return
            if self._records.results.told_by(known.number) != BROKER:
                return  # the image itself says so
            self._run.count(Kind.IMAGE, known.source, self._waiting.of(item.url).number, known.outcome, -1, 0)
        if item.opted_out and item.kind is Kind.IMAGE and known.outcome not in SUCCESSES:
            self._opt_out(known.number, known.source, self._waiting.of(item.url), item)
            return
        if item.kind is Kind.IMAGE and (item.opted_out or self._rests(known)):
            self._records.tasks.touch(known.number, self._run.number)
            if known.outcome in SUCCESSES:
                self._run.already_there += 1
            else:
                self._run.count(Kind.IMAGE, known.source, self._waiting.of(item.url).number, known.outcome or "", 1, 0)
        else:
            self.rearm(known.number, known.source, item, self._asked_by(item, known))

    def _rests(self, known: Known) -> bool:
        """Tell whether an image of an earlier run is not asked for in this one."""
        if known.outcome in SUCCESSES:
            return self._refresh == "new" or not known.kept  # of what only a stock client has nothing is known
        if known.outcome not in MISSING or self._refresh == "always":
            return False
        return 0 <= self._clock() - self._records.results.time_of(known.result) < REST

    def _opt_out(self, number: int, source: int, lane: Lane, item: Found) -> None:
        """Settle an image at once that the page wants left alone."""
        row = self._records.worker_row(BROKER)
        result = Result(number, int(Kind.IMAGE), Outcome.OPTED_OUT, item.opted_out[:200], 0, Raw(b"\xc0"))
        self._records.results.add(self._run.number, row, self._clock(), result)
        self._run.count(Kind.IMAGE, source, lane.number, Outcome.OPTED_OUT, 1, 0)

    def _pages_full(self) -> bool:
        return 0 < self._max_pages <= self._run.pages_read() + self._waiting.open[Kind.PAGE]
