"""What programs with nothing but the standard library see of the broker."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from multiprocessing.managers import BaseManager, RemoteError, dispatch
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from brokers.driver import KEY, Hand, done, image, images, robots_of, served, spec
from crawler.account import Counts, result_line
from crawler.brokers import plain
from crawler.brokers.listen import listen_tcp
from crawler.brokers.sqlite import SqliteBroker
from crawler.brokers.stock import parse_line
from crawler.model import Kind, Report, RobotsFile, Settlement, State, Stored, Task, Verb, encode

# Lines


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("http://a/1.png--->success", ("http://a/1.png", "reported", "")),
        ("http://a/1.png--->success\n", ("http://a/1.png", "reported", "")),
        ("  http://a/1.png---> success ", ("http://a/1.png", "reported", "")),
        ("http://a/1.png--->http_404", ("http://a/1.png", "http_404", "")),
        ("http://a/1.png--->timeout: after 60 s", ("http://a/1.png", "timeout", "after 60 s")),
        ("http://a/1.png--->not_an_image", ("http://a/1.png", "not_an_image", "")),
        ("http://a/1.png--->HTTP 404: Not Found", ("http://a/1.png", "reported_error", "HTTP 404: Not Found")),
        ("http://a/1.png--->http_abc", ("http://a/1.png", "reported_error", "http_abc")),
        ("http://a/1.png--->http_", ("http://a/1.png", "reported_error", "http_")),
        ("http://a/1.png--->a--->b", ("http://a/1.png", "reported_error", "a--->b")),
    ],
)  # fmt: skip
def test_lines(line: str, parsed: tuple[str, str, str]) -> None:
    assert parse_line(line) == parsed


@pytest.mark.parametrize("line", ["", "http://a/1.png", "http://a/1.png success", "http://a/1.png--->", "x--->  \n"])
def test_what_is_no_line(line: str) -> None:
    with pytest.raises(ValueError, match="line"):
        parse_line(line)


@pytest.mark.parametrize(("outcome", "message"), [("http_404", ""), ("timeout", "after 60 s"), ("dns", "")])
def test_our_own_lines_are_understood(outcome: str, message: str) -> None:
    line = result_line("http://a/1.png", outcome, message)
    assert parse_line(line) == ("http://a/1.png", outcome, message)


# A running manager


class QueueManager(BaseManager):
    pass


QueueManager.register("get_task_queue")
QueueManager.register("get_result_queue")

LOOP = """
while not task.empty():
    url = task.get(True, timeout=5)
    result.put('%s--->success' % url)
