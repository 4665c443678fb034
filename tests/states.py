"""States of jobs whose images came to what a test says, and brokers that serve them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from brokers.driver import Clock, Job, done, image, served
from crawler.brokers.listen import listen_unix
from crawler.brokers.local import job_lock, socket_path, write_whereabouts
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import ImageResult, Task, Words
from crawler.stores.names import file_name


class Image(NamedTuple):
    """An image, and what becomes of it; with a `content` its file is there."""

    url: str
    content: str = ""
    outcome: str = "success"
    message: str = ""
    words: tuple[Words, ...] = (Words(found_in="img@src"),)
    more: dict[str, Any] = {}  # noqa: RUF012


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def some_images(number: int, host: str = "a.test") -> list[Image]:
    """Return images of which every third fails."""
    return [
        Image(f"http://{host}/{n}.png", "" if n % 3 == 2 else f"content {n}", "http_404" if n % 3 == 2 else "success")
        for n in range(number)
    ]


def result_of(of: Image) -> ImageResult:
    if not of.content:
        return ImageResult()
    content = sha256(of.content)
    name = file_name(of.url, content, "png")
    known = {"file": name, "sha256": content, "format": "png", "width": 4, "height": 3, "status": 200, **of.more}
    return ImageResult(**known)


class Made:
    """A job under way, to which images can be added."""

    def __init__(self, state: Path, name: str, **settings: Any) -> None:
        self.directory = state / name
        self.directory.mkdir(parents=True)
        self._clock = Clock()
        self._clock.now = 1_700_000_000.5
        self.broker = SqliteBroker(self.directory / "queue.sqlite", clock=self._clock)
        self.job = Job(self.broker, self._clock)
        self.job.begin(job=name, **settings)

    def add(self, images: Sequence[Image]) -> None:
        found = [image(of.url, words) for of in images for words in of.words or (None,)]
        self.broker.put(found, self.job.source.number)
        by_url = {of.url: of for of in images}
        hand = self.job.worker()

        def settled(task: Task) -> Any:
            of = by_url[task.url]
            return done(task, of.outcome, size=len(of.content), result=result_of(of), message=of.message)

        while given := hand.exchange():
            hand.exchange(*map(settled, given), room={})

    def next_run(self) -> None:
        self.job.end_source()
        self.job.drain()
        self.job.conclude()
        self._clock.advance(8 * 86400.0)
        self.job.begin()

    def close(self) -> None:
        self.broker.close()


def made(state: Path, name: str, images: Sequence[Image], **settings: Any) -> Path:
    """Make the state of a job that came to `images`; return its directory."""
    job = Made(state, name, **settings)
    job.add(images)
    job.close()
    return job.directory


@contextlib.contextmanager
def running(directory: Path, key: bytes) -> Iterator[None]:
    """Serve the job in `directory`, as its broker's process does."""
    path = socket_path(directory)
    listener = listen_unix(path)
    write_whereabouts(directory, path, "")
    with job_lock(directory), served(SqliteBroker(directory / "queue.sqlite"), listener, key=key):
        yield
