"""Images decoded to their last pixel, in a process of its own with bounded memory and time."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from typing import IO

from crawler.errors import FetchError, Undecodable, UsageError
from crawler.outcomes import Outcome

#: Formats that are decoded; the others have been checked by their structure alone.
DECODED = frozenset({"jpeg", "png", "gif", "webp", "bmp", "avif", "tiff", "ico"})
#: Seconds of CPU, and of the clock, that one image may take.
CPU_TIME = 20
PATIENCE = 60.0
#: Bytes of memory that the process has beside the pixels, and for each pixel that an image may have.
_MEMORY = 512 * 2**20
_MEMORY_PER_PIXEL = 8
#: Pixels of all frames of an animation, in images of the largest size.
_MOST_FRAMES = 100
_LENGTH = struct.Struct(">I")


class Decoder:
    """Has images decoded by a child, which is replaced when it dies; used by one thread, closed by any.

    Raises UsageError where Pillow is not installed.
    """

    def __init__(self, max_pixels: int) -> None:
        if importlib.util.find_spec("PIL") is None:
            raise UsageError("--verify decode needs Pillow: pip install 'distributed-image-crawler[decode]'")
        self._max_pixels = max_pixels
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def check(self, body: bytes) -> None:
        """Raise Undecodable where an image cannot be decoded as a whole, FetchError where nothing can be now."""
        child = self._running()
        said = _ask(child, body)
        if said is None:
            child.kill()
            code = child.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit {code}"
            raise Undecodable(f"what decodes it died ({how}): it takes too much time or memory, or meets a defect")
        if said:
            raise Undecodable(f"it cannot be decoded: {said}")

    def close(self) -> None:
        """End the child, also under an image that another thread waits for."""
        with self._lock:
            self._closed = True
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
                    why = f"the process that decodes cannot be started: {error.strerror}"
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
        command = [sys.executable, "-c", f"from crawler.images.decoding import serve; serve({self._max_pixels})"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert child.stdin is not None
        os.set_blocking(child.stdin.fileno(), False)
        return child


def _ask(child: subprocess.Popen[bytes], body: bytes) -> str | None:
    """Return what the child says of an image, `""` for well; None where it dies or takes too long."""
    assert child.stdin is not None and child.stdout is not None
    until = time.monotonic() + PATIENCE
    try:
        _write(child.stdin, _LENGTH.pack(len(body)), until)
        _write(child.stdin, body, until)
        head = _read(child.stdout, _LENGTH.size, until)
        return _read(child.stdout, _LENGTH.unpack(head)[0], until).decode("utf-8", "replace")
    except (BrokenPipeError, EOFError, TimeoutError, ValueError):  # the last where `close` came in between
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
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(data) < size:
            if not selector.select(until - time.monotonic()):
                raise TimeoutError
            part = pipe.read(size - len(data))
            if not part:
                raise EOFError
            data += part
    return data


# In the child


def serve(max_pixels: int) -> None:
    """Decode the images on standard input and say on standard output how it went, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the structure told the size; frames are counted here
    memory = _MEMORY + _MEMORY_PER_PIXEL * (max_pixels or 2**28)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := asked.read(_LENGTH.size)) == _LENGTH.size:
        body = asked.read(_LENGTH.unpack(head)[0])
        _allow_time()
        said = _decode(body, max_pixels).encode("utf-8", "replace")[:300]
        answers.write(_LENGTH.pack(len(said)) + said)
        answers.flush()


def _allow_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + CPU_TIME
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _decode(body: bytes, max_pixels: int) -> str:
    """Decode all frames, and return what is wrong, or `""`."""
    from PIL import Image

    pixels = 0
    try:
        with Image.open(io.BytesIO(body)) as image:
            # Of a JPEG the first: pictures that its MPF segment names are often cut away, and nobody shows them.
            for frame in range(1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)):
                image.seek(frame)
                pixels += image.width * image.height
                if max_pixels and pixels > _MOST_FRAMES * max_pixels:
                    return f"more than {_MOST_FRAMES * max_pixels:,} pixels in all frames"
                image.load()
    except MemoryError:
        return "it needs more memory than it may have"
    # Told: Pillow's plugins raise whatever they meet, and each of them means that the image is broken.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return ""
