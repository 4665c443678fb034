"""Processes that transform images: each in bounded memory and time, so that none costs more than itself."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import msgspec

from crawler import child
from crawler.child import Child
from crawler.errors import ChildDied, FetchError
from crawler.outcomes import Outcome
from crawler.transforms.imaging import Transformed, transformed
from crawler.transforms.transform import Transform, check_transform

log = logging.getLogger(__name__)

#: Seconds that one image may take.
PATIENCE = child.PATIENCE
#: Bytes of memory for each pixel that an image may have: as read, turned upright, and with alpha, 4 each; and some.
_MEMORY_PER_PIXEL = 16
#: Images that wait for each process in `map`: as many as keep it at work.
_WAITING_EACH = 4

Item = TypeVar("Item")
Answer: TypeAlias = "Transformed | FetchError"


class _Failed(msgspec.Struct, frozen=True, tag=True):
    outcome: str
    message: str


class _Done(msgspec.Struct, frozen=True, tag=True):
    """An image; with an empty body it is the one that was sent."""

    image: Transformed


_answers: msgspec.msgpack.Decoder[_Done | _Failed] = msgspec.msgpack.Decoder(_Done | _Failed)


class TransformPool:
    """Transforms images in processes of its own; those that die are replaced, and end with this one.

    Raises UsageError where images cannot be transformed so.
    """

    def __init__(
        self, transform: Transform, max_pixels: int, processes: int, *, most_waiting: int = 128 * 2**20
    ) -> None:
        check_transform(transform)
        self._processes = processes
        self._most_waiting = most_waiting
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        code = f"from crawler.transforms.pool import serve; serve({max_pixels})"
        settings = msgspec.json.encode(transform).decode()
        self._children = [Child(code, "transforms images", (settings,)) for _ in range(processes)]
        self._idle: SimpleQueue[Child] = SimpleQueue()
        for one in self._children:
            self._idle.put(one)
        self._threads = ThreadPoolExecutor(processes, "transform")  # one waits for each process

    @property
    def is_full(self) -> bool:
        """Tell whether so many bytes wait that no more should be submitted."""
        return self._waiting_bytes >= self._most_waiting

    def submit(self, body: bytes, done: Callable[[Answer], None]) -> None:
        """Have an image transformed; `done` gets it, or why not, mostly in another thread. Never blocks."""
        self._begin(body).add_done_callback(lambda future: done(_told(future)))

    def map(self, items: Iterable[Item], body: Callable[[Item], bytes]) -> Iterator[tuple[Item, Answer]]:
        """Yield each item with its image, in their order; few wait, of no more bytes than may."""
        waiting: deque[tuple[Item, Future[Answer]]] = deque()
        for item in items:
            while waiting and (self.is_full or len(waiting) >= _WAITING_EACH * self._processes):
                first, future = waiting.popleft()
                yield first, _answer(future)
            waiting.append((item, self._begin(body(item))))
        for item, future in waiting:
            yield item, _answer(future)

    def close(self) -> None:
        """End the processes; what waits, or is under way, gets an error that may pass."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for one in self._children:
            one.close()
        self._threads.shutdown()

    def _begin(self, body: bytes) -> Future[Answer]:
        with self._lock:
            self._waiting_bytes += len(body)
        future = self._threads.submit(self._transform, body)
        future.add_done_callback(partial(self._ended, len(body)))
        return future

    def _ended(self, size: int, _: Future[Answer]) -> None:
        with self._lock:
            self._waiting_bytes -= size

    def _transform(self, body: bytes) -> Answer:
        one = self._idle.get()
        try:
            said = _answers.decode(one.ask(body, PATIENCE))
        except ChildDied as how:
            why = f"what transforms it died ({how}): it takes too much time or memory, or meets a defect"
            return FetchError(Outcome.TRANSFORM_FAILED, why)
        except FetchError as error:
            return error
        finally:
            self._idle.put(one)
        if isinstance(said, _Failed):
            return FetchError(said.outcome, said.message)
        return said.image if said.image.body else msgspec.structs.replace(said.image, body=body)


def _answer(future: Future[Answer]) -> Answer:
    if future.cancelled():
        return FetchError(Outcome.INTERNAL_ERROR, "the worker stops", retriable=True)
    return future.result()


def _told(future: Future[Answer]) -> Answer:
    """Return what came of an image, also where that is a defect of ours: who waits for it must hear of it."""
    if not future.cancelled() and (defect := future.exception()) is not None:
        log.error("an image cannot be transformed", exc_info=defect)
        return FetchError(Outcome.INTERNAL_ERROR, repr(defect)[:300])
    return _answer(future)


# In the child


def serve(max_pixels: int) -> None:
    """Transform the images on standard input, as the first argument says, until the input ends."""
    transform = msgspec.json.decode(sys.argv[1], type=Transform)

    def prepare() -> Callable[[bytes], bytes]:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # the limit is ours
        # What is odd about an image is nobody's business, and what is broken is an error.
        warnings.simplefilter("ignore")
        logging.disable()
        return partial(_said, transform, max_pixels)

    child.serve(prepare, max_pixels, _MEMORY_PER_PIXEL)


def _said(transform: Transform, max_pixels: int, body: bytes) -> bytes:
    try:
        image = transformed(body, transform, max_pixels)
    except FetchError as error:
        return msgspec.msgpack.encode(_Failed(error.outcome, str(error)))
    return msgspec.msgpack.encode(_Done(msgspec.structs.replace(image, body=b"") if image.body is body else image))
