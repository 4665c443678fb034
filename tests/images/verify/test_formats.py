"""The formats of boxes, directories and markup: what tells them apart, and what is refused."""

from __future__ import annotations

import struct

import pytest

from crawler.errors import BadImage, NotAnImage, Truncated
from crawler.images.verify import Picture, verify
from servers.pictures import HEIC, JXL, JXL_IN_BOXES

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@pytest.mark.parametrize(("body", "expected"), [(HEIC, "heic"), (JXL, "jxl"), (JXL_IN_BOXES, "jxl")])
def test_dimensions_of_what_others_wrote(body: bytes, expected: str) -> None:
    assert verify(body) == Picture(expected, 37, 23)


@pytest.mark.parametrize("body", [HEIC, JXL, JXL_IN_BOXES], ids=["heic", "jxl", "jxl in boxes"])
def test_those_cut_off(body: bytes) -> None:
    for length in range(len(body)):
        with pytest.raises(BadImage):
            verify(body[:length])


def codestream(*numbers: str) -> bytes:
    """Return a codestream of bits: each number is written from the highest on, and lies from the lowest on."""
    bits = "".join(number[::-1] for number in numbers)
    return b"\xff\x0a" + int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


@pytest.mark.parametrize(
    ("bits", "size"),
    [
        ("1 00001 001", (16, 16)),  # small, square
        ("1 00000 000 11111", (256, 8)),
        ("0 00 000000111 101", (14, 8)),  # 16:9 of 8
        ("0 01 0000000000000 000 10 000000000000000001", (2, 1)),
    ],
)
def test_sizes_of_codestreams(bits: str, size: tuple[int, int]) -> None:
    defaults = codestream(*bits.split(), "1", "1")
    frame = b"\x01\x04\0" + b"x"  # all as usual; one section of one byte
    assert verify(defaults + frame) == Picture("jxl", *size)
    with pytest.raises(Truncated):
        verify(defaults + frame[:-1])


def test_what_is_entropy_coded_ends_the_walk() -> None:
    """Sections in another order say so in a way that only a decoder reads; what follows is taken on trust."""
    assert verify(codestream("1", "00001", "001", "1", "1") + b"\x03").format == "jxl"


def box(kind: bytes, inside: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(inside)) + kind + inside


FTYP = box(b"ftyp", b"avif\0\0\0\0mif1")


@pytest.mark.parametrize("brand", [b"isom", b"mp42", b"M4A ", b"qt  ", b"crx "])
def test_films_and_sounds_are_no_images(brand: bytes) -> None:
    with pytest.raises(NotAnImage):
        verify(box(b"ftyp", brand + b"\0\0\0\0iso2") + box(b"mdat", b"1234"))


@pytest.mark.parametrize(
    "body",
    [
        FTYP,
        FTYP + box(b"mdat", b"1234"),
        FTYP + box(b"meta", b"\0\0\0\0") + box(b"mdat", b"1234"),
        FTYP + b"\0\0\0\x07mdat",
        FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**63),
        FTYP + struct.pack(">I4sQ", 1, b"mdat", 3),
        HEIC.replace(b"iloc", b"free"),
        b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxlc", b"\0\0\0\0"),
        b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxlp", b"\0\0\0\0" + JXL),
        b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxlp", b"\x80\0\0\1" + JXL),
    ],
)
def test_boxes_without_an_image(body: bytes) -> None:
    with pytest.raises(BadImage):
        verify(body)


