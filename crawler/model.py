"""The words of the program: what a job is made of and what travels between its processes.

Every message is plain data (msgspec structs, encoded as arrays), so that whoever reads it can only get data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec

#: The broker's wire protocol; both ends must agree on it.
WIRE_VERSION: Final = 9

T = TypeVar("T")

#: What SQLite, JSON and floats can all hold; checked when a message is read.
MAX_WHOLE: Final = 2**53
Whole = Annotated[int, msgspec.Meta(ge=-MAX_WHOLE, le=MAX_WHOLE)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_WHOLE)]
#: Bytes of one image; a million of the largest can still be added up.
Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
#: No negative ones, and none that are infinite or no number.
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]
#: How many of anything one report may hold, so that a small message cannot become huge in memory.
Few = msgspec.Meta(max_length=100_000)


class Kind(IntEnum):
    """What a task asks for."""

    SOURCE = 0  #: feed URLs from a site or a list
    PAGE = 1  #: read an HTML document for links
    IMAGE = 2  #: fetch an image
    ROBOTS = 3  #: fetch the robots.txt of an origin; lives in the broker's memory only


class Verb(IntEnum):
    """What a worker says of a task."""

    DONE = 0  #: it has its terminal outcome
    RETRY = 1  #: it failed in a way that may pass; the broker decides whether it is tried again
    MOVED = 2  #: its next request goes elsewhere: another host by a redirect, or the next candidate
    RETURNED = 3  #: unworked, or worked in part with a new cursor; burns no attempt
    FOUND = 4  #: still worked on; what was found so far, where that is too much for one message


class State(str, Enum):
    """Where a run stands, as workers hear it."""

    OPEN = "open"  #: there is work, or there may be soon
    DRAINING = "draining"  #: the broker is stopping: return what is not under way
    FINISHED = "finished"  #: nothing waits and nothing is held


class Message(msgspec.Struct, array_like=True, gc=False):
    """The base of all that is sent or stored in encoded form; messages never form cycles."""


class Words(Message, kw_only=True, omit_defaults=True):
    """The words around one mention of an image; `columns` are the other columns of a list."""

    found_in: str = ""
    alt: str = ""
    title: str = ""
    caption: str = ""
    columns: dict[str, str] = {}
    label: str = ""  #: aria-label
    link_text: str = ""
    heading: str = ""  #: the nearest one before it
    author: str = ""
    image_license: str = ""  #: hints of the page, no permissions
    credit: str = ""
    page_title: str = ""
    page_language: str = ""
    page_license: str = ""
    row: int = 0  #: of its list, from 1, where each row is a sample of its own


class SourceDetail(Message, kw_only=True):
    """A site's first page, or a list of URLs with where its reading has come to."""

    sort: str = "site"
    path: str = ""
    url_column: str = ""
    caption_column: str = ""
    cursor: int = 0  #: rows read so far
    name: str = ""  #: by which people know it
    format: str = ""  #: of a list; `""`: as its name ends
    columns: tuple[str, ...] | None = None  #: that are kept beside URL and caption; None is all
    hash_column: str = ""  #: has what each image is compared with
    hash_kind: str = ""  #: `md5` …; `""`: as the length of each tells
    per_row: bool = False  #: rows with one URL are samples of their own


class PageDetail(Message, kw_only=True):
    """How many links from the site's first page, and the URL that the scope is measured from."""

    depth: int = 0
    scope_base: str = ""
    sort: str = "page"  #: what it was named as: `page`, `sheet`, `feed`, `manifest` or `sitemap`
    guessed: bool = False  #: nobody named it: it is looked for where sites usually have one
    lastmod: str = ""  #: when a sitemap says that it changed
    listed: bool = False  #: a sitemap names it: it is no trap
    nested: int = 0  #: sheets that import it, or sitemaps that name it, one through the other
    site: str = ""  #: the name of the source that it was found from


