"""One run of a job, as a door conducts it: its processes started, results out, limits kept, the end."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from crawler.account import Begun, Counts
from crawler.brokers.client import ServerAddress
from crawler.brokers.local import is_running
from crawler.brokers.offline import STATE_FILE
from crawler.brokers.redis import shown_url
from crawler.conclusion import conclude
from crawler.contracts import BrokerClient
from crawler.errors import BrokerUnreachable, StateError, UsageError
from crawler.failures import reopen_failed
from crawler.forking import apart
from crawler.hosting import hosted_broker, local_link
from crawler.keeper import Keeper
from crawler.limits import EXIT_LIMIT, Limits, exit_code
from crawler.lines import Lines
from crawler.model import State
from crawler.notice import Notice
from crawler.outcomes import KEPT
from crawler.outputs import parse_output
from crawler.processes import IMAGES, PAGES, SOURCES, Link, Place, download_process, load, page_process, source_process
from crawler.progress import Ended, attention, counted, summary
from crawler.pruning import most_of, prune
from crawler.recheck import WINDOW, lost_files
from crawler.sources.spool import forget_others
from crawler.spec import Spec
from crawler.spill import Spill
from crawler.stores import open_folder
from crawler.supervisor import Supervisor

if TYPE_CHECKING:
    from crawler.bar import Bar

log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Seconds between looks at results and limits.
LOOK_EVERY = 0.2
#: Seconds between counts, and times what the last one took: they cost the broker some work on jobs of many hosts.
COUNT_EVERY, COUNT_TIMES = 1.0, 20.0
#: Seconds in which a run that is stopped finishes or returns what is under way.
STOP_TIME = 30.0
#: Seconds of patience with a broker that is being started again.
BROKER_PATIENCE = 30.0


class Crawl:
    """Conducts one run, from the lock to the summary."""

    def __init__(
        self,
        spec: Spec,
        directory: Path,
        link: Link,
        limits: Limits,
        *,
        listen: ServerAddress | None,
        processes: int,
        page_processes: int,
        place: Place,
        print_lines: bool,
        fail_above: float,
        retries: Callable[[str], bool] | None = None,
        prune: str = "",
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._folder = open_folder(parse_output(spec.output), spec.job, place.store_endpoint)
        self._keeper = Keeper(self._folder, directory)
        self._link = link._replace(archive=self._folder.open_archive if link.redis else None)
        self._limits = limits
        self._listen = listen
        self._processes = processes
        self._page_processes = page_processes
        self._place = place
        self._shows_bar = not link.quiet and not print_lines and sys.stderr is not None and sys.stderr.isatty()
        self._lines = Lines(directory, wanted=print_lines and not link.quiet)
        self._fail_above = fail_above
        self._retries = retries
        self._prune = prune
        self._supervisor = Supervisor()
        self._signals: list[int] = []
        self._began = time.monotonic()
        self._seen_worker = time.monotonic()
        self._broker: BrokerClient
        self._resumed = False
        self.notice = Notice(job=spec.job, ending="", exit_code=0)
        self._bar: Bar | None = None

    def run(self) -> int:
        """Conduct the run and return the exit code; raises CrawlerError where it cannot begin."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        hosted = hosted_broker(self._supervisor, self._directory, self._listen, self._link, self._prepare)
        with hosted as self._broker:
            begun = self._begin_again() if self._retries else self._begin_next()
            if begun is None:
                print(f"{self._spec.job}: nothing failed that is to be tried again", file=sys.stderr)
                return 0
            self._resumed = begun.resumed and not self._retries
            self._announce(begun)
            self._start_workers()
            self._keeper.begin(local_link(self._directory, self._link).broker)
            self._bar = self._made_bar()
            try:
                with Spill(self._link.redis_broker) if self._link.redis else contextlib.nullcontext():
                    ending, counts = self._conduct()
            finally:
                if self._bar is not None:
                    self._bar.close()
                self._keeper.end()
            return self._end(ending, counts)

    def _made_bar(self) -> Bar | None:
        if not self._shows_bar:
            return None
        from crawler.bar import Bar

        return Bar()

    def export(self) -> None:
        """Write the ledger's files as things stand, from the running broker or one of our own."""
        if not self._link.redis and not (self._directory / STATE_FILE).exists():
            raise UsageError(
                f"there is no job {self._spec.job} in {self._directory.parent}; python -m crawler.status lists them"
            )
        with contextlib.ExitStack() as stack:
            if self._link.redis or is_running(self._directory):
                broker = local_link(self._directory, self._link).broker()
            else:
                broker = stack.enter_context(hosted_broker(self._supervisor, self._directory, self._listen, self._link))
            if self._link.redis and not broker.counts().run:
                raise UsageError(f"there is no job {self._spec.job} in {shown_url(self._link.redis)}")
            there, rest = self._keeper.write(broker)
        print(f"{counted(there, 'image')} and {counted(rest, 'failure')} are in {self._folder}", file=sys.stderr)

    # The beginning

    def _begin_next(self) -> Begun:
        """Begin the next run, or go on with the last one."""
        begun = self._begin(self._broker.begin)
        if begun.resumed and self._counts().state is State.FINISHED:
            self._resumed = True
            self._tell(self._last, self._conclude())  # it was killed when all but this was done
            self.notice.record = None
            begun = self._begin(self._broker.begin)
        return begun

    def _begin_again(self) -> Begun | None:
        """Go on with the failures of the last run that are wanted; None where there is none."""
        assert self._retries is not None
        begun = self._begin(self._broker.take_up)
        goes_on = self._counts().state is not State.FINISHED
        return begun if reopen_failed(self._broker, self._retries, self._spec.only) or goes_on else None

    def _begin(self, open_run: Callable[[Spec], Begun]) -> Begun:
        before = self._patiently(self._broker.counts)
        if (before.run > 1 or any(before.images.get(name) for name in KEPT)) and not self._look(self._folder.is_marked):
            raise StateError(
                f"job {self._spec.job} has images, but {self._folder} is gone: mount it or name its place with "
                f"--output, or remove {self._directory} to fetch everything anew"
            )
        if not before.run:
            self._look(self._folder.check_free)  # a state that is begun could not be adopted any more
        begun = self._patiently(lambda: open_run(self._spec))
        self._look(lambda: self._folder.mark(begun.job_id))
        forget_others(self._directory, {Path(detail.path) for _, detail in self._spec.sources})
        if begun.rebooted_since and self._folder.path is not None:
            lost = lost_files(self._broker, self._folder.path, begun.rebooted_since - WINDOW)
            if lost:
                log.warning("%d files did not survive the restart of the machine; they are fetched again", len(lost))
                self._broker.reopen(lost)
        return begun

    def _look(self, at: Callable[[], _T]) -> _T:
        """Look at the folder before there are workers; those of an object store start threads."""
        return at() if self._folder.path is not None else apart(at)

    def _announce(self, begun: Begun) -> None:
        log.info("%s run %d of job %s", "resuming" if begun.resumed else "beginning", begun.run, self._spec.job)
        if not self._spec.obey_robots:
            log.warning("robots.txt is ignored (--ignore-robots): do this only on sites that are yours")
        if unverified := self._spec.access.unverified:
            log.warning("certificates are not checked (tls_verify): %s", ", ".join(unverified))

    def _prepare(self) -> None:
        """Import what the first of the workers needs, while the broker begins."""
        if not self._retries:
            load(SOURCES)

    def _start_workers(self) -> None:
        link = local_link(self._directory, self._link)._replace(archive=None)
        if not self._retries:
            self._supervisor.start("source", source_process, link)
        if self._spec.reads_pages and not self._retries:
            if self._page_processes > 1:  # one alone imports it by itself, beside this one
                load(PAGES)
            for number in range(self._page_processes):
                self._supervisor.start(f"page {number + 1}", page_process, link)
        if self._processes:
            load(IMAGES)
        for number in range(self._processes):
            self._supervisor.start(f"download {number + 1}", download_process, link, self._place)

    # The middle

    def _conduct(self) -> tuple[str, Counts]:
        """Watch the run to its end, and return how it ended."""
        counts = self._counts()
        self._limits.begin(counts)
        next_count = rest = 0.0
        while True:
            now = time.monotonic()
            self._supervisor.watch()
            self._check_children()
            if now >= next_count or counts.state is State.FINISHED:
                counts = self._counts()
                rest = COUNT_TIMES * (time.monotonic() - now)
                next_count = now + max(COUNT_EVERY, rest)
                self._show(counts, now)
            lines = self._lines.pass_on(self._broker)
            if counts.state is State.FINISHED and not lines and not self._lines.are_held_up:
                return "finished", self._counts()
            limit = self._limits.reached(counts, self._folder.path)
            if limit or self._signals:
                self._stop()
                return (f"stopped at {limit}" if limit else "stopped by a signal"), self._last
            if not lines:
                ended = self._supervisor.wait(LOOK_EVERY if counts.waiting_images > 100 else LOOK_EVERY / 4)
                next_count = 0.0 if ended else min(next_count, now + max(LOOK_EVERY, rest))

    def _check_children(self) -> None:
        for child in self._supervisor.children:
            if child.done and child.exit_code:
                raise StateError(f"the {child.name} process cannot work here; the log says why")

    def _counts(self) -> Counts:
        self._last = self._patiently(self._broker.counts)
        return self._last

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask the broker, and again where it is gone; raises BrokerUnreachable where it stays so."""
        until = time.monotonic() + (self._link.patience if self._link.redis else BROKER_PATIENCE)
        said = not self._link.redis  # a broker of our own is started again at once
        while True:
            try:
                return ask()
            except BrokerUnreachable as error:
                if time.monotonic() > until or self._signals:
                    raise
                if not said:
                    log.warning("%s; waiting for it", error)
                    said = True
                self._supervisor.watch()
                self._check_children()
                time.sleep(0.1)

    def _show(self, counts: Counts, now: float) -> None:
        if self._bar is not None:
            self._bar.update(counts)
        if counts.workers:
            self._seen_worker = now
        elif counts.waiting_images and now - self._seen_worker > 60.0:
            log.warning("%d images wait, and no download worker is connected", counts.waiting_images)
            self._seen_worker = now

    def _stop(self) -> None:
        """Let everyone report, and a broker of our own drain; a second signal ends it at once."""
        broker = next((child for child in self._supervisor.children if child.name == "broker"), None)
        others = [child for child in self._supervisor.children if child is not broker]
        for child in others:
            child.ask_to_end()
        asked, until = len(self._signals), time.monotonic() + STOP_TIME
        self._report_until(lambda: not any(child.is_alive for child in others), until, asked)
        if broker is not None:
            broker.ask_to_end()
            self._report_until(lambda: not broker.is_alive, until, asked)

    def _report_until(self, done: Callable[[], bool], until: float, asked: int) -> None:
        """Pass on what is still reported until `done`, but no longer than `until` or the next signal."""
        while not done() and time.monotonic() < until and len(self._signals) <= asked:
            with contextlib.suppress(BrokerUnreachable):  # it may have ended by now
                self._lines.pass_on(self._broker)
                self._last = self._broker.counts()
            time.sleep(0.05)

    # The end

    def _end(self, ending: str, counts: Counts) -> int:
        if ending == "finished":
            ended = self._conclude()
            self._finish()
        else:
            ended = Ended(ending, attention(counts))
        self._tell(counts, ended)
        if self._signals:
            return 128 + self._signals[0]
        return EXIT_LIMIT if ending != "finished" else exit_code(counts, self._fail_above)

    def _tell(self, counts: Counts, ended: Ended) -> None:
        seconds = time.monotonic() - self._began
        text = summary(self._spec.job, counts, self._folder, ended, seconds, self._resumed)
        print(text, file=sys.stderr)
        self.notice.count(counts)
        self.notice.ending, self.notice.attention, self.notice.summary = ended.how, ended.attention, text

    def _conclude(self) -> Ended:
        ended, self.notice.record = conclude(self._broker, self._patiently, self._spec, self._keeper, self._pruned)
        return ended

    def _pruned(self) -> tuple[int, str]:
        if not self._prune:
            return 0, ""
        return self._patiently(lambda: prune(self._broker, self._folder, most_of(self._prune)))

    def _finish(self) -> None:
        self._supervisor.stop(10.0, only="download")
        self._supervisor.stop(5.0, only="page")
        self._supervisor.stop(5.0, only="source")
        living = frozenset(self._patiently(self._broker.workers))
        self._supervisor.stop(10.0, only="broker")
        self._folder.sweep(living, finished=True)

    def _on_signal(self, number: int, _: object) -> None:
        self._signals.append(number)
