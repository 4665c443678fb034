"""Images as objects of S3, Google Cloud Storage or Azure: put where nothing has their name yet, many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import AzureStore, GCSStore, S3Store

from crawler.errors import NotShared, StoreError, Unstorable
from crawler.outputs import MAX_PREFIX, Output
from crawler.stores.archive import Archive
from crawler.stores.directory import MARK
from crawler.stores.files import sweep
from crawler.stores.names import grouped, matching, short_name
from crawler.stores.refusals import (
    FAILURES,
    NO_BUCKET,
    UNDECIDED,
    blames_what_was_sent,
    code_of,
    may_pass,
    told,
    trouble,
)
from crawler.stores.shards import Shards

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Remote

log = logging.getLogger(__name__)

PROBE = ".probe"
#: Seconds for which a request is tried again before the store counts as gone.
PATIENCE = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Seconds that a put may take, and bytes a second that it must then make.
DEADLINE, SLOWEST = 60.0, 256 * 1024
#: Seconds that a request may take whose answer is waited for.
QUICK = 30.0
#: Seconds that are left to puts under way when a worker ends.
GRACE = 5.0
#: Bytes of an image's name, of the 1,024 of a key; a job's name takes 120 at most.
MAX_NAME = 1024 - MAX_PREFIX - 120 - 2
#: Bytes of a part of a ledger that goes up in parts, of which S3 takes 10,000.
PART = 16 * 2**20
#: What a browser must be told to show a file, and not to save it.
_TYPES: dict[str, Attributes] = {".html": {"Content-Type": "text/html; charset=utf-8"}}
#: By scheme: the client, its name for an endpoint, and the variables that it takes one from.
_KINDS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "s3": (S3Store, "endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")),
    "gs": (GCSStore, "base_url", ("GOOGLE_BASE_URL",)),
    "az": (AzureStore, "endpoint", ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")),
}

Done = Callable[[Exception | None], None]


def connect(output: Output, job: str, endpoint: str = "", seconds: float = 300.0) -> Remote:
    """Return a client for the folder of `job`, whose requests may each take so many seconds; nothing is sent yet.

    Region and credentials are the environment's, and the endpoint where none is given. Plain http is spoken where the
    endpoint is named so.
    """
    kind, key, variables = _KINDS[output.scheme]
    named = endpoint or next((value for name in variables if (value := os.environ.get(name))), "")
    client: ClientConfig = {
        "allow_http": named.lower().startswith("http://"),
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(seconds=seconds),
    }
    retries: RetryConfig = {
        "max_retries": 20,
        "retry_timeout": timedelta(seconds=PATIENCE),
        "backoff": {
            "init_backoff": timedelta(seconds=FIRST_PAUSE),
            "max_backoff": timedelta(seconds=LONGEST_PAUSE),
            "base": 2,
        },
    }
    if endpoint:
        os.environ.pop("AWS_ENDPOINT_URL_S3", None)  # obstore would prefer it
    with told(str(output)):
        remote: Remote = kind(
            output.bucket,
            prefix=f"{output.prefix}/{job}".lstrip("/"),
            config={key: endpoint} if endpoint else None,
            client_options=client,
            retry_config=retries,
        )
        return remote


class ObjectFolder:
    """Keeps the JobFolder contract with what names in a bucket begin with.

    An object that was put is there, whole, also after a power cut: there is nothing to look at again or to sweep.
    """

    path = None

    def __init__(self, url: str, remote: Remote, quick: Remote | None = None) -> None:
        """`quick` is a client for what its caller waits for."""
        self._url = url
        self._remote = remote
        self._quick = quick or remote

    def __str__(self) -> str:
        return self._url

    def file_name(self, url: str, sha256: str, format: str) -> str:
        return short_name(url, sha256, format, MAX_NAME)

    def is_marked(self) -> bool:
        return self._marked() is not None

    def job_id(self) -> str:
        return self._marked() or ""

    def fetched(self, name: str, into: Path) -> Path | None:
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with told(f"{self._url}/{name}"):
            try:
                found = obstore.get(self._remote, name)
            except FileNotFoundError:
                return None
            with path.open("wb") as file:
                for piece in found.stream():
                    file.write(piece)
        return path

    def is_empty(self) -> bool:
        with told(self._url):
            return not any(obstore.list(self._remote, chunk_size=1))

    def check_free(self) -> None:
        if self._marked() is not None:
            raise self._taken()

    def mark(self, job_id: str) -> None:
        with told(self._url):
            try:
                obstore.put(self._remote, MARK, f"{job_id}\n".encode(), mode="create")
            except AlreadyExistsError:
                if self._marked() != job_id:
                    raise self._taken() from None

    def _taken(self) -> NotShared:
        return NotShared(
            f"{self._url} belongs to another job, whose state is elsewhere or was removed: choose another --output or "
            f"--job, make its state anew with --adopt, or remove its object {MARK} to let this job have it"
        )

    def check_mark(self, job_id: str) -> None:
        seen = self._marked()
        if seen != job_id:
            raise NotShared(
                f"{self._url} is not the collector's: its object {MARK} is {'another' if seen else 'not there'}. Name "
                "the collector's --output and --store-endpoint here, or a directory with --output and --keep-local"
            )

    def open_store(self, worker: str, *, slow: bool = False) -> ObjectStore:
        return ObjectStore(self._url, self._remote)

    def open_shards(self, worker: str, suffix: str = "jpg") -> Shards:
        drafts = _own_folder(Path(tempfile.gettempdir(), f"crawler-{os.getuid()}-shards"))
        sweep(drafts)
        return Shards(self, drafts, worker, suffix)

    def place(self, file: Path, name: str) -> None:
        self.upload(file, name)
        try:
            file.unlink()
        except OSError as error:
            raise StoreError(f"{file} cannot be removed: {error.strerror}") from error

    def open_archive(self) -> ObjectArchive:
        return ObjectArchive(self._url, self._quick)

    def versions(self, urls: Iterable[str]) -> list[str]:
        found = []
        for folder, wanted in grouped(urls).items():
            with told(self._url):
                items = obstore.list_with_delimiter(self._remote, folder)["objects"]
            names = [item["path"].rpartition("/")[2] for item in items]
            found += [f"{folder}/{name}" for name in matching(names, wanted)]
        return found

    def with_content(self, sha256: str) -> list[str]:
        with told(self._url):
            names = [item["path"] for found in obstore.list(self._remote) for item in found]
            like = [name for name in names if f"-{sha256[:12]}." in name.rpartition("/")[2]]
            return [n for n in like if hashlib.sha256(obstore.get(self._remote, n).bytes()).hexdigest() == sha256]

    def remove(self, names: list[str]) -> int:
        removed = 0
        with told(self._url):
            for name in names:
                try:
                    obstore.delete(self._remote, name)
                    removed += 1
                except FileNotFoundError:
                    continue
        return removed

    def upload(self, file: Path, name: str) -> None:
        with told(f"{self._url}/{name}"):
            obstore.put(self._remote, name, file, chunk_size=PART, attributes=_TYPES.get(file.suffix))

    def sweep(self, living: frozenset[str] = frozenset(), *, finished: bool = False) -> None:
        """Leave all as it is: no object is unfinished."""

    def _marked(self) -> str | None:
        """Return the id of the job whose folder this is, None where it is nobody's."""
        with told(self._url):
            try:
                return bytes(obstore.get(self._remote, MARK).bytes())[:1000].decode(errors="replace").strip()
            except FileNotFoundError as error:
                if code_of(error) in NO_BUCKET:
                    raise
                return None


