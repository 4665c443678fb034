"""The download worker that stores images as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Raw

from crawler.contracts import Broker, Store
from crawler.errors import FetchError, StoreError, Unstorable
from crawler.images.loop import DownloadLoop
from crawler.model import ImageResult, Settlement, Task, Verb, pack
from crawler.outcomes import Outcome
from crawler.spec import Spec


class FileLoop(DownloadLoop):
    """Stores each image under a name of its own."""

    def __init__(
        self,
        broker: Broker,
        worker: str,
        spec: Spec,
        store: Store,
        name: Callable[[str, str, str], str],
        *,
        connections: int,
        patience: float,
        own: Sequence[tuple[str, int]] = (),
    ) -> None:
        """`name` gives the name of an image by its URL, SHA-256 and format."""
        super().__init__(broker, worker, spec, store, connections=connections, patience=patience, own=own)
        self._store = store
        self._name = name

    def _store_new(self, task: Task, body: bytes, result: ImageResult) -> None:
        result.file = name = self._name(task.url, result.sha256, result.format)
        size, packed = len(body), pack(result)
        try:
            is_stored = self._store.put_now(name, body)
        except StoreError as error:
            self._not_stored(task, error)
            return
        if is_stored:
            self._agenda.stored(task, size, packed)
        else:
            self._hold(size)
            self._store.put(name, body, partial(self._told, partial(self._put, task, size, packed)))

    def _put(self, task: Task, size: int, result: Raw, error: Exception | None) -> None:
        self._let_go(size)
        if error is None:
            self._agenda.stored(task, size, result)
        else:
            self._not_stored(task, error)

    def _not_stored(self, task: Task, error: Exception) -> None:
        if isinstance(error, Unstorable):
            self._give_up(task, FetchError(Outcome.UNSTORABLE, str(error)))
        else:
            self._agenda.settle(Settlement(number=task.number, verb=Verb.RETURNED))
            self._close_store(error)
