from __future__ import annotations

import io
import os
import signal
import struct
import threading
import zlib
from collections.abc import Iterator

import pytest

from crawler.errors import BadImage, FetchError, UsageError
from crawler.images import decoding
from crawler.images.decoding import Decoder
from servers.pictures import bmp, gif, jpeg, png

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(1_000_000)
    yield decoder
    decoder.close()


def hollow_png(side: int) -> bytes:
    """A whole PNG of few bytes and many pixels, of one bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + -(-side // 8)) * side))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_whole_ones_are_well(decoder: Decoder) -> None:
    for body in (jpeg(1), png(1), gif(1), bmp(1), jpeg(2, 3_000_000)):
        decoder.check(body)


def test_what_the_structure_does_not_tell(decoder: Decoder) -> None:
    damaged = bytearray(png(1))
    damaged[50] ^= 0xFF  # in the pixels: lengths and types are as they were
    with pytest.raises(BadImage, match="cannot be decoded"):
        decoder.check(bytes(damaged))
    decoder.check(png(2))


def test_every_frame_is_decoded(decoder: Decoder) -> None:
    out = io.BytesIO()
    frames = [Image.effect_noise((64, 64), 90 + n) for n in range(3)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    body = bytearray(out.getvalue())
    decoder.check(bytes(body))
    body[-200] ^= 0xFF  # in the last frame
    with pytest.raises(BadImage):
        decoder.check(bytes(body))


def test_too_much_memory_costs_one_image() -> None:
    decoder = Decoder(7_000_000)  # half a gigabyte and a little, where Pillow takes a byte for each pixel
    try:
        with pytest.raises(BadImage, match="more memory"):
            decoder.check(hollow_png(25_000))
        decoder.check(png(1))
        with pytest.raises(BadImage, match="700,000,000 pixels"):
            decoder.check(hollow_png(27_000))
    finally:
        decoder.close()


def test_a_child_that_dies_is_replaced(decoder: Decoder) -> None:
    decoder.check(png(1))
    child = decoder._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (child.pid, signal.SIGKILL)).start()
    with pytest.raises(BadImage, match="SIGKILL"):
        decoder.check(png(1))
    decoder.check(png(1))


@pytest.mark.parametrize("size", [12_000, 1_000_000], ids=["taken", "not even taken"])
def test_one_that_takes_for_ever_is_ended(decoder: Decoder, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PATIENCE", 0.3)
    decoder._child = decoder._start()
    os.kill(decoder._child.pid, signal.SIGSTOP)
    with pytest.raises(BadImage, match="SIGKILL"):
        decoder.check(jpeg(1, size))


def test_it_is_closed_under_an_image(decoder: Decoder) -> None:
    decoder.check(png(1))
    assert decoder._child is not None
    os.kill(decoder._child.pid, signal.SIGSTOP)
    threading.Timer(0.2, decoder.close).start()
    with pytest.raises(BadImage):
        decoder.check(png(1))
    with pytest.raises(FetchError, match="stops"):
        decoder.check(png(1))


def test_of_a_jpeg_the_first_picture_counts(decoder: Decoder) -> None:
    """Optimisers keep the segment that names further pictures, and cut these away."""
    out = io.BytesIO()
    pictures = [Image.effect_noise((32, 32), 90 + n) for n in range(2)]
    pictures[0].save(out, "MPO", save_all=True, append_images=pictures[1:])
    body = out.getvalue()
    decoder.check(body[: body.index(b"\xff\xd9") + 2])


def test_without_pillow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install .*\[decode\]"):
        Decoder(1)
