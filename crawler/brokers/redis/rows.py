"""How tasks, calls and results are packed for the scripts."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from crawler.model import Kind, Message, Task, encode

_HEADER = struct.Struct(">HIHIBBBB16s")
_ITEM = struct.Struct(">HIIII")
_NIL = Raw(b"\xc0")


class Body(Message):
    """What of a task the scripts do not read; `page` is `""` where the source itself named it."""

    url: str
    at: str  #: `""` where it is the URL
    detail: Raw
    hops: int = 0
    candidate: int = 0
    page: str = ""
    words: Raw = _NIL


_read_body = msgspec.msgpack.Decoder(Body).decode
_KINDS = tuple(Kind)


class Row(NamedTuple):
    """A task as it lies in a partition."""

    number: int
    source: int
    kind: Kind
    attempts: int
    lost: int
    first: int  #: odd for the first page of a site, 2 or more where a worker lost it
    identity: bytes
    body: Body

    @property
    def orphan(self) -> bool:
        """Its lease was lost, so that it may be what kills workers."""
        return self.lost > 0

    @property
    def task(self) -> Task:
        body = self.body
        number = -self.number if self.kind is Kind.ROBOTS else self.number
        detail = _NIL if self.kind is Kind.ROBOTS else body.detail
        return Task(number, self.kind, body.url, body.at or body.url, detail, body.hops, body.candidate, self.attempts)


def read_row(row: bytes) -> Row:
    high, low, source_high, source_low, kind, attempts, lost, first, identity = _HEADER.unpack_from(row)
    body = _read_body(memoryview(row)[_HEADER.size :])
    number, source = high << 32 | low, source_high << 32 | source_low
    return Row(number, source, _KINDS[kind], attempts, lost, first, identity, body)


def write_row(row: Row) -> bytes:
    high, low = divmod(row.number, 2**32)
    source_high, source_low = divmod(row.source, 2**32)
    return _HEADER.pack(
        high, low, source_high, source_low, row.kind, row.attempts, row.lost, row.first, row.identity
    ) + encode(row.body)  # fmt: skip


class Item(NamedTuple):
    """One result: bytes of the image, message, the encoded result, the origin where it waited and its task's row."""

    size: int
    message: str
    result: bytes
    origin: str
    row: bytes


def read_items(blob: bytes, skipped: int) -> Iterator[Item]:
    """Give the results of a parcel but for the first `skipped`."""
    at = 0
    for _ in range(skipped):
        _, _, message, result, kept = _ITEM.unpack_from(blob, at)
        at += _ITEM.size + message + result + kept
    while at < len(blob):
        high, low, message, result, kept = _ITEM.unpack_from(blob, at)
        start = at + _ITEM.size
        told, found = start + message, start + message + result
        origin = found + 2 + int.from_bytes(blob[found : found + 2], "big")
        at = found + kept
        said, lane = _text(blob[start:told]), _text(blob[found + 2 : origin])
        yield Item(high << 32 | low, said, blob[told:found], lane, blob[origin:at])


_AWAY = struct.Struct(">IIII")


def read_away(kept: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Return origin, outcome, message, encoded result and row of what ended away from home."""
    parts, at = [], _AWAY.size
    for size in _AWAY.unpack_from(kept):
        parts.append(kept[at : at + size])
        at += size
    origin, outcome, message, body = parts
    return origin, outcome, message, body, kept[at:]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class Head(Message):
    """What the results of a parcel have in common."""

    run: int
    time: float
    worker: str
    kind: int
    outcome: str


class Known(NamedTuple):
    """What a partition knows of a task: the number under which it waited last, whether it has many mentions."""

    number: int
    more: bool


def mention_digest(page: str, words: bytes) -> bytes:
    """Return what tells one mention of an image from another, never all zeros."""
    return hashlib.blake2b(page.encode("utf-8", "surrogatepass") + b"\0" + words, digest_size=5).digest() + b"\1"


def binary(data: bytes) -> Raw:
    """Return bytes as the scripts' library reads them: it knows no type but text."""
    size = len(data)
    if size < 32:
        return Raw(bytes([0xA0 | size]) + data)
    if size < 2**8:
        return Raw(b"\xd9" + size.to_bytes(1, "big") + data)
    if size < 2**16:
        return Raw(b"\xda" + size.to_bytes(2, "big") + data)
    return Raw(b"\xdb" + size.to_bytes(4, "big") + data)


def unpacked(packed: Raw) -> bytes:
    """Return what `binary` packed."""
    data = bytes(packed)
    return data[{0xD9: 2, 0xDA: 3, 0xDB: 5}.get(data[0], 1) :]


def keys_of(numbers: Iterable[int]) -> Raw:
    """Return the keys of tasks, one behind the other."""
    return binary(b"".join([number.to_bytes(6, "big") for number in numbers]))


def numbers_of(keys: Raw) -> list[int]:
    data = unpacked(keys)
    return [int.from_bytes(data[at : at + 6], "big") for at in range(0, len(data), 6)]


def text(data: str) -> Raw:
    """Return text, whatever is in it."""
    return binary(data.encode("utf-8", "surrogatepass"))


def pack_call(call: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(call)
