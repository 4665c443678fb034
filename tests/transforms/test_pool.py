from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from crawler.errors import FetchError, UsageError
from crawler.outcomes import Outcome
from crawler.transforms.imaging import Transformed
from crawler.transforms.pool import Answer, TransformPool
from crawler.transforms.transform import Transform

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("numpy")

from transforms.pictures import decoded, encoded, gradient, result  # noqa: E402

BORDER = Transform(resize="border", image_size=32, encode="jpg")
BODY = encoded(gradient(90, 60), "JPEG")


@pytest.fixture
def pool() -> Iterator[TransformPool]:
    pool = TransformPool(BORDER, 10_000_000, 2)
    yield pool
    pool.close()


def asked(pool: TransformPool, body: bytes) -> Answer:
    said: SimpleQueue[Answer] = SimpleQueue()
    pool.submit(body, said.put)
    return said.get(timeout=60)


def process_of(pool: TransformPool, number: int = 0) -> int:
    process = pool._children[number]._child
    assert process is not None
    return process.pid


def test_it_is_what_one_process_makes(pool: TransformPool) -> None:
    assert asked(pool, BODY) == result(BODY, resize="border", image_size=32, encode="jpg")


def test_answers_come_in_the_order_of_the_questions(pool: TransformPool) -> None:
    """Every third is broken, every fifth large, and the items are read no further than few can wait."""
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(40):
            read += 1
            yield number

    def body(number: int) -> bytes:
        return b"broken" if number % 3 == 0 else encoded(gradient(900 if number % 5 == 0 else 40, number + 1), "JPEG")

    for count, (number, answer) in enumerate(pool.map(items(), body)):
        assert number == count and read <= count + 10
        if number % 3 == 0:
            assert isinstance(answer, FetchError) and answer.outcome == Outcome.TRANSFORM_FAILED
        else:
            assert isinstance(answer, Transformed) and answer.original_height == number + 1
    assert read == 40


def test_few_bytes_wait() -> None:
    pool = TransformPool(BORDER, 10_000_000, 1, most_waiting=3 * len(BODY))
    try:
        assert asked(pool, BODY)
        os.kill(process_of(pool), signal.SIGSTOP)
        said: SimpleQueue[Answer] = SimpleQueue()
        for number in range(3):
            assert pool.is_full is False, number
            pool.submit(BODY, said.put)
        assert pool.is_full
        os.kill(process_of(pool), signal.SIGCONT)
        for _ in range(3):
            assert isinstance(said.get(timeout=60), Transformed)
        assert not pool.is_full
    finally:
        pool.close()


def test_what_is_left_as_it_is_comes_back_itself() -> None:
    pool = TransformPool(Transform(encode="jpg", skip_reencode=True), 0, 1)
    try:
        answer = asked(pool, BODY)
        assert isinstance(answer, Transformed) and answer.body is BODY and answer.width == 90
    finally:
        pool.close()


def test_outcomes_come_through() -> None:
    pool = TransformPool(Transform(encode="jpg", max_aspect_ratio=1.2), 0, 1)
    try:
        answer = asked(pool, BODY)
        assert isinstance(answer, FetchError) and answer.outcome == Outcome.UNWANTED_SHAPE
    finally:
        pool.close()


def test_a_process_that_dies_costs_one_image() -> None:
    pool = TransformPool(BORDER, 10_000_000, 1)
    try:
        assert isinstance(asked(pool, BODY), Transformed)
        process = process_of(pool)
        os.kill(process, signal.SIGSTOP)
        said: SimpleQueue[Answer] = SimpleQueue()
        for _ in range(3):
            pool.submit(BODY, said.put)
        os.kill(process, signal.SIGKILL)
        answers = [said.get(timeout=60) for _ in range(3)]
    finally:
        pool.close()
    failed = [answer for answer in answers if isinstance(answer, FetchError)]
    assert len(failed) <= 1, "the others are another process's"
    assert all(answer.outcome == Outcome.TRANSFORM_FAILED and "SIGKILL" in str(answer) for answer in failed)