class ImageDetail(Message, kw_only=True):
    """What to try when the first candidate fails, and the page that named it."""

    fallbacks: tuple[str, ...] = ()
    referrer: str = ""
    digest: str = ""  #: what its bytes must have, by its list (crawler.digests)


class Found(Message):
    """A task found on the way, and for an image the mention that came with it."""

    kind: Kind
    url: str
    detail: msgspec.Raw
    words: Words | None = None
    opted_out: str = ""  #: the rule by which the page that names an image wants it left alone


class Known(Message):
    """What an earlier run came to, of which a file, or the links of a page, are there."""

    time: float  #: when it was told, by the broker's clock
    size: int  #: bytes of the file
    result: msgspec.Raw  #: encoded ImageResult or PageResult


class Task(Message):
    """One unit of work, as a worker is handed it."""

    number: int  #: the broker's own handle
    kind: Kind
    url: str
    at: str  #: where its next request goes
    detail: msgspec.Raw
    hops: int = 0  #: redirects followed so far
    candidate: int = 0  #: which of the image's candidates is tried
    attempts: int = 0
    known: Known | None = None  #: by which it is asked for conditionally
    mentions: list[tuple[str, msgspec.Raw]] = []  #: page and encoded Words, as far as known; of jobs that store shards


def moved_to(task: Task) -> str:
    """Return where a task's redirects ended, or `""` where that is its URL."""
    return "" if task.at == task.url else task.at


class Move(Message):
    """Where a task goes on."""

    at: str
    hops: Natural
    candidate: Natural = 0


class ImageResult(Message, kw_only=True):
    """What is known of a fetched image, the names of the ledger's columns."""

    file: str = ""
    sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    final_url: str = ""  #: where redirects ended; empty where it is the image's URL
    status: int = 0
    etag: str = ""
    last_modified: str = ""
    line: str = ""  #: as a stock client put it
    active: bool = False  #: an SVG by which a browser runs or loads something
    max_age: int = 0  #: seconds for which it was said to be fresh
    asked: int = 0  #: when it was asked for, in seconds since 1970; 0 is when this was told
    previous: str = ""  #: the file of an earlier run that this one comes after
    digest: str = ""  #: of a list, which its bytes have
    stored_sha256: str = ""  #: of what is in the shard, where that is not what was fetched
    phash: str = ""  #: crawler.similarity's, of what was fetched


class PageResult(Message, kw_only=True):
    """What is known of a page that was read."""

    final_url: str = ""  #: where redirects ended; empty where it is the page's URL
    status: int = 0
    images: int = 0
    links: int = 0
    etag: str = ""
    last_modified: str = ""
    max_age: int = 0  #: seconds for which it was said to be fresh
    asked: int = 0  #: when it was asked for, in seconds since 1970; 0 is when this was told
    asks_password: bool = False
    opts_out: bool = False  #: it wanted images left alone


class RobotsFile(Message, kw_only=True):
    """The answer of an origin about robots: its text, or whether all or nothing is allowed without one."""

    text: str = ""
    reachable: bool = True
    crawl_delay: Seconds = 0.0
    message: str = ""


class Settlement(Message, kw_only=True, omit_defaults=True):
    """What a worker says of one task, with all that it found on the way."""

    number: Whole
    verb: Verb
    outcome: str = ""
    message: str = ""
    size: Size = 0  #: bytes stored
    result: msgspec.Raw = msgspec.Raw(b"\xc0")  #: encoded ImageResult, PageResult or RobotsFile; opaque to the broker
    retry_after: Seconds = 0.0
    suspect: bool = False  #: the failure may be our own network's
    move: Move | None = None
    cursor: Natural | None = None
    found: list[Found] = []
    left_out: dict[str, Natural] = {}  #: links not followed, by reason
    unasked: bool = False  #: no request was made for it