def _own_folder(path: Path) -> Path:
    """Return a folder, made where it is missing, into which nobody else can put anything; raises StoreError."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StoreError(f"shards cannot be made in {path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError(f"{path} is not a folder of ours alone: remove it, or name another place with TMPDIR")
    return path


class ObjectArchive(Archive):
    """Keeps the ResultArchive contract in an object store; its calls wait for the answer."""

    def __init__(self, url: str, remote: Remote) -> None:
        super().__init__()
        self._url = url
        self._remote = remote

    def _put(self, folder: str, name: str, body: bytes) -> None:
        with told(self._url):
            obstore.put(self._remote, f"{folder}/{name}", body, use_multipart=False)

    def _names(self, folder: str) -> list[str]:
        with told(self._url):
            return [item["path"].rpartition("/")[2] for found in obstore.list(self._remote, folder) for item in found]

    def _get(self, path: str) -> bytes:
        with told(self._url):
            return bytes(obstore.get(self._remote, path).bytes())


class ObjectStore:
    """Keeps the Store contract in an object store, from one thread for all puts under way."""

    def __init__(self, url: str, remote: Remote) -> None:
        self._url = url
        self._remote = remote
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="store", daemon=True)
        self._thread.start()

    def put(self, name: str, body: bytes, done: Done) -> None:
        self._loop.call_soon_threadsafe(self._begin, self._put(name, body), done)

    def put_now(self, name: str, body: bytes) -> bool:
        return False

    def holds(self, name: str, size: int) -> bool:
        return True

    def probe(self, done: Done) -> None:
        self._loop.call_soon_threadsafe(self._begin, self._probe(), done)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, None], done: Done) -> None:
        task = self._loop.create_task(self._tell(work, done))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _tell(self, work: Coroutine[Any, Any, None], done: Done) -> None:
        error: StoreError | None = None
        try:
            await work
        except StoreError as trouble:
            error = trouble
        except asyncio.CancelledError:
            error = StoreError(f"{self._url}: what was under way when the worker ended was given up")
        # Told and logged: were a defect of ours missed, the image would be waited for, and the run go on, for ever.
        except Exception as defect:
            log.exception("%s: an image cannot be put", self._url)
            error = Unstorable(f"{self._url}: {defect!r}")
        done(error)

    async def _put(self, name: str, body: bytes) -> None:
        """Put an image; raises Unstorable where the store takes others, but not this one."""
        try:
            await self._answered(self._create(name, body), DEADLINE + len(body) / SLOWEST)
        except FAILURES as error:
            if isinstance(error, ValueError) or blames_what_was_sent(error):
                await self._probe()
                raise Unstorable(str(trouble(error, f"{self._url}/{name!r}"))) from None
            raise trouble(error, self._url) from None

    async def _create(self, name: str, body: bytes) -> None:
        """Put an object where none has its name; its name tells its content, so one that is there is the same."""
        until, pause = self._loop.time() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                await obstore.put_async(self._remote, name, body, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                if code_of(error) not in UNDECIDED:
                    return
                if self._loop.time() > until:
                    raise StoreError(f"{self._url}/{name}: others put it too, and none of them ends") from None
            except FAILURES as error:
                if self._loop.time() > until or not may_pass(error):
                    raise
            else:
                return
            await asyncio.sleep(pause)  # obstore tries again where nothing answers or a 5xx does; here is the rest
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _probe(self) -> None:
        try:
            await self._answered(obstore.put_async(self._remote, PROBE, b"\n", use_multipart=False), DEADLINE)
        except FAILURES as error:
            raise trouble(error, self._url) from None
        with contextlib.suppress(*FAILURES):  # who may put need not be allowed to remove
            await obstore.delete_async(self._remote, PROBE)

    async def _answered(self, request: Coroutine[Any, Any, Any], seconds: float) -> None:
        try:
            await asyncio.wait_for(request, seconds)
        except asyncio.TimeoutError:
            raise StoreError(f"{self._url}: no answer within {seconds:.0f} seconds") from None

    async def _finish(self) -> None:
        """Let what is under way end, for GRACE seconds."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late)