"""
SCRIPT = """
import sys
from multiprocessing.managers import BaseManager
class QueueManager(BaseManager): pass
QueueManager.register('get_task_queue')
QueueManager.register('get_result_queue')
manager = QueueManager(address=('127.0.0.1', int(sys.argv[1])), authkey=sys.argv[2].encode())
manager.connect()
task, result = manager.get_task_queue(), manager.get_result_queue()
"""


class Service(NamedTuple):
    address: tuple[str, int]
    broker: SqliteBroker  #: of the serving thread; touched here before it starts and after it ends only
    collector: Callable[..., list[Task]]

    def connect(self, key: bytes = KEY) -> QueueManager:
        manager = QueueManager(address=self.address, authkey=key)
        manager.connect()
        return manager

    def queues(self) -> tuple[Any, Any]:
        manager = self.connect()
        task, result = manager.get_task_queue(), manager.get_result_queue()  # type: ignore[attr-defined]
        for proxy in (task, result):
            # A proxy that is collected calls its manager. The collector may run in any thread, the manager's own too,
            # which would then wait for itself.
            proxy._close.cancel()
        return task, result

    def start(self, script: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT + script, str(self.address[1]), KEY.decode()],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        with Client(self.address, authkey=KEY) as connection:
            yield connection  # type: ignore[misc]

    def counts(self) -> Counts:
        with self.connection() as connection:
            connection.send(("broker", "counts", (), {}))
            return msgspec.msgpack.decode(connection.recv()[1], type=Counts)


@contextlib.contextmanager
def running(number: int, **settings: object) -> Iterator[Service]:
    """A manager at a port of loopback, whose run has `number` images."""
    broker = SqliteBroker(None)
    broker.begin(spec(**settings))
    collector = Hand(broker, "collector", {Kind.SOURCE: 1})
    source = collector.one()
    collector.exchange(done(source, found=images(number)) if number else done(source, found=[image("http://a.test/x")]))
    listener = listen_tcp("127.0.0.1", 0)
    with served(broker, listener):
        yield Service(listener.getsockname()[:2], broker, collector.exchange)


@pytest.fixture
def service() -> Iterator[Service]:
    with running(3) as service:
        yield service


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def run_loop(service: Service) -> list[str]:
    """The loop that everybody writes."""
    task, result = service.queues()
    urls = []
    while not task.empty():
        url = task.get(True, timeout=5)
        urls.append(url)
        result.put("%s--->success" % url)  # noqa: UP031
    return urls


def test_one_client_drains_the_queue() -> None:
    with running(50) as service:
        urls = run_loop(service)
        assert sorted(urls) == sorted(found.url for found in images(50))
        counts = service.counts()
        assert (counts.state, counts.images) == (State.FINISHED, {"reported": 50})
        task, result = service.queues()
        lines = [result.get(True, 5) for _ in range(50)]
        assert sorted(lines) == sorted(f"{url}--->success" for url in urls)
        assert result.empty()
        assert task.empty()
        with pytest.raises(queue.Empty):
            task.get(True, timeout=5)


def test_several_clients_share_the_queue() -> None:
    with running(50) as service:
        got: list[list[str]] = []
        threads = [threading.Thread(target=lambda: got.append(run_loop(service))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(got) == 4
        assert sorted(url for urls in got for url in urls) == sorted(found.url for found in images(50))
        assert service.counts().images == {"reported": 50}


def test_a_program_of_the_standard_library_alone(service: Service) -> None:
    program = service.start(LOOP + "print(task.empty(), task.qsize())")
    out, error = program.communicate(timeout=20)
    assert (out, error) == ("True 0\n", "")
    assert service.counts().images == {"reported": 3}


def test_a_killed_client_loses_nothing(service: Service) -> None:
    program = service.start("print(task.get(True, 5), flush=True)\nresult.get(True, 60)")
    assert program.stdout is not None
    held = program.stdout.readline().strip()
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=10)
    urls = run_loop(service)
    assert held in urls
    assert len(urls) == 3


def test_what_another_holds_keeps_empty_waiting(service: Service) -> None:
    """`empty()` is true only at the end of the run: what is held may come back."""
    task, result = service.queues()
    urls = [task.get(True, 5) for _ in range(3)]
    program = service.start("print(task.empty(), flush=True)")
    time.sleep(0.3)
    assert program.poll() is None
    for url in urls:
        result.put(url + "--->success")
    assert program.communicate(timeout=10)[0] == "True\n"


def test_a_client_takes_no_more_at_a_time_than_its_host_may_be_asked() -> None:
    with running(20, requests_per_host=2) as service:
        task, result = service.queues()
        urls = [task.get(True, 5) for _ in range(2)]
        with pytest.raises(queue.Empty):
            task.get(True, 0.5)
        result.put(urls[0] + "--->success")
        task.get(True, 5)


def test_a_delay_is_kept_from_the_end_of_one_to_the_start_of_the_next() -> None:
    with running(3, delay=1.0) as service:
        task, result = service.queues()
        url = task.get(True, 5)
        with pytest.raises(queue.Empty):
            task.get(True, 1.5)
        result.put(url + "--->success")
        settled = time.monotonic()
        task.get(True, 5)
        assert time.monotonic() - settled >= 1.0


def test_put_adds_an_image(service: Service) -> None:
    task, result = service.queues()
    task.put("HTTP://New.Test/a.png#there")
    task.put("http://new.test/a.png")
    urls = run_loop(service)
    assert urls.count("http://new.test/a.png") == 1
    assert len(urls) == 4
    assert {result.get(True, 5) for _ in range(4)} == {f"{url}--->success" for url in urls}


def test_what_is_no_url_is_refused(service: Service) -> None:
    task, _ = service.queues()
    for url in ("", "no url", "ftp://a.test/x", "file:///etc/passwd", 7, None, ["http://a.test/"], b"x"):
        with pytest.raises(ValueError, match="URL"):
            task.put(url)
    assert task.qsize() == 3


def test_what_is_no_line_is_refused(service: Service) -> None:
    _, result = service.queues()
    for line in ("", "http://a.test/0.png", 7, None, ("x", "y")):
        with pytest.raises(ValueError, match="line"):
            result.put(line)
    assert service.counts().images == {}


def test_errors_are_results(service: Service) -> None:
    task, result = service.queues()
    one, two = task.get(True, 5), task.get(True, 5)
    result.put(f"{one}--->http_404")
    result.put(f"{two}--->HTTP Error 500: oops")
    assert service.counts().images == {"http_404": 1, "reported_error": 1}
    assert result.get(True, 5) == f"{one}--->http_404"
    assert result.get(True, 5) == f"{two}--->HTTP Error 500: oops"


def test_a_line_twice_is_one_result(service: Service) -> None:
    task, result = service.queues()
    url = task.get(True, 5)
    result.put(f"{url}--->success")
    result.put(f"{url}--->http_404")
    result.put("http://unknown.test/--->success")
    assert service.counts().images == {"reported": 1}


def test_the_queues_look_like_queues(service: Service) -> None:
    task, result = service.queues()
    assert task.qsize() == 3
    assert not task.full()
    assert result.empty()
    assert result.qsize() == 0
    with pytest.raises(queue.Empty):
        result.get_nowait()
    with pytest.raises(queue.Empty):
        result.get(True, timeout=0.1)
    with pytest.raises(queue.Empty):
        result.get(False)
    assert task.get_nowait().startswith("http://a.test/")


def test_result_get_waits_for_a_line(service: Service) -> None:
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(service.queues()[1].get(True, 10)))
    thread.start()
    task, result = service.queues()
    line = task.get(True, 5) + "--->success"
    time.sleep(0.1)
    result.put(line)
    thread.join(10)
    assert got == [line]


def test_robots_txt_holds_for_stock_clients_too() -> None:
    broker = SqliteBroker(None)
    broker.begin(spec(obey_robots=True))
    collector = Hand(broker, "collector", {Kind.SOURCE: 1})
    broker.put([image("http://a.test/private/1.png"), image("http://a.test/2.png")])
    collector.exchange(done(collector.one()))
    worker = Hand(broker, "w", {Kind.ROBOTS: 1})
    worker.exchange(robots_of(worker.one(), RobotsFile(text="User-agent: *\nDisallow: /private/\n")), room={})
    listener = listen_tcp("127.0.0.1", 0)
    with served(broker, listener):
        service = Service(listener.getsockname()[:2], broker, collector.exchange)
        assert run_loop(service) == ["http://a.test/2.png"]
        assert service.counts().images == {"reported": 1, "robots_denied": 1}


# Who may do what


def test_another_key_is_refused(service: Service) -> None:
    with pytest.raises(AuthenticationError):
        service.connect(b"another key, just as long as ours" * 2)
    assert len(run_loop(service)) == 3


def test_shutdown_is_refused_and_the_service_goes_on(service: Service) -> None:
    with service.connection() as connection, pytest.raises(ValueError, match="shutdown"):
        dispatch(connection, None, "shutdown")
    assert len(run_loop(service)) == 3


def test_nothing_else_is_served(service: Service) -> None:
    with service.connection() as connection:
        for method in ("debug_info", "number_of_objects", "x" * 1000):
            with pytest.raises(ValueError, match="not served"):
                dispatch(connection, None, method)
        for ident, method in (("tasks", "__class__"), ("tasks", "join"), ("results", "_put")):
            with pytest.raises(ValueError, match="not served"):
                dispatch(connection, ident, method)
    assert len(run_loop(service)) == 3


def test_what_the_collector_alone_may_do(service: Service) -> None:
    calls = {
        "begin": (encode(spec()),),
        "put": (b"\x90", 0),
        "results": ("", 10, 0),
        "reopen": (b"\x90",),
        "workers": (),
    }
    with service.connection() as connection:
        for method, args in calls.items():
            with pytest.raises(RemoteError, match="does not serve"):
                dispatch(connection, "broker", method, args)


# What a client that has the key may send: it ends its own connection at most


def deep(levels: int = 500_000) -> bytes:
    return b")" + b"\x85" * levels


def call(ident: bytes, method: str, argument: bytes) -> bytes:
    """A pickled request with one argument."""
    name = method.encode()
    return b"\x80\x04" + b"(" + ident + b"\x8c" + bytes([len(name)]) + name + argument + b"\x85}t."


NONE, TASKS, RESULTS = b"N", b"\x8c\x05tasks", b"\x8c\x07results"
HOSTILE = {
    "no request": b"\x80\x04N.",
    "code": b"cos\nsystem\n(S'true'\ntR.",
    "noise": b"\xff" * 100,
    "empty": b"",
    "a deep object": b"\x80\x04(" + deep() + b"\x8c\x03get)}t.",
    "a deep type": call(NONE, "create", deep()),
    "a type that is a list": call(NONE, "create", b"]"),
    "a token that is a number": call(NONE, "get_methods", b"K\x01"),
    "a deep URL": call(TASKS, "put", deep()),
    "a deep list as URL": call(TASKS, "put", b"]" * 500_000 + b"a" * 499_999),
    "a deep line": call(RESULTS, "put", deep()),
    "a URL of a lone surrogate": call(TASKS, "put", b"\x8c\x0ahttp://\xed\xa0\x80"),
    "a deep timeout": b"\x80\x04(" + TASKS + b"\x8c\x03get\x88" + deep() + b"\x86}t.",
    "a timeout of 10**600": plain.dumps(("tasks", "get", (True, 10**600), {})),
    "a timeout that is not a number": plain.dumps(("tasks", "get", (True, float("nan")), {})),
    "an endless timeout": plain.dumps(("tasks", "get", (True, float("-inf")), {})),
    "a held number of 64 bits": plain.dumps(("broker", "exchange", ("w", encode(Report(held=[2**64 - 1]))), {})),
    "a number of 64 bits": plain.dumps(
        ("broker", "exchange", ("w", encode(Report(settlements=[Settlement(number=2**64 - 1, verb=Verb.DONE)]))), {})
    ),
    "a size of 64 bits": plain.dumps(
        (
            "broker",
            "exchange",
            (
                "w",
                encode(Report(settlements=[Settlement(number=2, verb=Verb.DONE, outcome="success", size=2**64 - 1)])),
            ),
            {},
        )
    ),
    "columns of different lengths": plain.dumps(
        ("broker", "exchange", ("w", msgspec.msgpack.encode([[[2], [], []]])), {})
    ),
    "a stored size of 64 bits": plain.dumps(
        ("broker", "exchange", ("w", encode(Report(stored=Stored([2], [2**64 - 1], [msgspec.Raw(b"\xc0")])))), {})
    ),
    "a cursor for an image": plain.dumps(
        (
            "broker",
            "exchange",
            ("w", encode(Report(settlements=[Settlement(number=2, verb=Verb.RETURNED, cursor=7)]))),
            {},
        )
    ),
    "a report that is none": plain.dumps(("broker", "exchange", ("w", b"\xc0"), {})),
    "room of 64 bits": plain.dumps(("broker", "exchange", ("w", encode(Report(room={Kind.SOURCE: 2**64 - 1}))), {})),
    "a name of a lone surrogate": plain.dumps(("broker", "exchange", ("\ud800", encode(Report())), {})),
    "a digest of a lone surrogate": plain.dumps(("broker", "robots", ("\ud800",), {})),
}


SERVER = """
import sys
sys.path[:0] = ['.', 'tests']
from brokers.driver import *
from crawler.brokers.listen import listen_tcp
from crawler.brokers.manager import Manager
broker = SqliteBroker(None)
broker.begin(spec())
broker.put(images(3))
manager = Manager(broker, sys.argv[1].encode())
listener = listen_tcp('127.0.0.1', 0)
print(listener.getsockname()[1], flush=True)
manager.listen(listener)
while True:
    manager.turn()
