"""One run of a job, as a door conducts it: broker, pages and workers started, results out, limits kept, the end."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from crawler import ledger, progress
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.brokers.process import is_running
from crawler.brokers.stock import line_of
from crawler.errors import BrokerUnreachable, CrawlerError, StateError, StoreError
from crawler.model import PAGES_READ, SUCCESSES, Begun, Counts, ImageResult, Outcome, Spec, State, decode
from crawler.processes import Link, Place, broker_process, download_process, page_process
from crawler.stores.files import MARK, mark, sweep
from crawler.supervisor import Supervisor

log = logging.getLogger(__name__)

#: Exit codes (README): stopped at a limit, already running.
EXIT_TROUBLE, EXIT_LIMIT = 1, 3
#: Seconds between looks at results and limits.
LOOK_EVERY = 0.2
#: Seconds between counts; they cost the broker some work on jobs of many hosts.
COUNT_EVERY = 1.0
#: Before this many seconds of the last commit, files are trusted after the machine restarted.
REBOOT_WINDOW = 600.0
#: Seconds of patience with a broker that is being started again.
BROKER_PATIENCE = 30.0
_LINES = 1000


class Limits:
    """When a run is to stop, in seconds, bytes and images; 0 is never."""

    def __init__(self, max_time: float, max_images: int, max_bytes: float, min_free: float) -> None:
        self._until = time.monotonic() + max_time if max_time else float("inf")
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._min_free = min_free

    def reached(self, counts: Counts, output: Path) -> str:
        """Return which limit is reached, or `""`."""
        if time.monotonic() > self._until:
            return "--max-time"
        if self._max_images and _saved(counts) >= self._max_images:
            return "--max-images"
        if self._max_bytes and counts.bytes >= self._max_bytes:
            return "--max-bytes"
        if self._min_free and shutil.disk_usage(output).free < self._min_free:
            return "--min-free"
        return ""


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
        connections: int,
        print_lines: bool,
        fail_above: float,
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._root = Path(spec.output) / spec.job
        self._link = link
        self._limits = limits
        self._listen = listen
        self._processes = processes
        self._page_processes = page_processes
        self._connections = connections
        self._print_lines = print_lines
        self._fail_above = fail_above
        self._supervisor = Supervisor()
        self._signals: list[int] = []
        self._began = time.monotonic()
        self._seen_worker = time.monotonic()
        self._broker: ManagerBroker | None = None
        self._cursor = ""
        self._bar: progress.Bar | None = None

    def run(self) -> int:
        """Conduct the run and return the exit code; raises CrawlerError where it cannot begin."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        with self._served():
            begun = self._begin()
            self._announce(begun)
            self._start_workers()
            self._bar = progress.Bar(not self._link.quiet and not self._print_lines)
            try:
                ending, counts = self._conduct()
            finally:
                self._bar.close()
            return self._end(ending, counts)

    def export(self) -> None:
        """Write the ledger's files as things stand, from the running broker or one of our own."""
        with contextlib.ExitStack() as stack:
            if not is_running(self._directory):
                stack.enter_context(self._served())
            else:
                self._broker = local_link(self._directory, self._link).broker()
            assert self._broker is not None
            there, rest = ledger.write_ledger(self._broker, self._root)
        print(f"{there:,} images and {rest:,} failures are in {self._root}", file=sys.stderr)

    # The beginning

    @contextlib.contextmanager
    def _served(self) -> Iterator[None]:
        """Have a broker's process; whatever happens, all processes end with this block."""
        try:
            self._start_broker()
            self._broker = local_link(self._directory, self._link).broker()
            yield
        finally:
            self._supervisor.stop(5.0)
            if self._broker is not None:
                self._broker.close()

    def _start_broker(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        child = self._supervisor.start(
            "broker", broker_process, self._directory, self._listen, self._link, _Once(theirs)
        )
        theirs.close()
        while not ours.poll(0.05):
            if child.process is None or not child.process.is_alive():
                raise CrawlerError("the broker's process ended before it began; see the log")
        with contextlib.suppress(EOFError):
            error = ours.recv()
            if error is not None:
                child.done = True
                raise error

    def _begin(self) -> Begun:
        assert self._broker is not None
        begun = self._broker.begin(self._spec)
        counts = self._broker.counts()
        if (begun.run > 1 or counts.images.get(Outcome.SUCCESS)) and not (self._root / MARK).exists():
            raise StateError(
                f"job {self._spec.job} has images, but {self._root} is gone: mount it or name its place with --output, "
                f"or remove {self._directory} to fetch everything anew"
            )
        mark(self._root, begun.job_id)
        if begun.rebooted_since:
            self._check_files(begun.rebooted_since - REBOOT_WINDOW)
        return begun

    def _check_files(self, since: float) -> None:
        """Reopen what was stored shortly before the machine went down and is not whole on disk."""
        assert self._broker is not None
        cursor, lost = "", []
        while (page := self._broker.results(cursor, _LINES)).rows:
            cursor = page.cursor
            for row in page.rows:
                if (
                    row.current
                    and row.outcome == Outcome.SUCCESS
                    and row.time > since
                    and not self._is_whole(row.result)
                ):
                    lost.append(row.seq)
        if lost:
            log.warning("%d files did not survive the restart of the machine; they are fetched again", len(lost))
            self._broker.reopen(lost)

    def _is_whole(self, result: object) -> bool:
        import hashlib

        stored = decode(result, ImageResult)  # type: ignore[arg-type]
        try:
            body = (self._root / stored.file).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(body).hexdigest() == stored.sha256

    def _announce(self, begun: Begun) -> None:
        self._cursor = self._printed()
        log.info(
            "%s %s run %d of job %s", "resuming" if begun.resumed else "beginning", "the", begun.run, self._spec.job
        )
        if not self._spec.obey_robots:
            log.warning("robots.txt is ignored (--ignore-robots): do this only on sites that are yours")

    def _start_workers(self) -> None:
        link = local_link(self._directory, self._link)
        for number in range(self._page_processes):
            self._supervisor.start(f"page {number + 1}", page_process, link)
        place = Place(self._connections)
        for number in range(self._processes):
            self._supervisor.start(f"download {number + 1}", download_process, link, place)

    # The middle

    def _conduct(self) -> tuple[str, Counts]:
        """Watch the run to its end, and return how it ended."""
        counts = self._counts()
        next_count = 0.0
        while True:
            now = time.monotonic()
            self._supervisor.watch()
            self._check_children()
            if now >= next_count or counts.state is State.FINISHED:
                counts, next_count = self._counts(), now + COUNT_EVERY
                self._show(counts, now)
            lines = self._pass_on_results()
            if counts.state is State.FINISHED and not lines:
                return "finished", self._counts()
            limit = self._limits.reached(counts, self._root)
            if limit or self._signals:
                self._stop()
                return (f"stopped at {limit}" if limit else "stopped by a signal"), self._last
            if not lines:
                time.sleep(LOOK_EVERY if counts.waiting_images > 100 else LOOK_EVERY / 4)
                next_count = min(next_count, now + LOOK_EVERY)

    def _check_children(self) -> None:
        for child in self._supervisor.children:
            if child.done and child.exit_code == 2:
                raise StateError(f"the {child.name} process cannot work here; the log says why")

    def _counts(self) -> Counts:
        until = time.monotonic() + BROKER_PATIENCE
        while True:
            try:
                assert self._broker is not None
                self._last = self._broker.counts()
                return self._last
            except BrokerUnreachable:
                if time.monotonic() > until:
                    raise
                self._supervisor.watch()
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
        """Let the broker drain and everyone report; a second signal ends it at once."""
        self._supervisor.children.reverse()
        broker = next(child for child in self._supervisor.children if child.name == "broker")
        others = [child for child in self._supervisor.children if child is not broker]
        for child in others:
            if child.process is not None and child.process.is_alive():
                child.process.terminate()
        asked = len(self._signals)
        until = time.monotonic() + 30.0
        while time.monotonic() < until and len(self._signals) <= asked:
            self._pass_on_results()
            self._last = self._counts()
            if not any(c.process is not None and c.process.is_alive() for c in others):
                break
            time.sleep(0.05)
        if broker.process is not None and broker.process.is_alive():
            broker.process.terminate()
            self._await_farewell(broker.process, until, asked)

    def _await_farewell(self, process: multiprocessing.process.BaseProcess, until: float, asked: int) -> None:
        while process.is_alive() and time.monotonic() < until and len(self._signals) <= asked:
            with contextlib.suppress(CrawlerError):
                self._pass_on_results()
                assert self._broker is not None
                self._last = self._broker.counts()
            time.sleep(0.05)

    # Results out

    def _pass_on_results(self) -> int:
        """Print the results that are new, remember how far, and return how many there were."""
        assert self._broker is not None
        try:
            page = self._broker.results(self._cursor, _LINES)
        except BrokerUnreachable:
            return 0
        if not page.rows:
            return 0
        self._cursor = page.cursor
        if self._print_lines and not self._link.quiet:
            self._print("".join(progress.shown(line_of(row)) + "\n" for row in page.rows))
        draft = self._directory / ".printed"
        draft.write_text(self._cursor)
        draft.replace(self._directory / "printed")
        return len(page.rows)

    def _print(self, lines: str) -> None:
        try:
            sys.stdout.write(lines)
            sys.stdout.flush()
        except BrokenPipeError:
            log.warning("nobody reads the result lines any more; the run goes on without them")
            self._print_lines = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end

    def _printed(self) -> str:
        try:
            return (self._directory / "printed").read_text()
        except FileNotFoundError:
            return ""

    # The end

    def _end(self, ending: str, counts: Counts) -> int:
        if ending == "finished":
            self._finish()
        seconds = time.monotonic() - self._began
        print(progress.summary(self._spec.job, counts, self._root, ending, seconds), file=sys.stderr)
        if self._signals:
            return 128 + self._signals[0]
        return EXIT_LIMIT if ending != "finished" else exit_code(counts, self._fail_above)

    def _finish(self) -> None:
        assert self._broker is not None
        try:
            ledger.write_ledger(self._broker, self._root)
        except StoreError as error:
            log.error("%s; write it again with --export", error)
        self._supervisor.stop(10.0, only="download")
        self._supervisor.stop(5.0, only="page")
        living = frozenset(self._broker.workers()) - {c.name for c in self._supervisor.children}
        self._supervisor.stop(10.0, only="broker")
        sweep(self._root, living, finished=True)

    def _on_signal(self, number: int, _: object) -> None:
        self._signals.append(number)


class _Once:
    """A pipe's end that a broker started again does not have any more."""

    def __init__(self, pipe: object) -> None:
        self._pipe = pipe

    def send(self, value: object) -> None:
        if self._pipe is not None:
            self._pipe.send(value)  # type: ignore[attr-defined]

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()  # type: ignore[attr-defined]

    def __reduce__(self) -> tuple[object, ...]:
        closed = self._pipe is None or self._pipe.closed  # type: ignore[attr-defined]
        return (_Once, (None if closed else self._pipe,))


def _saved(counts: Counts) -> int:
    return sum(counts.images.get(name, 0) for name in SUCCESSES)


def local_link(directory: Path, link: Link) -> Link:
    """Return how processes of this machine reach the broker of the job in `directory`.

    Raises StateError where none has ever been there.
    """
    try:
        content = json.loads((directory / "broker.json").read_text())
    except (OSError, ValueError) as error:
        raise StateError(f"job {directory.name} has no broker: {error}") from error
    return link._replace(server=ServerAddress(path=content["socket"]))


def exit_code(counts: Counts, fail_above: float) -> int:
    """Return 1 where a person should look at a finished run, else 0."""
    saved = _saved(counts)
    bad = sum(counts.images.values()) - saved
    good = saved + counts.already_there
    first_failed = any(site.first_outcome and site.first_outcome not in PAGES_READ for site in counts.sites)
    too_many = bad > 0 and (not good or 100.0 * bad / (good + bad) > fail_above)
    return EXIT_TROUBLE if first_failed or too_many else 0
