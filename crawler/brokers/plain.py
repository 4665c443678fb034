"""Pickles of plain data, read without `pickle`: None, bool, int, float, str, bytes, list, tuple, dict with string keys.

What stock `multiprocessing.managers` clients send is read by this small machine, an opcode whitelist: no opcode here
imports, calls or builds an object, so no message can run code. Protocols 2 to 5 (opcodes: CPython's pickletools).
"""

from __future__ import annotations

import builtins
import pickle
import queue
import struct
from collections.abc import Callable, Sequence
from typing import Any

from crawler.errors import WireError

#: Longest integer in bytes.
_MAX_LONG = 255
#: Deepest nesting; what reads a message may walk it recursively.
MAX_DEPTH = 50
#: Items of lists, tuples and dicts that a message may name again.
MAX_COPIED = 1000
#: Operations of one message: each may cost a hundred times its byte in memory.
MAX_OPERATIONS = 100_000
_MARK = object()


def dumps(value: object) -> bytes:
    """Return `value` for any reader of protocol 4, stock clients of Python 3.8 too."""
    return pickle.dumps(value, 4)


def loads(data: bytes, *, exceptions: bool = False) -> Any:
    """Return the plain data that `data` holds.

    `exceptions` lets `queue.Empty`, `queue.Full` and built-in exceptions through, for what a manager raises.
    Raises WireError for anything else.
    """
    try:
        return _Reader(data, exceptions).run()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, ValueError, TypeError) as error:
        raise WireError(f"a message is no whole pickle of plain data: {type(error).__name__}") from error


def _exception(module: str, name: str) -> type[BaseException]:
    found = getattr({"queue": queue, "_queue": queue, "builtins": builtins}.get(module), name, None)
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    raise WireError(_not_plain(module, name))


def _not_plain(module: object, name: object) -> str:
    return f"a message names {str(module)[:40]!r}, {str(name)[:40]!r}, which is not plain data"


