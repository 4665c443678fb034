"""Formats that are told by their first bytes."""

from __future__ import annotations

import io
import struct

import pytest

from crawler.errors import NotAnImage
from crawler.images.verify import FORMATS, Picture, verify

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


def ftyp(major: bytes, *brands: bytes) -> bytes:
    inside = major + b"\0\0\0\0" + b"".join(brands)
    return struct.pack(">I", 8 + len(inside)) + b"ftyp" + inside + b"\0\0\0\x10mdat12345678"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ftyp(b"avif", b"mif1", b"miaf"), "avif"),
        (ftyp(b"avis", b"msf1"), "avif"),
        (ftyp(b"mif1", b"miaf", b"avif"), "avif"),
        (ftyp(b"heic", b"mif1", b"heic"), "heic"),
        (ftyp(b"mif1", b"heic"), "heic"),
        (ftyp(b"heix"), "heic"),
        (b"\xff\x0a\xfa\x7f\x01\x90", "jxl"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", "jxl"),
        (b"II*\x00\x08\0\0\0\0\0", "tiff"),
        (b"MM\x00*\0\0\0\x08\0\0", "tiff"),
        (b"II+\x00\x08\0\0\0\0\0", "tiff"),
    ],
)
def test_told_by_the_first_bytes(body: bytes, expected: str) -> None:
    assert verify(body) == Picture(expected)
    assert expected in FORMATS


@pytest.mark.parametrize("brand", [b"isom", b"mp42", b"M4A ", b"qt  ", b"crx "])
def test_films_and_sounds_are_no_images(brand: bytes) -> None:
    with pytest.raises(NotAnImage):
        verify(ftyp(brand, b"iso2"))


@pytest.mark.parametrize(
    "text",
    [
        SVG,
        "\n  " + SVG,
        '<?xml version="1.0" encoding="UTF-8"?>\n' + SVG,
        "<?xml version='1.0'?><!-- made by <b>hand</b> -->\n<!-- again -->" + SVG,
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">' + SVG,
        '<!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/2000/svg">]>\n' + SVG,
        "<svg:svg xmlns:svg='http://www.w3.org/2000/svg'></svg:svg>",
        "<svg>",
        "<svg/>",
        "<svg\nwidth='1'>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_svg(text: str, encoding: str) -> None:
    assert verify(text.encode(encoding)).format == "svg"


@pytest.mark.parametrize(
    "text",
    [
        f"<!DOCTYPE html><html><body>{SVG}</body></html>",
        f"<html>{SVG}</html>",
        f"<!-- {SVG} --><html></html>",
        f"text {SVG}",
        "<svgx/>",
        "<?xml version='1.0'?><rss/>",
        f"<?xml version='1.0'?><rss>{SVG}</rss>",
        "<!--" + "x" * 5000 + "-->" + SVG,
        "<!--" * 2000,
        "<!DOCTYPE [" * 400,
    ],
)
def test_what_has_an_svg_in_it_or_none_is_no_svg(text: str) -> None:
    with pytest.raises(NotAnImage):
        verify(text.encode())


def icon(width: int, height: int, count: int = 1, size: int = 40, kind: int = 1) -> bytes:
    offset = 6 + 16 * count
    entry = struct.pack("<BBBBHHII", width % 256, height % 256, 0, 0, 1, 32, size, offset)
    return struct.pack("<HHH", 0, kind, count) + entry * count + b"\x28" + b"\0" * (size - 1)


class TestIcons:
    @pytest.mark.parametrize("kind", [1, 2])
    def test_dimensions(self, kind: int) -> None:
        assert verify(icon(32, 16, kind=kind)) == Picture("ico", 32, 16)
        assert verify(icon(256, 256)) == Picture("ico", 256, 256)
        assert verify(icon(16, 16, count=3)) == Picture("ico", 16, 16)

    @pytest.mark.parametrize("length", [0, 4, 5, 6, 21, 40, 61])
    def test_cut_off_is_none(self, length: int) -> None:
        with pytest.raises(NotAnImage):
            verify(icon(32, 32)[:length])

    def test_without_entries_it_is_none(self) -> None:
        with pytest.raises(NotAnImage):
            verify(b"\0\0\1\0\0\0" + b"\0" * 100)


@pytest.mark.parametrize(("kind", "expected"), [("TIFF", "tiff"), ("ICO", "ico"), ("AVIF", "avif")])
def test_what_pillow_writes_is_recognised(kind: str, expected: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    features = pytest.importorskip("PIL.features")
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    out = io.BytesIO()
    pillow.new("RGB", (32, 32), "red").save(out, kind)
    assert verify(out.getvalue()).format == expected
