"""Messages of a worker that has the key, mutated: the broker's process neither ends nor grows, and serves the honest.

    PYTHONPATH=.:tests python tests/mutations.py [NUMBER [SEED]]

records what an honest worker and a stock client send, changes it in every way that it knows, and sends NUMBER
(100,000) of such messages to a broker in a process of its own.
"""

from __future__ import annotations

import contextlib
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from brokers.driver import KEY, Hand, done, moved, retry, returned, robots_of
from crawler.brokers import plain, wire
from crawler.brokers.client import ManagerBroker, ServerAddress
from crawler.errors import BrokerUnreachable
from crawler.model import ImageResult, Kind, Report, RobotsFile, Settlement, Task

ROOT = Path(__file__).resolve().parents[1]
#: Values that decide something somewhere.
_NUMBERS = [
    b"\x00", b"\x7f", b"\xff", b"\xe0", b"\xc0", b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6),
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcf\x00\x20" + bytes(6), b"\xdd" + b"\xff" * 4, b"\xa0", b"\x90",
]  # fmt: skip

SERVER = """
import sys
from pathlib import Path
from brokers.driver import KEY, Hand, done, images, page, spec
from crawler.brokers.listen import listen_tcp
from crawler.brokers.manager import Manager
from crawler.brokers.sqlite import SqliteBroker
from crawler.model import Kind
broker = SqliteBroker(Path(sys.argv[1]))
broker.begin(spec(obey_robots=True))
broker.put([page(f"http://site.test/{n}") for n in range(20)])
for host in range(50):
    broker.put(images(200, f"host{host}.test"))
manager = Manager(broker, KEY)
listener = listen_tcp("127.0.0.1", 0)
manager.listen(listener)
print(listener.getsockname()[1], flush=True)
while True:
    manager.turn()
"""


class Server:
    """A broker with work of all kinds, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder / "queue.sqlite")],
            stdout=subprocess.PIPE, stderr=self.errors, text=True, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()

    def memory(self) -> int:
        """Return the bytes that it has in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def last_words(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-2000:]


class Recorder(ManagerBroker):
    """A worker's connection that remembers what it sends, and can send anything."""

    def __init__(self, port: int) -> None:
        super().__init__(ServerAddress("127.0.0.1", port), KEY, encrypt=False)
        self.sent: list[bytes] = []

    def _request(self, method: str, *args: object) -> object:
        self.sent.append(plain.dumps(("broker", method, args, {})))
        return super()._request(method, *args)

    def throw(self, message: bytes, length: int | None = None) -> None:
        """Send a message, and take in what is answered at once, or that the connection ends."""
        self.connect()
        assert self._socket is not None
        size = len(message) if length is None else length
        self._socket.settimeout(0.05 if size <= len(message) and size < wire.MAX_FAR_MESSAGE else 0.0005)
        try:
            self._socket.sendall(size.to_bytes(4, "big") + message)
            frames = wire.Frames()
            frames.limit = wire.MAX_MESSAGE
            while frames.next() is None:
                data = self._socket.recv(262_144)
                if not data:
                    raise EOFError
                frames.feed(data)
        except (OSError, EOFError):
            self.close()  # the next one begins anew


