import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.brokers import plain
from crawler.errors import WireError

TEXT = st.text(st.characters(codec=None), max_size=300)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | TEXT
    | st.sampled_from(["a" * 70_000, 2**2000, -(2**31), 2**31, 255, 256, 65535, 65536, "é\ud800"])
)


def nested(atoms: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        atoms,
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.lists(inner, max_size=6).map(tuple)
            | st.dictionaries(TEXT, inner, max_size=4)
        ),
        max_leaves=20,
    )


PLAIN = nested(ATOMS)
PLAIN_WITH_BYTES = nested(ATOMS | st.binary(max_size=300))  # protocol 2 has no bytes of its own


# What is plain comes through


@given(PLAIN_WITH_BYTES)
def test_round_trip(value: object) -> None:
    assert plain.loads(plain.dumps(value)) == value


@given(PLAIN_WITH_BYTES, st.sampled_from([3, 4, 5]))
def test_what_any_python_3_sends(value: object, protocol: int) -> None:
    assert plain.loads(pickle.dumps(value, protocol)) == value


@given(PLAIN)
def test_protocol_2(value: object) -> None:
    assert plain.loads(pickle.dumps(value, 2)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_types_are_kept(protocol: int) -> None:
    value = [True, 1, 1.0, "1", (1,), [1], {"1": 1}, None, (), [], {}, (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    loaded = plain.loads(pickle.dumps(value, protocol))
    assert loaded == value
    assert list(map(type, loaded)) == list(map(type, value))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_many_items_and_shared_ones(protocol: int) -> None:
    shared = ["x"]
    value = [[shared, shared], list(range(3000)), {str(i): i for i in range(3000)}, "y" * 300]
    assert plain.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("size", [0, 255, 256, 70_000])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_of_all_lengths(protocol: int, size: int) -> None:
    assert plain.loads(pickle.dumps(b"x" * size, protocol)) == b"x" * size


def test_what_a_stock_client_sends() -> None:
    request = ("7f00", "get", (True,), {"timeout": 5})
    assert plain.loads(pickle.dumps(request)) == request


# What a manager raises


@pytest.mark.parametrize("error", [queue.Empty(), queue.Full(), ValueError("no"), TypeError("a", "b"), EOFError()])
@pytest.mark.parametrize("protocol", [4, 5])
def test_exceptions_come_through_where_they_are_allowed(error: Exception, protocol: int) -> None:
    kind, loaded = plain.loads(pickle.dumps(("#ERROR", error), protocol), exceptions=True)
    assert kind == "#ERROR"
    assert type(loaded) is type(error)
    assert loaded.args == error.args


def test_exceptions_are_refused_elsewhere() -> None:
    with pytest.raises(WireError):
        plain.loads(plain.dumps(("#ERROR", queue.Empty())))


# What is hostile


class Reduced:
    """Pickled as a call of `function`."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Persistent(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return "it" if obj == "persistent" else None


class Thing:
    def __init__(self) -> None:
        self.x = 1

    def __repr__(self) -> str:
        return "Thing()"  # the same in every process: it is the name of a test


CALLS = [
    (os.system, "touch PWNED"),
    (eval, "open('PWNED', 'w')"),
    (exec, "open('PWNED', 'w')"),
    (open, "PWNED", "w"),
    (getattr, "x", "upper"),
    (subprocess.run, "touch PWNED"),
]


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir()), "a message ran code"


def refused(data: bytes) -> None:
    for exceptions in (False, True):
        with pytest.raises(WireError):
            plain.loads(data, exceptions=exceptions)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0].__name__)
def test_calls_are_refused(call: tuple[Any, ...], protocol: int) -> None:
    for wrap in (lambda x: x, lambda x: [x], lambda x: ("a", "put", (x,), {}), lambda x: {"k": x}):
        refused(pickle.dumps(wrap(Reduced(*call)), protocol))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value", [os.system, Thing, Thing(), {1, 2}, frozenset([1]), 1j, bytearray(b"x"), range(3), Path("x"), print],
    ids=str,
)  # fmt: skip
def test_globals_and_objects_are_refused(value: object, protocol: int) -> None:
    refused(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", range(6))
def test_persistent_ids_are_refused(protocol: int, tmp_path: Path) -> None:
    import io

    out = io.BytesIO()
    Persistent(out, protocol).dump(["persistent"])
    refused(out.getvalue())


def test_text_pickles_are_refused() -> None:
    refused(pickle.dumps([1, "x"], 0))


BY_HAND = {
    "GLOBAL": b"cos\nsystem\n(S'touch PWNED'\ntR.",
    "INST": b"(S'touch PWNED'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch PWNED'\no.",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93\x8c\x0btouch PWNED\x85R.",
    "STACK_GLOBAL of a dotted name": b"\x8c\x08builtins\x8c\x0eException.mro\x93.",
    "EXT": b"\x82\x01.",
    "NEWOBJ": b"\x8c\x08builtins\x8c\x0aValueError\x93)\x81.",
    "BUILD": b"\x8c\x08builtins\x8c\x0aValueError\x93)R}\x8c\x01xK\x01sb.",
    "builtins.eval": b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x10open('PWNED','w')\x85R.",
    "BaseException": b"\x8c\x08builtins\x8c\x0aSystemExit\x93)R.",
    "KeyboardInterrupt": b"\x8c\x08builtins\x8c\x11KeyboardInterrupt\x93)R.",
    "module queue.os": b"\x8c\x05queue\x8c\x09threading\x93.",
    "a global of numbers": b"K\x01K\x02\x93.",
    "a global of lists": b"]]\x93.",
    "a global of dicts": b"}}\x93.",
    "an exception of lists": b"\x8c\x08builtins\x8c\x0aValueError\x93]\x85R.",
    "an exception of no arguments": b"\x8c\x08builtins\x8c\x12UnicodeDecodeError\x93)R.",
    "a call of a string": b"\x8c\x01x)R.",
    "a dict key that is a tuple": b"}K\x01K\x02\x86K\x03s.",
    "a dict key that is a deep tuple": b"}" + b")" + b"\x85" * 300_000 + b"K\x01s.",
    "a dict key that is None": b"}NK\x01s.",
    "an odd number of dict items": b"}(\x8c\x01au.",
    "items for a tuple": b")K\x01a.",
    "items for a list": b"](\x8c\x01aK\x01u.",
    "a huge BINUNICODE8": b"\x8d" + struct.pack("<Q", 2**63) + b"x.",
    "a huge BINBYTES8": b"\x8e" + struct.pack("<Q", 2**64 - 1) + b"x.",
    "a huge BINBYTES": b"B" + struct.pack("<I", 2**32 - 1) + b"x.",
    "a huge LONG4": b"\x8b" + struct.pack("<I", 2**31 - 1) + b"x.",
    "a negative LONG4": b"\x8b" + struct.pack("<i", -1) + b"x.",
    "a long integer": b"\x8b" + struct.pack("<I", 4000) + b"x" * 4000 + b".",
    "a huge LONG_BINPUT": b"Nr" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 2**32 - 2) + b".",
    "a memo that is not there": b"h\x00.",
    "text that is not UTF-8": b"\x8c\x02\xff\xfe.",
    "nothing": b"",
    "STOP alone": b".",
    "two values": b"NN.",
    "a mark": b"(.",
    "a memoized mark": b"(\x94.",
    "a mark in a tuple": b"(N\x86.",
    "a tuple since no mark": b"Nt.",
    "APPENDS without a list": b"(e.",
    "no STOP": b"N",
    "not a pickle": b"GET / HTTP/1.1\r\n\r\n",
    "a list of itself": b"]\x94h\x00a.",
    "a list of a list of itself": b"]\x94]\x94h\x00aa.",
    "a dict of itself": b"}\x94\x8c\x01ah\x00s.",
    "a tuple of a list of itself": b"]\x94h\x00\x85a.",
}


@pytest.mark.parametrize("data", BY_HAND.values(), ids=BY_HAND)
def test_hostile_messages_are_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_lists_of_themselves_are_refused(protocol: int) -> None:
    loop: list[Any] = []
    loop.append(loop)
    refused(pickle.dumps(loop, protocol))


def test_small_messages_do_not_stand_for_huge_values() -> None:
    value = ["x"]
    for _ in range(30):
        value = [value] * 10  # type: ignore[list-item]
    refused(pickle.dumps(value, 4))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_truncated_anywhere(protocol: int) -> None:
    whole = pickle.dumps(
        ("broker", "exchange", (["x" * 300, 1.5, 2**40, -1, None, True], 70_000), {"a": (1,)}), protocol
    )
    for end in range(len(whole)):
        with pytest.raises(WireError):
            plain.loads(whole[:end])


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_data_or_refused(data: bytes, exceptions: bool) -> None:
    with contextlib.suppress(WireError):
        plain.loads(data, exceptions=exceptions)


@given(PLAIN_WITH_BYTES, st.data())
def test_a_changed_byte_is_data_or_refused(value: object, data: st.DataObject) -> None:
    message = bytearray(plain.dumps(value))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    exceptions = data.draw(st.booleans())
    with contextlib.suppress(WireError):
        plain.loads(bytes(message), exceptions=exceptions)


def test_deep_messages_do_not_end_the_process() -> None:
    """What nests a million times is refused, or can at least be held, shown and let go."""
    script = (
        "from crawler.brokers import plain\n"
        "from crawler.errors import WireError\n"
        "for data in (b')' + b'\\x85' * 1_000_000 + b'.', b']' * 1_000_000 + b'a' * 999_999 + b'.'):\n"
        "    try:\n"
        "        value = plain.loads(data)\n"
        "        repr(value), value == 1, value in {'a': 1} if type(value) is tuple else 0\n"
        "    except WireError:\n"
        "        pass\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 0, ended.stderr[-300:]
