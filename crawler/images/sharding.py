"""The download worker that binds images into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

from crawler import answers
from crawler.contracts import Broker, ShardStore
from crawler.errors import CrawlerError, FetchError, StoreError, Unstorable
from crawler.images.binding import Binder, Item
from crawler.images.loop import MOST_WAITING, DownloadLoop
from crawler.images.sampling import failed_sample, sample_of
from crawler.model import ImageResult, Reply, Settlement, State, Task, Verb
from crawler.outcomes import Outcome
from crawler.shards.samples import NOT_TRANSFORMED
from crawler.spec import Spec
from crawler.transforms.imaging import Transformed

#: Tasks that a worker has beside those in its shards, and images that wait for a shard: each exchange names all of
#: these, so there are to be few.
LARGE_ROOM = 2048


class ShardLoop(DownloadLoop):
    """Binds images into shards, transformed where that is wanted; what failed for good is a row there, too."""

    _least_room = LARGE_ROOM

    def __init__(
        self,
        broker: Broker,
        worker: str,
        spec: Spec,
        shards: ShardStore,
        *,
        connections: int,
        patience: float,
        own: Sequence[tuple[str, int]] = (),
    ) -> None:
        super().__init__(broker, worker, spec, shards, connections=connections, patience=patience, own=own)
        self._binder = Binder(shards, spec, self._agenda.tell_shard, self._unbind, self._aside_done)
        self._worked_out = False

    def _close(self) -> None:
        super()._close()
        self._binder.end()

    @property
    def _has_backlog(self) -> bool:
        return self._binder.waiting > 0 or super()._has_backlog

    @property
    def _is_full(self) -> bool:
        waits = self._binder.waiting >= LARGE_ROOM or self._waiting_bytes + self._binder.waiting_bytes >= MOST_WAITING
        return waits or super()._is_full

    def _progress(self, now: float) -> None:
        super()._progress(now)
        ends = self._worked_out or self._stop_at or self._changed() or self._agenda.state is not State.OPEN
        self._binder.turn(close=bool(ends) and not self._agenda.held)
        self._name_shards()

    def _name_shards(self) -> None:
        """Let the next report name the shards that are begun: of these no number is given again."""
        self._agenda.shard_numbers, self._agenda.wants_shard = self._binder.numbers, self._binder.wants_number

    def _hear(self, reply: Reply) -> None:
        super()._hear(reply)
        self._worked_out = reply.close_shards
        if reply.shard >= 0:
            self._binder.begin(reply.shard)
        for answer in reply.answers:
            self._agenda.release(self._binder.answered(answer))
        self._name_shards()

    def _keep_failure(self, task: Task, said: Settlement, status: str) -> None:
        if said.outcome == Outcome.FORGOTTEN:
            self._agenda.settle(said)
            return
        self._agenda.bind(task)
        self._binder.bind(Item(task, failed_sample(task, said, status, self._spec.caption_from), failed=said))

    def _store_new(self, task: Task, body: bytes, result: ImageResult) -> None:
        if result.format == "svg":
            self._give_up(task, FetchError(Outcome.UNSTORABLE, "what reads shards decodes pixels, and this is an SVG"))
        elif self._workshop.transforms:
            self._hold(len(body))
            transformed = partial(self._transformed, task, body, result)
            self._workshop.transform(body, lambda answer: self._aside_done(partial(transformed, answer)))
        else:
            width, height = result.width, result.height
            self._bind(task, body, result, Transformed(body, result.format, width, height, width, height))

    def _transformed(self, task: Task, body: bytes, result: ImageResult, answer: Transformed | FetchError) -> None:
        self._let_go(len(body))
        if isinstance(answer, FetchError):
            self._give_up(task, answer, NOT_TRANSFORMED)
            return
        if answer.body is not body:
            result.stored_sha256 = hashlib.sha256(answer.body).hexdigest()
        self._bind(task, body, result, answer)

    def _bind(self, task: Task, body: bytes, result: ImageResult, image: Transformed) -> None:
        self._agenda.bind(task)
        sample = sample_of(task, result, body, image, self._spec.caption_from)
        self._binder.bind(Item(task, sample, image.body, len(body), result))

    def _unbind(self, tasks: list[Task], error: CrawlerError) -> None:
        """Return the images of a shard that cannot be written, or let them fail where it never could."""
        passes = isinstance(error, StoreError) and not isinstance(error, Unstorable)
        for task in tasks:
            never = FetchError(Outcome.UNSTORABLE, str(error))
            returned = Settlement(number=task.number, verb=Verb.RETURNED)
            self._agenda.settle(returned if passes else answers.failed(task, never))
        if passes:
            self._close_store(error)