def test_a_process_that_dies_in_the_middle_is_told() -> None:
    pool = TransformPool(BORDER, 10_000_000, 1)
    try:
        assert isinstance(asked(pool, BODY), Transformed)
        os.kill(process_of(pool), signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (process_of(pool), signal.SIGKILL)).start()
        answer = asked(pool, encoded(Image.effect_noise((900, 900), 99)))  # more than a pipe takes
        assert isinstance(answer, FetchError) and answer.outcome == Outcome.TRANSFORM_FAILED
        assert "SIGKILL" in str(answer) and not answer.retriable
        assert isinstance(asked(pool, BODY), Transformed)
    finally:
        pool.close()


def test_too_much_memory_costs_one_image() -> None:
    """Frames that are kept take more than a process may have, though each is small enough."""
    frames = [Image.new("P", (2000, 2000), number) for number in range(45)]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False)
    pool = TransformPool(Transform(encode="png", animation="keep"), 4_000_000, 1)
    try:
        answer = asked(pool, body)
        assert isinstance(answer, FetchError) and answer.outcome == Outcome.TRANSFORM_FAILED
        assert "more memory than it may have" in str(answer)
        assert isinstance(asked(pool, BODY), Transformed)
    finally:
        pool.close()


def test_one_that_takes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = TransformPool(BORDER, 10_000_000, 1)
    try:
        assert isinstance(asked(pool, BODY), Transformed)
        os.kill(process_of(pool), signal.SIGSTOP)
        monkeypatch.setattr("crawler.transforms.pool.PATIENCE", 0.3)
        answer = asked(pool, BODY)
        assert isinstance(answer, FetchError) and answer.outcome == Outcome.TRANSFORM_FAILED
        monkeypatch.undo()
        assert isinstance(asked(pool, BODY), Transformed)
    finally:
        pool.close()


def test_what_waits_when_it_is_closed_may_come_again() -> None:
    pool = TransformPool(BORDER, 10_000_000, 1)
    assert asked(pool, BODY)
    os.kill(process_of(pool), signal.SIGSTOP)
    said: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(5):
        pool.submit(BODY, said.put)
    process = process_of(pool)
    pool.close()
    answers = [said.get(timeout=10) for _ in range(5)]
    assert all(isinstance(answer, FetchError) for answer in answers)
    assert sum(isinstance(answer, FetchError) and answer.retriable for answer in answers) >= 4
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_processes_end_with_who_started_them() -> None:
    code = """
import os, signal, sys
from queue import SimpleQueue
from crawler.transforms.pool import TransformPool
from crawler.transforms.transform import Transform
pool, said = TransformPool(Transform(encode="jpg"), 0, 2), SimpleQueue()
for _ in range(8):
    pool.submit(b"nothing", said.put)
for _ in range(8):
    said.get()
print(*(one._child.pid for one in pool._children if one._child), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    processes = [int(word) for word in done.stdout.split()]
    assert processes and done.returncode == -signal.SIGKILL and not done.stderr
    until = time.monotonic() + 20
    while any(map(runs, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, processes))


def runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_odd_images_say_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    pool = TransformPool(BORDER, 0, 1)
    try:
        damaged = bytearray(BODY)
        damaged[len(damaged) // 2] ^= 0xFF
        tiff = encoded(gradient(90, 60), "TIFF", compression="tiff_lzw")
        at = tiff.index(b"\x15\x01\x03\x00\x01\x00\x00\x00\x03\x00")  # SamplesPerPixel
        many = tiff[: at + 8] + b"\xff" + tiff[at + 9 :]
        bodies = [bytes(damaged), BODY[:400], encoded(Image.new("P", (9, 9)), "GIF")[:-3], tiff[:-90], many]
        for body in (*bodies, tiff[:200] + bytes(100) + tiff[300:]):
            asked(pool, body)
    finally:
        pool.close()
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_done_is_said_at_once() -> None:
    with pytest.raises(UsageError, match="a JPEG has one picture"):
        TransformPool(Transform(encode="jpg", animation="keep"), 0, 1)


def test_a_large_image_comes_whole() -> None:
    noise = Image.effect_noise((1500, 1000), 99)
    pool = TransformPool(Transform(encode="png", encode_quality=0), 0, 1)
    try:
        answer = asked(pool, encoded(noise, compress_level=0))
        assert isinstance(answer, Transformed)
        assert decoded(answer.body).tobytes() == noise.tobytes()
    finally:
        pool.close()
