"""Every format whose structure is walked to the end: whole files, cut-off files, broken files."""

from __future__ import annotations

import functools
import io
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import BadImage, NotAnImage, Truncated
from crawler.images.verify import FORMATS, Picture, verify
from crawler.images.verify import picture as parts

Image = pytest.importorskip("PIL.Image")
SIZE = (37, 23)


def picture(mode: str = "RGB", seed: int = 1, size: tuple[int, int] = SIZE) -> Any:
    noise = random.Random(seed).randbytes(size[0] * size[1] * len(mode))
    return Image.frombytes(mode, size, noise)


def saved(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def frames(count: int = 3, mode: str = "RGB") -> dict[str, Any]:
    return {"save_all": True, "append_images": [picture(mode, seed) for seed in range(2, count + 1)], "duration": 50}


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF segment holds a whole JPEG, with its end marker."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + saved(picture(size=(8, 8)), "JPEG")
    assert b"\xff\xd9" in exif
    return saved(picture(), "JPEG", exif=exif)


@functools.cache
def samples() -> dict[str, bytes]:
    plain, alpha = picture(), picture("RGBA")
    palette = plain.convert("P")
    return {
        "jpeg baseline": saved(plain, "JPEG", quality=80),
        "jpeg progressive": saved(plain, "JPEG", progressive=True),
        "jpeg restart markers": saved(plain, "JPEG", restart_marker_rows=1),
        "jpeg grey": saved(plain.convert("L"), "JPEG", optimize=True),
        "jpeg cmyk": saved(plain.convert("CMYK"), "JPEG"),
        "jpeg comment and profile": saved(plain, "JPEG", comment=b"\xff\xd9" * 20, icc_profile=b"\xff\xd9" * 99),
        "jpeg thumbnail": with_thumbnail(),
        "png": saved(plain, "PNG"),
        "png alpha": saved(alpha, "PNG"),
        "png palette": saved(palette, "PNG"),
        "png animated": saved(plain, "PNG", **frames()),
        "gif": saved(palette, "GIF"),
        "gif interlaced": saved(palette, "GIF", interlace=1, comment=b"; a comment ;"),
        "gif animated": saved(palette, "GIF", **frames(), loop=0),
        "webp lossy": saved(plain, "WEBP", quality=60),
        "webp lossless": saved(plain, "WEBP", lossless=True),
        "webp alpha": saved(alpha, "WEBP", quality=60),
        "webp animated": saved(plain, "WEBP", **frames()),
        "webp exif": saved(plain, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        "bmp": saved(plain, "BMP"),
        "bmp palette": saved(palette, "BMP"),
        "bmp one bit": saved(plain.convert("1"), "BMP"),
        "bmp alpha": saved(alpha, "BMP"),
        "avif": saved(plain, "AVIF"),
        "avif animated": saved(plain, "AVIF", **frames()),
        "avif alpha": saved(alpha, "AVIF"),
        "tiff": saved(plain, "TIFF"),
        "tiff lzw": saved(plain, "TIFF", compression="tiff_lzw"),
        "tiff big": saved(plain, "TIFF", big_tiff=True),
        "ico": saved(plain, "ICO", sizes=[SIZE]),
        "ico bitmap": saved(alpha, "ICO", sizes=[SIZE, (16, 9)], bitmap_format="bmp"),
    }


NAMES = sorted(samples())


@pytest.mark.parametrize("name", NAMES)
class TestSamples:
    def test_whole(self, name: str) -> None:
        assert verify(samples()[name]) == Picture(name.partition(" ")[0], *SIZE)

    def test_what_follows_the_end_is_let_be(self, name: str) -> None:
        for rest in (b"\0", b"\r\n", b"\xff\xd9", b"<!-- added by a cache -->", samples()["jpeg baseline"]):
            assert verify(samples()[name] + rest) == Picture(name.partition(" ")[0], *SIZE)

    def test_every_truncation_is_a_bad_image(self, name: str) -> None:
        body = samples()[name]
        for length in range(len(body)):
            with pytest.raises(BadImage):
                verify(body[:length])

    def test_what_is_cut_off_after_its_head_is_called_truncated(self, name: str) -> None:
        body = samples()[name]
        for length in range(64, len(body)):
            with pytest.raises(Truncated):
                verify(body[:length])

    def test_mutated_bytes_raise_nothing_else(self, name: str) -> None:
        noise = random.Random(name)
        body = samples()[name]
        for _ in range(300):
            mutant = bytearray(body)
            for _ in range(noise.choice((1, 1, 2, 8))):
                mutant[noise.randrange(min(len(body), noise.choice((64, 1024, len(body)))))] = noise.randrange(256)
            del mutant[noise.choice((len(body), noise.randrange(len(body)))) :]
            try:
                found = verify(bytes(mutant))
            except BadImage:
                continue
            assert found.format in FORMATS and found.width >= 0 and found.height >= 0


STARTS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\xff\0\0WEBP",
    b"RIFF\x20\0\0\0WEBPVP8 ",
    b"BM",
    b"BM" + b"\0" * 12 + b"\x28\0\0\0",
    b"\0\0\0\x20ftyp",
    b"\0\0\1\0",
    b"II*\0",
    b"<svg",
    b"<?xml",
]


@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_else(start: bytes, rest: bytes) -> None:
    try:
        verify(start + rest)
    except BadImage as error:
        assert str(error)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"<!DOCTYPE html><html><body>Not found", "HTML"),
        (b"\n\n<HTML><head></head></HTML>", "HTML"),
        (b"<script>location='/login'</script>", "HTML"),
        (b'{"error": "not found"}', "JSON"),
        (b"[]", "JSON"),
        (b"Not found", "no known image format"),
        (b"%PDF-1.7", "no known image format"),
        (b"\0" * 1000, "no known image format"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "no known image format"),
    ],
)
def test_what_is_no_image_is_described(body: bytes, what: str) -> None:
    with pytest.raises(NotAnImage, match=what):
        verify(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\0\x02\xff\xd9",
        b"\xff\xd8\xff\xe0\0\x01",
        b"\xff\xd8\xff\xe0\0\x04abXX",
        b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82",
        b"GIF89a\x01\0\x01\0\0\0\0;",
        b"GIF89a\x01\0\x01\0\0\0\0\xff" + b"\0" * 9,
        b"RIFF\x04\0\0\0WEBP",
        b"RIFF\x0e\0\0\0WEBPXXXX\x02\0\0\0ab",
    ],
)
def test_a_shell_without_a_picture_is_no_image(body: bytes) -> None:
    with pytest.raises(NotAnImage):
        verify(body)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (257, 1)])
def test_small_and_narrow_ones(kind: str, size: tuple[int, int]) -> None:
    assert verify(saved(picture("RGB", size=size).convert("P"), kind)) == Picture(kind.lower(), *size)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2000, b"\xff\xd8" + b"\xff\x01" * 2000,
        b"GIF89a" + bytes(7) + b"\x21\xf9" + b"\x01\x01" * 2000, b"GIF89a" + bytes(7) + b"\x21\xf9\x00" * 2000,
        b"RIFF" + (16004).to_bytes(4, "little") + b"WEBP" + b"ABCD\0\0\0\0" * 2000,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IHDR\0\0\0\0" * 2000,
    ],
    ids=["jpeg segments", "jpeg markers", "gif blocks", "gif extensions", "webp", "png"],
)  # fmt: skip
def test_nobody_has_a_worker_walk_for_ever(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST_PARTS", 400)
    with pytest.raises(NotAnImage, match=r"more than (400|1,600) parts"):
        verify(body)
