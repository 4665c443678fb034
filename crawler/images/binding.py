"""Binding images into shards: which shard is open, when it is closed, and what is to be told of it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from crawler.contracts import ShardStore
from crawler.errors import CrawlerError, StoreError, Unstorable, UsageError
from crawler.model import ImageResult, Settlement, ShardAnswer, ShardReport, Stored, Task, pack
from crawler.shards.samples import Sample, import_arrow
from crawler.shards.shard import Shard
from crawler.spec import Spec

log = logging.getLogger(__name__)

#: Shards that are closed and not settled, beyond which none is begun: where they are put is slower than the sites.
MOST_UNDER_WAY = 2


class Item(msgspec.Struct):
    """An image that is to be in a shard, or with `failed` the row of one that failed; `size` is of what was fetched."""

    task: Task
    sample: Sample
    body: bytes = b""
    size: int = 0
    result: ImageResult = msgspec.field(default_factory=ImageResult)
    failed: Settlement | None = None


class Volume(msgspec.Struct, eq=False):
    """A shard with its items, by the keys of their samples."""

    shard: Shard
    items: dict[str, Item] = msgspec.field(default_factory=dict)

    def report(self) -> ShardReport:
        """Return what is to be told of it once it is in its place."""
        stored, failed = Stored(), []
        for item in self.items.values():
            if item.failed is None:
                stored.add(item.task.number, item.size, pack(item.result))
            else:
                failed.append(item.failed)
        return ShardReport(self.shard.number, stored, failed)


class Binder:
    """Binds what a worker fetches, one open shard at a time; closing one takes a thread of its own.

    `tell` is given the report of a shard that is in its place, `give_back` the tasks of one that cannot be written and
    why: where that is no StoreError, or Unstorable, it would be so again. Both are called by `aside`, which takes what
    threads want done in the loop's own.
    """

    def __init__(
        self,
        store: ShardStore,
        spec: Spec,
        tell: Callable[[ShardReport], None],
        give_back: Callable[[list[Task], CrawlerError], None],
        aside: Callable[[Callable[[], None]], None],
    ) -> None:
        self._store = store
        self._spec = spec
        self._tell = tell
        self._give_back = give_back
        self._aside = aside
        self._open: Volume | None = None
        self._under_way: dict[int, Volume] = {}  #: closed, and not settled yet; by number
        self._unbound: deque[Item] = deque()  #: they wait for the number of a shard
        self.waiting_bytes = 0  #: of these
        self._closer = ThreadPoolExecutor(1, "closer")
        self._is_prepared = False

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of the shards that are begun and not settled."""
        return [*self._under_way, *([self._open.shard.number] if self._open else [])]

    @property
    def waiting(self) -> int:
        """Return how many images wait for a shard."""
        return len(self._unbound)

    @property
    def wants_number(self) -> bool:
        return self._open is None and bool(self._unbound) and len(self._under_way) < MOST_UNDER_WAY

    def begin(self, number: int) -> None:
        """Begin the shard with this number, and bind what waits for it; one that is begun is not begun again."""
        if not self.wants_number or number in self._under_way:
            return
        try:
            self._open = Volume(self._store.begin(number, self._spec.shard_samples))
        except StoreError as error:
            waiting = [item.task for item in self._unbound]
            self._unbound.clear()
            self.waiting_bytes = 0
            self._give_back(waiting, error)
            return
        if not self._is_prepared:
            self._is_prepared = True
            self._closer.submit(import_arrow)  # while there is other work; what is wrong is told where it is needed
        while self._unbound and self._open is not None:
            item = self._unbound.popleft()
            self.waiting_bytes -= len(item.body)
            self.bind(item)

    def bind(self, item: Item) -> None:
        """Put an item into the open shard, or let it wait for one."""
        volume = self._open
        if volume is None:
            self._unbound.append(item)
            self.waiting_bytes += len(item.body)
            return
        try:
            if item.failed is None:
                item.result.file = volume.shard.add(item.sample, item.body)
            else:
                volume.shard.add_failure(item.sample)
                item.failed.result = pack(ImageResult(file=volume.shard.table))
        except OSError as error:
            volume.items[item.sample.key] = item
            self._fail(volume, StoreError(f"shard {volume.shard.number} cannot be written: {error.strerror}"))
            return
        item.body = b""
        volume.items[item.sample.key] = item
        if len(volume.shard) >= self._spec.shard_samples or volume.shard.size >= self._spec.shard_bytes:
            self.close()

    def turn(self, *, close: bool) -> None:
        """Close the open shard where its time is over, or it is told to `close`."""
        if self._open is not None and (close or time.time() - self._open.shard.began >= self._spec.shard_seconds):
            self.close()

    def close(self) -> None:
        """Have the open shard put into its place."""
        volume, self._open = self._open, None
        if volume is not None:
            self._under_way[volume.shard.number] = volume
            self._closer.submit(self._guarded, volume, volume.shard.finish)

    def answered(self, answer: ShardAnswer) -> list[int]:
        """Take the broker's word on a shard, and return the numbers of the tasks that are not ours any more.

        Of what was refused others told first: the shard is made anew without it.
        """
        volume = self._under_way.get(answer.number)
        if volume is None:
            return []
        if not answer.refused:
            del self._under_way[answer.number]
            return [item.task.number for item in volume.items.values()]
        refused = frozenset(answer.refused)
        keys = {key for key, item in volume.items.items() if item.task.number in refused}
        volume.items = {key: item for key, item in volume.items.items() if key not in keys}
        log.info("shard %d: %d of its images were told of by others", answer.number, len(keys))
        if volume.items:
            self._closer.submit(self._guarded, volume, partial(self._store.drop, volume.shard, keys))
        else:
            del self._under_way[answer.number]
            self._closer.submit(self._remove, volume)
        return answer.refused

    def end(self) -> None:
        """Let go of the thread; what is not settled stays undone."""
        self._closer.shutdown(wait=True, cancel_futures=True)
        if self._open is not None:
            self._open.shard.discard()

    def _guarded(self, volume: Volume, finish: Callable[[], None]) -> None:
        """Put a shard into its place, in the thread for it."""
        try:
            finish()
            self._store.place(volume.shard)
        except (StoreError, UsageError) as error:
            self._aside(partial(self._fail, volume, error))
        except OSError as error:
            trouble = StoreError(f"shard {volume.shard.number} cannot be written: {error.strerror or error}")
            self._aside(partial(self._fail, volume, trouble))
        # Told: were a defect of ours missed, the shard would be waited for, and the run go on, for ever.
        except Exception as error:
            log.exception("shard %d cannot be written", volume.shard.number)
            self._aside(partial(self._fail, volume, Unstorable(f"shard {volume.shard.number}: {error!r}")))
        else:
            self._aside(lambda: self._tell(volume.report()))

    def _remove(self, volume: Volume) -> None:
        try:
            self._store.remove(volume.shard)
        except StoreError as error:
            log.warning("%s; it is removed when the run ends", error)

    def _fail(self, volume: Volume, error: CrawlerError) -> None:
        """Give back all that is in a shard, and forget it."""
        if self._open is volume:
            self._open = None
        self._under_way.pop(volume.shard.number, None)
        try:
            volume.shard.discard()
        except OSError as trouble:
            log.warning("a draft of shard %d is left: %s", volume.shard.number, trouble.strerror)
        self._give_back([item.task for item in volume.items.values()], error)