"""


class Victim:
    """A manager in a process of its own, as some messages could end all of it; started again when it ended."""

    def __init__(self, flags: tuple[str, ...] = ()) -> None:
        self.flags = flags
        self.server: subprocess.Popen[str] | None = None
        self.address = ("127.0.0.1", 0)

    def start(self) -> None:
        if self.server is not None and self.server.poll() is None:
            return
        self.server = subprocess.Popen(
            [sys.executable, *self.flags, "-c", SERVER, KEY.decode()],
            cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.server.stdout is not None
        self.address = ("127.0.0.1", int(self.server.stdout.readline()))

    def stop(self) -> str:
        """End it, and return how it ended."""
        assert self.server is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.server.wait(0.5)
        self.server.kill()
        _, error = self.server.communicate()
        ended, self.server = self.server.returncode, None
        return f"{ended}: {error[-600:]}"

    def send(self, message: bytes) -> bool:
        """Send `message`, and tell whether the next client is served."""
        with contextlib.suppress(EOFError, ConnectionError):
            with Client(self.address, authkey=KEY) as connection:
                connection.send_bytes(message)
                with contextlib.suppress(EOFError, ConnectionError):
                    if connection.poll(0.3):
                        connection.recv_bytes()
            with Client(self.address, authkey=KEY) as connection:
                dispatch(connection, "tasks", "qsize")
                return True
        return False


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    victim = Victim()
    yield victim
    if victim.server is not None:
        victim.stop()


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE)
def test_the_service_survives(victim: Victim, message: bytes) -> None:
    victim.start()
    if not victim.send(message):
        raise AssertionError(f"the manager ended with {victim.stop()}")


def test_a_silent_peer_holds_nobody_up(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(service.address))
        assert len(run_loop(service)) == 3


def test_half_a_message_holds_nobody_up(service: Service) -> None:
    with service.connection() as connection:
        os.write(connection.fileno(), b"\x00\x00\x10\x00half")
        assert len(run_loop(service)) == 3