def tiff(*directories: bytes, next_of_last: int = 0) -> bytes:
    """Return a TIFF of directories that hold only what is in one tag, each after the other."""
    body, at = b"", 8
    for number, tags in enumerate(directories, 1):
        at += 6 + len(tags)
        following = at if number < len(directories) else next_of_last
        body += struct.pack("<H", len(tags) // 12) + tags + struct.pack("<I", following)
    return b"II*\0\x08\0\0\0" + body


def tag(number: int, *values: int) -> bytes:
    assert len(values) == 1
    return struct.pack("<HHII", number, 4, 1, *values)


WHOLE = tag(256, 3) + tag(257, 2) + tag(273, 8) + tag(279, 6)


class TestTiff:
    def test_the_largest_page_counts(self) -> None:
        assert verify(tiff(WHOLE, WHOLE)) == Picture("tiff", 3, 2)
        larger = WHOLE.replace(tag(256, 3), tag(256, 9))
        assert verify(tiff(WHOLE, larger)) == Picture("tiff", 9, 2)
        below = tiff(larger)[8:]
        assert verify(tiff(WHOLE + tag(330, 8 + 6 + 60)) + below) == Picture("tiff", 9, 2), "below another"

    @pytest.mark.parametrize(
        "body",
        [
            tiff(WHOLE, next_of_last=8),
            tiff(WHOLE, next_of_last=2**31),
            tiff(b""),
            tiff(tag(256, 3) + tag(257, 2)),
            tiff(WHOLE.replace(tag(279, 6), tag(279, 2**31))),
            tiff(WHOLE.replace(tag(256, 3), struct.pack("<HHII", 256, 4, 2**32 - 1, 8))),
            b"II*\0\0\0\0\0",
            b"II+\0\x08\0\0\0" + b"\xff" * 8,
        ],
        ids=["circle", "beyond", "empty", "no data", "data beyond", "values beyond", "no directory", "beyond any file"],
    )
    def test_broken(self, body: bytes) -> None:
        with pytest.raises(BadImage):
            verify(body)


def icon(*sides: int, kind: int = 1, count: int = 0) -> bytes:
    """Return an icon of square bitmaps of 32 bits a pixel."""
    images = [struct.pack("<IiiHHIIiiII", 40, n, 2 * n, 1, 32, 0, 0, 0, 0, 0, 0) + bytes(4 * n * n) for n in sides]
    at = 6 + 16 * len(sides)
    entries = b""
    for n, image in zip(sides, images, strict=True):
        entries += struct.pack("<BBBBHHII", n % 256, n % 256, 0, 0, 1, 32, len(image), at)
        at += len(image)
    return struct.pack("<HHH", 0, kind, count or len(sides)) + entries + b"".join(images)


class TestIcons:
    @pytest.mark.parametrize("kind", [1, 2])
    def test_the_largest_counts(self, kind: int) -> None:
        assert verify(icon(16, 32, 8, kind=kind)) == Picture("ico", 32, 32)

    def test_cut_off(self) -> None:
        body = icon(8, 4)
        for length in range(len(body)):
            with pytest.raises(BadImage):
                verify(body[:length])

    def test_without_entries_it_is_none(self) -> None:
        with pytest.raises(NotAnImage):
            verify(b"\0\0\1\0\0\0" + b"\0" * 100)

    def test_images_that_overlap(self) -> None:
        entries = [struct.pack("<BBBBHHII", 8, 8, 0, 0, 1, 32, 296, 6 + 16 * 9 + n) for n in range(9)]
        with pytest.raises(NotAnImage, match="overlap"):
            verify(struct.pack("<HHH", 0, 1, 9) + b"".join(entries) + bytes(400))

    def test_an_entry_of_something_else(self) -> None:
        with pytest.raises(NotAnImage):
            verify(icon(8).replace(b"\x28\0\0\0\x08", b"GIF89"))


class TestSvg:
    @pytest.mark.parametrize(
        "text",
        [
            SVG,
            "\n  " + SVG,
            "<?xml version='1.0'?><!-- made by <b>hand</b> -->\n<!-- again -->" + SVG,
            '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">' + SVG,
            '<!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/2000/svg">]>\n<svg xmlns="&ns;"/>',
            "<svg:svg xmlns:svg='http://www.w3.org/2000/svg'></svg:svg>",
            "<svg/>",
            SVG + "<!-- added by a cache -->",
        ],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_told(self, text: str, encoding: str) -> None:
        picture = verify(text.strip().encode(encoding) if text.startswith("\n  <?") else text.encode(encoding))
        assert (picture.format, picture.active) == ("svg", False)

    @pytest.mark.parametrize(
        ("attributes", "size"),
        [
            ('width="30" height="20"', (30, 20)),
            ('width="30px" height="20.6"', (30, 21)),
            ('viewBox="0 0 64 48"', (64, 48)),
            ('width="100%" height="100%" viewBox="0,0,64,48"', (64, 48)),
            ('width="3em" height="2em"', (0, 0)),
            ('width="1e999" height="9999999999999999"', (0, 0)),
            ("", (0, 0)),
        ],
    )
    def test_dimensions(self, attributes: str, size: tuple[int, int]) -> None:
        assert verify(f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}/>'.encode()) == Picture("svg", *size)

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
    def test_what_has_one_in_it_or_none_is_none(self, text: str) -> None:
        with pytest.raises(NotAnImage):
            verify(text.encode())

    def test_cut_off(self) -> None:
        body = f'<?xml version="1.0"?>{SVG[:-2]}><g><path d="M0 0"/></g></svg>'.encode()
        assert verify(body).format == "svg"
        for length in range(len(body)):
            with pytest.raises(BadImage):
                verify(body[:length])

    @pytest.mark.parametrize(
        "inside",
        [
            "<script>alert(1)</script>",
            '<g onclick="alert(1)"/>',
            '<image href="https://elsewhere.example/a.png"/>',
            '<image x:href="a.png" xmlns:x="http://www.w3.org/1999/xlink"/>',
            '<use href="other.svg#a"/>',
            '<a href="javascript:alert(1)"><path/></a>',
            '<a href=" JavaScript:alert(1)"/>',
            "<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'/></foreignObject>",
            "<style>@import 'a.css';</style>",
            "<style>rect { fill: url( 'https://elsewhere.example/a' ) }</style>",
            '<rect style="fill:url(//elsewhere.example/a)"/>',
            '<set attributeName="onclick" to="alert(1)"/>',
            '<animate attributeName="xlink:href" values="javascript:alert(1)"/>',
            "<?xml-stylesheet href='a.css'?>",
            '<a href="java&#x0A;script:alert(1)"/>',
            '<a href="data:text/html,x"/>',
            '<use href="data:image/svg+xml,x#a"/>',
            '<feImage href="a.png"/>',
            '<g xml:base="https://elsewhere.example/"/>',
            r'<rect style="fill:u\72l(//elsewhere.example/a)"/>',
            "<style>@imp<![CDATA[ort 'a.css']]>;</style>",
            "<style>@imp&#111;rt 'a.css';</style>",
            "<style>a { background: image-set('a.png' 1x) }</style>",
            '<link xmlns="http://www.w3.org/1999/xhtml" rel="stylesheet" href="#"/>',
            '<set attributeName=" href" to="x"/>',
        ],
    )
    def test_what_runs_or_loads_something_is_active(self, inside: str) -> None:
        assert verify(f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>'.encode()).active

    @pytest.mark.parametrize(
        "inside",
        [
            '<use href="#a"/>',
            '<image href="data:image/png;base64,AAAA"/>',
            '<a href="https://elsewhere.example/"><path/></a>',
            '<rect style="fill:url(#a)"/>',
            "<rect fill=\"url('#a')\"/>",
            "<style>rect { fill: url(#a) }</style>",
            "<title>javascript: what it is</title>",
            '<rect style="fill:url( #a )"/>',
            "<style>a { fill: url(); stroke: url('#b') }</style>",
            '<a href="page.html" id="A&amp;B;"/>',
            '<g one="1"/>'.replace("one", "id"),
        ],
    )
    def test_what_does_neither_is_not(self, inside: str) -> None:
        assert not verify(f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>'.encode()).active

    @pytest.mark.parametrize(
        "subset",
        [
            '<!ATTLIST svg onload CDATA "alert(1)">',
            '<!ENTITY x "javascript:alert(1)">',
            "<!ENTITY x \"@import 'a.css';\">",
        ],
    )
    def test_what_a_subset_declares_may_act(self, subset: str) -> None:
        for inside in ('<a href="&x;"/>', "<style>&x;</style>"):
            text = f"<!DOCTYPE svg [{subset}]><svg>{inside if 'ENTITY' in subset else ''}</svg>"
            assert verify(text.encode()).active and verify(text.encode("utf-16")).active

    @pytest.mark.parametrize(
        "attribute",
        [
            'fill="url(' + " " * 500_000 + '#a)"',
            'width="' + "1" * 500_000 + 'x"',
            'attributeName="' + ":on" * 200_000 + '"',
            'viewBox="' + " ," * 500_000 + '"',
        ],
        ids=["url", "number", "name", "box"],
    )
    def test_long_values_take_no_longer_than_their_length(self, attribute: str) -> None:
        verify(f"<svg {attribute} height='1'/>".encode())  # the square of it would be hours

    def test_millimetres_are_no_pixels(self) -> None:
        assert verify(b'<svg width="25.4mm" height="1in" viewBox="0 0 9999 9999"/>') == Picture("svg", 96, 96)

    def test_entities_of_others_and_laughs_are_not_read(self) -> None:
        outer = '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg><text>&a;</text></svg>'
        assert verify(outer.encode()).format == "svg"
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
        bomb = f'<!DOCTYPE svg [<!ENTITY l0 "lol">{laughs}]><svg a="&l11;"><text>&l11;</text></svg>'
        with pytest.raises(BadImage):
            verify(bomb.encode())