class _Reader:
    def __init__(self, data: bytes, exceptions: bool) -> None:
        self._data = data
        self._at = 0
        self._stack: list[Any] = []
        self._depths: list[int] = []  # of each value on the stack: 0 for what holds no others
        self._memo: dict[int, Any] = {}
        self._exceptions = exceptions
        self._copied = 0

    def run(self) -> Any:
        data = self._data
        for _ in range(MAX_OPERATIONS):
            opcode = data[self._at]
            self._at += 1
            if opcode == 0x2E:  # STOP
                (value,) = self._stack
                if value is _MARK:
                    raise WireError("a message ends in a mark")
                return value
            act = _ACTS.get(opcode)
            if act is None:
                raise WireError(f"a message holds the opcode {bytes([opcode])!r}, which is not plain data")
            act(self)
        raise WireError("a message holds too many values")

    def take(self, size: int) -> bytes:
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise IndexError
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def push(self, value: object, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise WireError("a message is nested too deep")
        self._stack.append(value)
        self._depths.append(depth)

    def since_mark(self) -> tuple[list[Any], int]:
        """Take what was pushed since the last mark, and how deep it is."""
        stack = self._stack
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise IndexError
        values, depth = stack[at + 1 :], max(self._depths[at:])
        del stack[at:], self._depths[at:]
        return values, depth

    def pop(self, count: int) -> tuple[tuple[Any, ...], int]:
        values = tuple(self._stack[-count:])
        if len(values) < count or _MARK in values:
            raise IndexError
        depth = max(self._depths[-count:])
        del self._stack[-count:], self._depths[-count:]
        return values, depth

    def group(self, taken: tuple[Sequence[Any], int]) -> None:
        self.push(tuple(taken[0]), taken[1] + 1)

    def extend(self, taken: tuple[Sequence[Any], int]) -> None:
        target = self._grown(taken[1])
        if type(target) is not list:
            raise TypeError
        target.extend(taken[0])

    def update(self, taken: tuple[Sequence[Any], int]) -> None:
        values, depth = taken
        target = self._grown(depth)
        if type(target) is not dict or len(values) % 2:
            raise TypeError
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str:
                raise WireError("a message holds a dict with a key that is no string")
            target[key] = value

    def _grown(self, depth: int) -> Any:
        """Return the list or dict on top, which gains something of this depth."""
        self._depths[-1] = max(self._depths[-1], depth + 1)
        if self._depths[-1] > MAX_DEPTH:
            raise WireError("a message is nested too deep")
        return self._stack[-1]

    def memoize(self, index: int) -> None:
        if self._stack[-1] is _MARK:
            raise IndexError
        self._memo[index] = self._stack[-1]

    def recall(self, index: int) -> None:
        """Push what was seen before.

        Of lists, tuples and dicts that is a copy, and of flat ones only: so none holds itself, and a small message does
        not stand for a huge value.
        """
        value = self._memo[index]
        if isinstance(value, (list, tuple, dict)):
            parts = value.values() if isinstance(value, dict) else value
            self._copied += 1 + len(value)
            nested = self._copied > MAX_COPIED or any(isinstance(part, (list, tuple, dict)) for part in parts)
            if nested or (not value and any(value is other for other in self._stack)):
                raise WireError("a message holds the same list, tuple or dict twice")
            self.push(value if isinstance(value, tuple) else value.copy(), 1)
        else:
            self.push(value)

    def long(self, size: int) -> None:
        if size > _MAX_LONG:
            raise WireError("a message holds a huge integer")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def name(self) -> None:
        (module, name), _ = self.pop(2)
        if not self._exceptions:
            raise WireError(_not_plain(module, name))
        self.push(_exception(module, name))

    def raised(self) -> None:
        (kind, arguments), _ = self.pop(2)
        if not (isinstance(kind, type) and type(arguments) is tuple and all(type(a) is str for a in arguments)):
            raise TypeError
        self.push(kind(*arguments))


def _sized(form: str, convert: Callable[[bytes], object]) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(convert(reader.take(reader.number(form))))


def _text(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


_ACTS: dict[int, Callable[[_Reader], Any]] = {
    0x80: lambda r: r.take(1),  # PROTO
    0x95: lambda r: r.take(8),  # FRAME
    0x4E: lambda r: r.push(None),
    0x88: lambda r: r.push(True),
    0x89: lambda r: r.push(False),
    0x4A: lambda r: r.push(r.number("<i")),  # BININT
    0x4B: lambda r: r.push(r.number("<B")),
    0x4D: lambda r: r.push(r.number("<H")),
    0x8A: lambda r: r.long(r.number("<B")),  # LONG1
    0x8B: lambda r: r.long(r.number("<I")),  # LONG4
    0x47: lambda r: r.push(r.number(">d")),  # BINFLOAT
    0x8C: _sized("<B", _text),
    0x58: _sized("<I", _text),
    0x8D: _sized("<Q", _text),
    0x43: _sized("<B", bytes),
    0x42: _sized("<I", bytes),
    0x8E: _sized("<Q", bytes),
    0x28: lambda r: r.push(_MARK),
    0x5D: lambda r: r.push([]),
    0x61: lambda r: r.extend(r.pop(1)),  # APPEND
    0x65: lambda r: r.extend(r.since_mark()),  # APPENDS
    0x29: lambda r: r.push(()),
    0x85: lambda r: r.group(r.pop(1)),
    0x86: lambda r: r.group(r.pop(2)),
    0x87: lambda r: r.group(r.pop(3)),
    0x74: lambda r: r.group(r.since_mark()),
    0x7D: lambda r: r.push({}),
    0x73: lambda r: r.update(r.pop(2)),  # SETITEM
    0x75: lambda r: r.update(r.since_mark()),  # SETITEMS
    0x94: lambda r: r.memoize(len(r._memo)),  # MEMOIZE
    0x71: lambda r: r.memoize(r.number("<B")),  # BINPUT
    0x72: lambda r: r.memoize(r.number("<I")),  # LONG_BINPUT
    0x68: lambda r: r.recall(r.number("<B")),  # BINGET
    0x6A: lambda r: r.recall(r.number("<I")),  # LONG_BINGET
    0x93: lambda r: r.name(),  # STACK_GLOBAL
    0x52: lambda r: r.raised(),  # REDUCE
}