class Stored(Message):
    """Images that are in the store, by far the most of all settlements: columns of one length."""

    numbers: Annotated[list[Whole], Few] = []
    sizes: Annotated[list[Size], Few] = []  #: bytes stored
    results: Annotated[list[msgspec.Raw], Few] = []  #: encoded ImageResult; opaque to the broker

    def __post_init__(self) -> None:
        if not len(self.numbers) == len(self.sizes) == len(self.results):
            raise ValueError("the columns of what is stored differ in length")

    def add(self, number: int, size: int, result: msgspec.Raw) -> None:
        self.numbers.append(number)
        self.sizes.append(size)
        self.results.append(result)

    def without(self, places: list[int]) -> Stored:
        """Return the rows that are not at `places`."""
        left_out = set(places)
        rest = Stored()
        for place, row in enumerate(zip(self.numbers, self.sizes, self.results, strict=True)):
            if place not in left_out:
                rest.add(*row)
        return rest


class ShardReport(Message):
    """A shard that is in its place, with all that is in it; it is settled wholly or not at all."""

    number: Natural
    stored: Stored
    failed: Annotated[list[Settlement], Few] = []

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of all its tasks."""
        return [*self.stored.numbers, *(said.number for said in self.failed)]


class ShardAnswer(Message):
    """What became of a shard: it is settled, or these tasks are done already, and nothing is settled."""

    number: int
    refused: list[int] = []


class Report(Message, kw_only=True):
    """What a worker tells at each exchange."""

    stored: Stored = msgspec.field(default_factory=Stored)
    unchanged: Stored = msgspec.field(default_factory=Stored)  #: of earlier runs, and still the same
    settlements: Annotated[list[Settlement], Few] = []
    held: Annotated[list[Whole], Few] = []
    bound: Annotated[list[Whole], Few] = []  #: held, too: what is in shards that are not settled yet
    shards: Annotated[list[ShardReport], Few] = []
    shard_numbers: Annotated[list[Natural], Few] = []  #: of shards that it has begun and that are not settled
    wants_shard: bool = False  #: it needs the number of another shard
    busy: Annotated[dict[str, Natural], Few] = {}  #: requests under way, by authority
    latency: Annotated[dict[str, Seconds], Few] = {}  #: mean seconds to the answer since the last, by authority
    room: dict[Kind, Natural] = {}
    heard: Natural = 0  #: serial of the last reply that arrived
    reaches: bool = False  #: hosts that answered before can be connected, whatever others do not answer


class Grant(Message):
    """How a worker may use a host until the next reply."""

    count: int  #: requests at a time
    delay: float = 0.0  #: seconds from the end of one request to the start of the next
    wait: float = 0.0  #: seconds before the first


class Reply(Message, kw_only=True):
    """The broker's answer to a report."""

    serial: int
    state: State
    tasks: list[Task] = []
    grants: dict[str, Grant] = {}  #: by authority; all that the worker has, less what is unchanged
    robots: dict[str, str] = {}  #: digest of the robots.txt, by origin
    retry_in: float = 0.5
    spec_digest: str = ""
    notice: str = ""  #: what the person should know now, such as that the network is down
    shard: int = -1  #: the number of a shard that was wanted
    answers: list[ShardAnswer] = []
    close_shards: bool = False  #: nothing more comes for now but what others bring


_ENCODER = msgspec.msgpack.Encoder()
encode = _ENCODER.encode
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def decode(data: bytes | memoryview | msgspec.Raw, kind: type[T]) -> T:
    """Return `data` as `kind`.

    Raises msgspec.DecodeError where it is anything else.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deep") from error


def decode_all(data: Iterable[msgspec.Raw], kind: type[T]) -> list[T]:
    """Return each of `data` as `kind`; raises as `decode` does."""
    decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
    try:
        return list(map(decoder.decode, data))
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deep") from error


def pack(value: Message) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


_HASHES = {kind: hashlib.blake2b(digest_size=16, person=b"%d" % kind) for kind in Kind}


def task_id(kind: Kind, url: str) -> bytes:
    """Return the 128 bits that stand for `url` as a task of `kind`."""
    value = _HASHES[kind].copy()
    value.update(url.encode("utf-8", "surrogatepass"))
    return value.digest()
