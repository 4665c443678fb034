"""A process of its own for work that may take too much memory or time, or die: bytes in, bytes out."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

from crawler.errors import ChildDied, FetchError
from crawler.outcomes import Outcome

#: Seconds of CPU, and of the clock, that one piece of work may take.
CPU_TIME = 20
PATIENCE = 60.0
#: Bytes of memory that the process has beside the pixels, and those pixels where their number is without limit.
_MEMORY = 512 * 2**20
_MOST_PIXELS = 2**28
_LENGTH = struct.Struct(">I")


class Child:
    """A child that runs a piece of Python, and is replaced when it dies; used by one thread, closed by any."""

    def __init__(self, code: str, purpose: str, arguments: tuple[str, ...] = ()) -> None:
        self._command = [sys.executable, "-c", code, *arguments]
        self._purpose = purpose
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  #: of what `close` may change
        self._asking = threading.Lock()
        self._closed = False

    def ask(self, body: bytes, patience: float) -> bytes:
        """Return what the child answers in `patience` seconds; raises ChildDied, FetchError where none can be had."""
        with self._asking:
            child = self._running()
            said = _ask(child, body, time.monotonic() + patience)
            if said is None:
                child.kill()
                code = child.wait()
                raise ChildDied(signal.Signals(-code).name if code < 0 else f"exit {code}")
            return said

    def close(self) -> None:
        """End the child, also under work that another thread waits for."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        with self._asking:  # who waits for the child sees its end; of a pipe closed meanwhile it would see nothing
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise FetchError(Outcome.INTERNAL_ERROR, "the worker stops", retriable=True)
            if self._child is None or self._child.poll() is not None:
                self._end()
                try:
                    self._child = self._start()
                except OSError as error:
                    why = f"the process that {self._purpose} cannot be started: {error.strerror}"
                    raise FetchError(Outcome.INTERNAL_ERROR, why, retriable=True) from error
            return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # it died before it had read all
                        pipe.close()
            self._child = None

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert child.stdin is not None
        os.set_blocking(child.stdin.fileno(), False)
        return child


def _ask(child: subprocess.Popen[bytes], body: bytes, until: float) -> bytes | None:
    """Return what the child says; None where it dies or takes too long."""
    assert child.stdin is not None and child.stdout is not None
    try:
        _write(child.stdin, _LENGTH.pack(len(body)), until)
        _write(child.stdin, body, until)
        head = _read(child.stdout, _LENGTH.size, until)
        return _read(child.stdout, _LENGTH.unpack(head)[0], until)
    except (BrokenPipeError, EOFError, TimeoutError):
        return None


def _write(pipe: IO[bytes], data: bytes, until: float) -> None:
    rest = memoryview(data)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_WRITE)
        while rest:
            if not selector.select(until - time.monotonic()):
                raise TimeoutError
            rest = rest[pipe.write(rest) or 0 :]


def _read(pipe: IO[bytes], size: int, until: float) -> bytes:
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(data) < size:
            if not selector.select(until - time.monotonic()):
                raise TimeoutError
            part = pipe.read(size - len(data))
            if not part:
                raise EOFError
            data += part
    return bytes(data)


# In the child


def serve(prepare: Callable[[], Callable[[bytes], bytes]], max_pixels: int, bytes_per_pixel: int) -> None:
    """Answer what comes on standard input on standard output, in bounded memory and time, until the input ends.

    `prepare` imports what the work takes, and returns what answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked is gone
    answer = prepare()
    _hush_libraries()
    memory = _MEMORY + bytes_per_pixel * (max_pixels or _MOST_PIXELS)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := asked.read(_LENGTH.size)) == _LENGTH.size:
        body = asked.read(_LENGTH.unpack(head)[0])
        _allow_time()
        said = answer(body)
        answers.write(_LENGTH.pack(len(said)) + said)
        answers.flush()


def _hush_libraries() -> None:
    """Let only Python write to standard error: what is wrong with an image, libtiff and others print there."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _allow_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + CPU_TIME
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