def recorded(port: int) -> list[bytes]:
    """Return the messages of an honest worker that does all that workers do, and of a stock client."""
    broker = Recorder(port)
    hand = Hand(broker, "honest-1-0a0b0c0d", {Kind.IMAGE: 5, Kind.ROBOTS: 20})
    hows: list[Callable[[Task], Settlement]] = [
        lambda task: done(task, size=12_000, result=ImageResult(file="a/b.png", sha256="0" * 64, width=3, height=4)),
        lambda task: done(task, "http_404", message="it is gone"),
        lambda task: retry(task, "timeout", retry_after=1.5, suspect=True),
        lambda task: moved(task, "http://host7.test/elsewhere.png"),
        returned,
    ]  # fmt: skip
    broker.spec(), broker.counts(), broker.robots("0" * 64)
    for turn in range(12):
        settlements = [
            robots_of(task, RobotsFile(text="User-agent: *\nDisallow: /private\n", crawl_delay=0.5))
            if task.kind is Kind.ROBOTS
            else hows[(turn + place) % len(hows)](task)
            for place, task in enumerate(hand.held.values())
        ]
        hand.exchange(*settlements, busy={"host1.test": 2})
    broker.close()
    stock: list[tuple[str | None, str, tuple[object, ...], dict[str, object]]] = [
        (None, "create", ("get_task_queue",), {}),
        (None, "get_methods", (("t", "x"),), {}),
        (None, "incref", ("1",), {}),
        ("tasks", "get", (True, 0.01), {}),
        ("tasks", "get_nowait", (), {}),
        ("tasks", "qsize", (), {}),
        ("tasks", "put", ("http://host3.test/new.png",), {}),
        ("results", "put", ("http://host3.test/1.png--->success",), {}),
        ("results", "put", ("http://host4.test/1.png--->http_404",), {}),
        ("results", "get", (), {"timeout": 0.01}),
        ("results", "empty", (), {}),
    ]
    return broker.sent + [pickle.dumps(call, protocol) for call in stock for protocol in (2, 4, 5)]


def mutated(messages: list[bytes], chance: random.Random) -> tuple[bytes, int | None]:
    """Return a mutated message, and the length to announce where that is a lie."""
    message = chance.choice(messages)
    message = (_inside(message, chance) if chance.random() < 0.5 else None) or _changed(message, messages, chance)
    lies = [len(message) + 1, 2**24, 2**31 - 1, 2**32 - 1, 0]
    return message, chance.choice(lies) if chance.random() < 0.01 else None


def _inside(message: bytes, chance: random.Random) -> bytes | None:
    """Return a call whose encoded argument is mutated, in an envelope that is whole; None where it has none."""
    ident, method, args, kwargs = plain.loads(message)
    places = [place for place, arg in enumerate(args) if isinstance(arg, bytes)]
    if not places:
        return None
    arg = bytearray(args[places[0]])
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(arg))
        arg[at : at + chance.randint(0, 2)] = chance.choice(_NUMBERS)
    return plain.dumps((ident, method, [*args[: places[0]], bytes(arg), *args[places[0] + 1 :]], kwargs))


def _changed(message: bytes, messages: list[bytes], chance: random.Random) -> bytes:
    changed = bytearray(message)
    at = chance.randrange(len(changed))
    how = chance.randrange(5)
    if how == 0:
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    elif how == 1:
        del changed[at : at + chance.choice([1, 4, len(changed)])]
    elif how == 2:
        other = chance.choice(messages)
        changed[at:] = other[chance.randrange(len(other)) :]
    elif how == 3:
        changed[at : at + 1] = chance.choice(_NUMBERS)
    else:
        changed[at:at] = changed[at : at + 16] * chance.choice([1, 100, 10_000])
    return bytes(changed)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    memory = Path("/dev/shm")  # where there is one, since a disk would be waited for at every commit
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.close()


def attack(server: Server, number: int, seed: int) -> int:
    """Send `number` mutated messages, and return by how many bytes the broker grew.

    Raises AssertionError where it ended, or serves an honest worker no more.
    """
    chance = random.Random(seed)
    messages = recorded(server.port)
    peer = Recorder(server.port)
    grown, before = 0, 0
    for sent in range(number):
        if sent == 500:  # what is loaded at the first use of everything
            before = server.memory()
        message, length = mutated(messages, chance)
        try:
            peer.throw(message, length)
        except (BrokerUnreachable, TimeoutError) as error:
            raise AssertionError(f"after {sent} of seed {seed}, {message!r}: {error}; {server.last_words()}") from error
        if sent % 1000 == 0 and before:
            grown = max(grown, server.memory() - before)
    peer.close()
    assert server.process.poll() is None, server.last_words()
    honest = Recorder(server.port)
    reply = honest.exchange("honest-2-0a0b0c0d", Report(room={Kind.IMAGE: 10, Kind.ROBOTS: 10}))
    assert reply.serial == 1, "an honest worker is served; what is left of the work is another matter"
    honest.close()
    return max(grown, server.memory() - before)


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with serving() as victim:
        print(f"{total} mutated messages; the broker lives, and grew by {attack(victim, total, start) / 2**20:.1f} MB")
