"""The download worker's loop: take tasks, fetch, verify, store, settle; one thread, and a courier beside it."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from math import inf

from msgspec.structs import replace

from crawler import answers
from crawler.contracts import Broker, ShardStore, Store
from crawler.digests import difference, is_compared
from crawler.errors import FetchError
from crawler.guard import Guard
from crawler.images.checking import checked
from crawler.images.engine import Engine, referrer_for
from crawler.images.transfer import Transfer
from crawler.images.verify import Picture
from crawler.images.workshop import Workshop
from crawler.model import (
    ImageDetail,
    ImageResult,
    Kind,
    Move,
    Reply,
    Settlement,
    Task,
    Verb,
    decode,
    moved_to,
    pack,
    task_id,
)
from crawler.outcomes import LEFT_ALONE, NO_CONNECTION, PAUSING, Outcome
from crawler.refresh import NO_CONDITIONS, conditions, confirmed, is_spared, max_age, spared
from crawler.shards.samples import NOT_FETCHED, NOT_TRANSFORMED
from crawler.spec import Spec
from crawler.transforms.transform import check_size
from crawler.urls import host
from crawler.work import NO_REQUEST, WorkLoop

log = logging.getLogger(__name__)

#: Seconds between looks whether a disk that was full, or a store that did not answer, takes files again.
PROBE_EVERY = 5.0
#: Bytes of images that wait to be looked at, transformed and stored, beyond which no request is made.
MOST_WAITING = 128 * 2**20
#: Seconds between looks whether our own network works, while it is taken to be down.
LOOK_EVERY = 5.0


@lru_cache(maxsize=256)
def _detail(packed: bytes) -> ImageDetail:
    """Return what is told of images, for many of which it is the same."""
    return decode(packed, ImageDetail)


class DownloadLoop(WorkLoop):
    """Fetches the images of one job; where they come to rest is its children's."""

    _least_room = 512  #: tasks that it has at most, with few connections

    def __init__(
        self,
        broker: Broker,
        worker: str,
        spec: Spec,
        place: Store | ShardStore,
        *,
        connections: int,
        patience: float,
        own: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._workshop = Workshop(spec)
        self._engine = Engine(connections, spec, Guard(spec.allow_net, own))
        super().__init__(broker, worker, spec, patience, connections)
        self._place = place
        self._limits_size = spec.transform.limits_size
        self._forgotten = frozenset(spec.forgotten)
        self._forgotten_urls = frozenset(spec.forgotten_urls)
        self._connections = connections
        self._ended: deque[Callable[[], None]] = deque()  # from other threads; run by the loop
        self._resolver = ThreadPoolExecutor(2, "resolver")
        self._looking = ThreadPoolExecutor(1, "looker")
        self._reaching = ThreadPoolExecutor(1, "reach")
        self._next_look_about = 0.0
        self._thread = threading.get_ident()
        self._waiting = self._waiting_bytes = 0  #: images to be looked at, transformed and stored
        self._closed_store_until = 0.0
        self._probing = False

    def _wake(self) -> None:
        self._engine.wake()

    def _close(self) -> None:
        self._resolver.shutdown(wait=False)
        self._looking.shutdown(wait=False, cancel_futures=True)
        self._reaching.shutdown(wait=False, cancel_futures=True)
        self._workshop.close()
        self._engine.close()

    def _is_idle(self) -> bool:
        return not self._waiting

    @property
    def _has_backlog(self) -> bool:
        """Tell whether images wait to be looked at, transformed and stored."""
        return self._waiting > 0

    @property
    def _is_full(self) -> bool:
        """Tell whether no more is to be fetched while images wait to be decoded and stored."""
        return self._waiting >= self._connections or self._waiting_bytes >= MOST_WAITING

    def _room(self, now: float) -> dict[Kind, int]:
        if self._closed_store_until:
            return {}
        room = self._agenda.room(max(self._least_room, 8 * self._connections), now)
        return {Kind.IMAGE: room, Kind.ROBOTS: self._connections}

    def _hear(self, reply: Reply) -> None:
        if reply.notice and time.monotonic() >= self._next_look_about:
            self._next_look_about = inf
            self._reaching.submit(self._look_about)

    def _look_about(self) -> None:
        """Find out, in a thread of its own, whether it is our network that is down."""
        works = self._engine.reach.works()
        self._aside_done(partial(self._looked_about, works))

    def _looked_about(self, works: bool) -> None:
        self._next_look_about = time.monotonic() + LOOK_EVERY
        if works:
            log.warning(
                "the network works: hosts that answered before can be connected; it is the others that are silent"
            )
            self._agenda.tell_reach()

    def _start(self, now: float) -> None:
        if self._closed_store_until:
            self._try_store(now)
            self._agenda.return_ready()
        while (free := self._engine.free) and not self._is_full:
            task = self._agenda.next(now, free if self._engine.running >= self._connections else inf)
            if task is None:
                return
            self._begin(task, now)

    def _progress(self, now: float) -> None:
        ended = self._engine.wait(self._agenda.wakes_in(now, 0.05))
        now = time.monotonic()
        for transfer in ended:
            self._count(transfer, now)
        for transfer in ended:
            if transfer.status != 200:  # it may say that its host is to be left alone
                self._take(transfer)
        if ended and not self._has_backlog and not self._stop_at:
            # Before images are looked at, so that hosts need not wait: at 50 ms 4,424/s came, not 4,275.
            self._start(now)
            self._engine.send()
        for transfer in ended:
            if transfer.status == 200:
                self._take(transfer)
        while self._ended:
            self._ended.popleft()()

    def _begin(self, task: Task, now: float) -> None:
        if task.kind is Kind.ROBOTS:
            self._engine.start(task, "")
        elif self._forgotten_urls and task_id(Kind.IMAGE, task.at).hex() in self._forgotten_urls:
            self._agenda.ended(task, now - NO_REQUEST)
            self._give_up(task, FetchError(Outcome.FORGOTTEN, "it is not to be fetched"))
        elif not self._allowed(task):
            self._agenda.ended(task, now - NO_REQUEST)
            self._give_up(task, FetchError(Outcome.ROBOTS_DENIED, "robots.txt forbids it"))
        else:
            self._ask(task, now)

    def _ask(self, task: Task, now: float) -> None:
        """Make the request for an image, unless it cannot bring news."""
        asked, detail = NO_CONDITIONS, _detail(bytes(task.detail))
        if (known := task.known) is not None:
            past = decode(known.result, ImageResult)
            if not self._place.holds(past.file, known.size):
                task = replace(task, known=None)
            elif not is_compared(past, detail.digest):
                pass  # what it is must be seen
            elif is_spared(known, past, self._spec.refresh, time.time()):
                self._agenda.ended(task, now - NO_REQUEST)
                self._agenda.settle(answers.unasked(task, known.size, pack(spared(known, past))))
                return
            else:
                asked = conditions(task, past)
        self._engine.start(task, referrer_for(task.at, detail.referrer), asked)

    def _abandon(self, now: float) -> None:
        for task in self._engine.abandon():
            self._agenda.ended(task, now)
            self._agenda.settle(Settlement(number=task.number, verb=Verb.RETURNED))

    # What came of a request

    def _count(self, transfer: Transfer, now: float) -> None:
        """Count a request as over."""
        task = transfer.task
        latency = transfer.latency if task.kind is Kind.IMAGE else 0.0  # robots.txt comes quickly
        answered = transfer.error is None or transfer.error.outcome not in NO_CONNECTION
        self._agenda.ended(task, now, latency, lasted=transfer.lasted, answered=answered)

    def _take(self, transfer: Transfer) -> None:
        """Go on with what a request brought, or settle why it failed."""
        task = transfer.task
        try:
            self._accept(transfer)
        except FetchError as error:
            if error.outcome == Outcome.DNS:
                self._aside(self._resolver, task, partial(self._look_up, task, error))
            else:
                self._give_up(task, error)

    def _accept(self, transfer: Transfer) -> None:
        """Go on with an answer: redirect, robots, or the image itself; raises FetchError."""
        task, status = transfer.task, transfer.status
        if transfer.error is not None:
            raise transfer.error
        if transfer.location and 300 <= status < 400:
            self._redirect(task, transfer.location)
        elif task.kind is Kind.ROBOTS:
            agent, retry = self._agents.of(task.at), transfer.headers.get("retry-after", "")
            self._agenda.settle(answers.robots_read(task, status, transfer.body, agent, retry, time.time()))
        elif status == 304 and self._is_unchanged(transfer):
            return
        elif status != 200:
            raise answers.http_error(status, transfer.headers.get("retry-after", ""), time.time())
        else:
            self._keep(transfer)

    def _is_unchanged(self, transfer: Transfer) -> bool:
        """Settle an image that the server says is what we have; False where it was not asked that."""
        task = transfer.task
        if task.known is None:
            return False
        past = decode(task.known.result, ImageResult)
        if not conditions(task, past) or not is_compared(past, _detail(bytes(task.detail)).digest):
            return False
        result = confirmed(past, transfer.status, transfer.headers, time.time())
        self._agenda.unchanged(task, task.known.size, pack(result))
        return True

    def _redirect(self, task: Task, location: str) -> None:
        redirect = answers.follow(task, location, self._spec.max_redirects)
        if redirect.here:
            move = redirect.move
            self._agenda.again(replace(task, at=move.at, hops=move.hops, candidate=move.candidate))
        else:
            self._agenda.settle(Settlement(number=task.number, verb=Verb.MOVED, move=redirect.move))

    def _look_up(self, task: Task, error: FetchError) -> None:
        """Tell a name that does not exist from a resolver that does not answer (in a thread: it waits)."""
        try:
            socket.getaddrinfo(host(task.at), None)
        except socket.gaierror as failure:
            error.suspect = failure.errno == socket.EAI_AGAIN
            error.retriable = error.suspect
        except UnicodeError:  # a label is empty or too long: no resolver has such a name
            error.suspect = error.retriable = False
        else:
            error.suspect = False
        self._aside_done(lambda: self._give_up(task, error))

    def _aside(self, pool: ThreadPoolExecutor, task: Task, work: Callable[[], None]) -> None:
        """Do `work` for a task in another thread; a defect of ours costs this task only, and is told."""

        def guarded() -> None:
            try:
                work()
            # Logged and told: were it missed, the task would be held, and the run go on, for ever.
            except Exception as error:
                log.exception("%s cannot be worked on", task.at)
                defect = FetchError(Outcome.INTERNAL_ERROR, repr(error)[:300])
                self._aside_done(lambda: self._give_up(task, defect))

        pool.submit(guarded)

    def _give_up(self, task: Task, error: FetchError, status: str = NOT_FETCHED) -> None:
        """Settle a failure: retry it, or go on with the next candidate, or let it be final; `status` is for its row."""
        if error.outcome in PAUSING:
            self._agenda.pause(task, error.retry_after, time.monotonic())
        if task.kind is Kind.IMAGE and not error.retriable and error.outcome not in LEFT_ALONE:
            fallbacks = _detail(bytes(task.detail)).fallbacks
            if task.candidate < len(fallbacks):
                move = Move(fallbacks[task.candidate], 0, task.candidate + 1)
                self._agenda.settle(Settlement(number=task.number, verb=Verb.MOVED, move=move))
                return
        said = answers.failed(task, error)
        if said.verb is not Verb.DONE or task.kind is not Kind.IMAGE:
            self._agenda.settle(said)
        else:
            self._keep_failure(task, said, status)

    def _keep_failure(self, task: Task, said: Settlement, status: str) -> None:
        """Settle an image that failed for good; `status` is what its row in a shard would tell."""
        self._agenda.settle(said)

    # The image

    def _keep(self, transfer: Transfer) -> None:
        task, body = transfer.task, transfer.body
        picture = checked(body, self._spec)
        digest = _detail(bytes(task.detail)).digest
        if other := difference(body, digest):
            raise FetchError(Outcome.WRONG_HASH, other)
        if self._limits_size:
            try:
                check_size(picture.width, picture.height, self._spec.transform)
            except FetchError as error:
                self._give_up(task, error, NOT_TRANSFORMED)
                return
        result = self._result(transfer, picture, digest)
        if result.sha256 in self._forgotten:
            raise FetchError(Outcome.FORGOTTEN, "its content is not to be kept")
        if self._workshop.looks_at(result):
            self._hold(len(body))
            self._aside(self._looking, task, partial(self._look_at, task, body, result))
        else:
            self._store_image(task, body, result)

    def _result(self, transfer: Transfer, picture: Picture, digest: str) -> ImageResult:
        """Return what is known of an image; it has a file already where an earlier run stored the same bytes."""
        task, headers = transfer.task, transfer.headers
        format, width, height, active = picture
        result = ImageResult(
            sha256=hashlib.sha256(transfer.body).hexdigest(), format=format, width=width, height=height, active=active,
            final_url=moved_to(task), status=transfer.status, etag=headers.get("etag", ""),
            last_modified=headers.get("last-modified", ""), max_age=max_age(headers, time.time()), digest=digest,
        )  # fmt: skip
        if task.known is not None:
            past = decode(task.known.result, ImageResult)
            if past.sha256 != result.sha256:
                result.previous = past.file
            else:
                result.file, result.previous = past.file, past.previous
                result.stored_sha256, result.phash = past.stored_sha256, past.phash
        return result

    def _look_at(self, task: Task, body: bytes, result: ImageResult) -> None:
        """Look at an image in the thread for it."""
        error: FetchError | None = None
        try:
            self._workshop.look_at(body, result)
        except FetchError as failure:
            error = failure
        finally:
            self._ended.append(partial(self._let_go, len(body)))
        self._aside_done(partial(self._looked_at, task, body, result, error))

    def _hold(self, size: int) -> None:
        self._waiting += 1
        self._waiting_bytes += size

    def _let_go(self, size: int) -> None:
        self._waiting -= 1
        self._waiting_bytes -= size

    def _looked_at(self, task: Task, body: bytes, result: ImageResult, error: FetchError | None) -> None:
        if error is None:
            self._store_image(task, body, result)
        else:
            self._give_up(task, error)

    def _store_image(self, task: Task, body: bytes, result: ImageResult) -> None:
        if result.file:
            self._agenda.unchanged(task, len(body), pack(result))
        else:
            self._store_new(task, body, result)

    @abstractmethod
    def _store_new(self, task: Task, body: bytes, result: ImageResult) -> None:
        """Have an image stored that is not what an earlier run stored, and settle it."""

    def _aside_done(self, done: Callable[[], None]) -> None:
        """Have the loop do what another thread wants done."""
        self._ended.append(done)
        self._engine.wake()

    def _told(self, take: Callable[[Exception | None], None], error: Exception | None) -> None:
        """Take the store's word; it may come from one of its threads."""
        if threading.get_ident() == self._thread:
            take(error)
        else:
            self._aside_done(partial(take, error))

    def _close_store(self, error: Exception) -> None:
        if not self._closed_store_until:
            log.error("%s; waiting until files can be written again", error)
        self._closed_store_until = time.monotonic() + PROBE_EVERY
        self._agenda.return_ready()

    def _try_store(self, now: float) -> None:
        if now >= self._closed_store_until and not self._probing:
            self._probing = True
            self._place.probe(partial(self._told, self._probed))

    def _probed(self, error: Exception | None) -> None:
        self._probing = False
        if error is None:
            log.warning("files can be written again; going on")
            self._closed_store_until = 0.0
        else:
            self._closed_store_until = time.monotonic() + PROBE_EVERY
