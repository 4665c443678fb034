"""Mutated input for every reader of what strangers send: `make fuzz SECONDS=600`, and shortly in the tests.

A target has samples and an act that may raise its own errors only. What fails is written beside, to be tried again:
`python tests/fuzzing.py --seconds 600 --only verify`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import pickle
import random
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unicodedata import category

import msgspec
from PIL import Image

from crawler.brokers import plain, wire
from crawler.errors import BadImage, FetchError, WireError
from crawler.images.verify import FORMATS, verify
from crawler.model import Found, ImageDetail, Kind, Reply, Report, Settlement, State, Verb, Words, decode, encode, pack
from crawler.optout import Reservations, of_answer
from crawler.pages.extract import css, read
from crawler.pages.extract.srcset import parse_srcset
from crawler.robots import Rules
from crawler.stores.names import file_name
from crawler.transforms.imaging import transformed
from crawler.transforms.transform import Transform
from crawler.urls import normalise
from servers.pictures import HEIC, JXL, JXL_IN_BOXES

#: Seconds of CPU in which any input of less than a megabyte must be done; most take a millisecond.
MOST_TIME = 2.0
#: Bytes that a mutant may have.
MOST_BYTES = 1_000_000
URL = "https://a.example/dir/page.html"
#: What turns the direction of text around.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LENGTHS = [
    bytes.fromhex(text) for text in "00 ff 7f 80 ffff 0000 ffffffff 00000000 7fffffff 80000000 ffffff7f".split()
]


@dataclass(frozen=True)
class Target:
    """One reader, what it is shown, and words that it reacts to."""

    name: str
    act: Callable[[bytes], None]
    samples: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def mutant(noise: random.Random, target: Target) -> bytes:
    """Return a sample with a few changes."""
    body = bytearray(noise.choice(target.samples))
    for _ in range(noise.choice((1, 1, 2, 4, 16))):
        at = noise.randrange(len(body) + 1) if noise.random() < 0.7 else noise.randrange(min(len(body), 64) + 1)
        match noise.randrange(8):
            case 0:
                body[at : at + 1] = bytes([noise.randrange(256)])
            case 1:
                length = noise.choice(_LENGTHS)
                body[at : at + len(length)] = length
            case 2:
                del body[at : at + noise.choice((1, 4, 50, 10_000))]
            case 3:
                part = body[at : at + noise.randrange(1, 200)]
                body[at:at] = part * noise.choice((1, 2, 30))
            case 4 | 5 if target.words:
                body[at:at] = noise.choice(target.words) * noise.choice((1, 1, 1, 3, 500))
            case 6:
                other = noise.choice(target.samples)
                start = noise.randrange(len(other) + 1)
                body[at:at] = other[start : start + noise.randrange(1, 400)]
            case _:
                del body[at:]
    return bytes(body[:MOST_BYTES])


def attack(target: Target, seed: int, number: int) -> bytes:
    """Show a target the mutant of this number; raises what it raises, or AssertionError where it takes too long."""
    body = mutant(random.Random(f"{target.name} {seed} {number}"), target)
    began = time.process_time()
    target.act(body)
    spent = time.process_time() - began
    assert spent < MOST_TIME, f"{spent:.1f} s"
    return body


# What is attacked


def _message(body: bytes) -> None:
    try:
        msgspec.msgpack.encode(plain.loads(body, exceptions=False), enc_hook=None)
    except (WireError, UnicodeEncodeError, OverflowError):  # surrogates and big integers are plain data, too
        return


def _frames(body: bytes) -> None:
    frames = wire.Frames()
    frames.limit = 1000
    try:
        for start in range(0, len(body), 7):
            frames.feed(body[start : start + 7])
            while (message := frames.next()) is not None:
                assert len(message) <= frames.limit
    except WireError:
        return


def _report(body: bytes) -> None:
    for kind in (Report, Reply):
        try:
            decode(body, kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


def _verify(body: bytes) -> None:
    try:
        picture = verify(body)
    except BadImage:
        return
    assert picture.format in FORMATS and picture.width >= 0 and picture.height >= 0


def _transform(body: bytes) -> None:
    transform = Transform(resize="border", image_size=16, encode="png", encode_quality=1, animation="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what is odd
        try:
            image = transformed(body, transform, 100_000)
        except FetchError:
            return
    assert (image.width, image.height) == Image.open(io.BytesIO(image.body)).size == (16, 16)


def _extract(sort: str) -> Callable[[bytes], None]:
    def act(body: bytes) -> None:
        try:
            links = read(body, {"content-type": ""}, URL, sort)
        except ValueError:
            return
        assert all(normalise(url) == url for url in links.pages)

    return act


def _style(body: bytes) -> None:
    css.read(body.decode("latin-1"))


def _srcset(body: bytes) -> None:
    assert all(candidate.url.strip(" \t\n\f\r") for candidate in parse_srcset(body.decode("utf-8", "replace")))


def _url(body: bytes) -> None:
    url = normalise(body.decode("utf-8", "replace"), URL)
    if url is not None:
        assert normalise(url) == url and url.startswith(("http://", "https://")) and url.isprintable()
        _name(url)


def _name(url: str) -> None:
    name = file_name(url, "ab" * 32, "jpeg")
    parts = PurePosixPath(name).parts
    assert "/".join(parts) == name and ".." not in parts and not name.startswith("/")
    assert all(len(part.encode()) <= 255 for part in parts)
    assert not any(category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _BIDI for letter in name)


def _robots(body: bytes) -> None:
    rules = Rules(body.decode("utf-8", "replace"), "crawler")
    assert rules.allows(URL) in (True, False)
    assert Reservations(body).reserve(URL) in (True, False)
    of_answer({"x-robots-tag": body.decode("latin-1")}, "crawler", ("x-robots-tag", "noai", "tdm"))


def _pictures() -> tuple[bytes, ...]:
    picture = Image.effect_noise((24, 17), 90).convert("RGB")
    found = [b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><g id="a"><use href="#a"/></g></svg>']
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "TIFF", "ICO"):
        out = io.BytesIO()
        picture.save(out, kind, **({"save_all": True, "append_images": [picture]} if kind in ("GIF", "PNG") else {}))
        found.append(out.getvalue())
    return *found, HEIC, JXL, JXL_IN_BOXES


def _messages() -> tuple[bytes, ...]:
    values: list[object] = [
        ("broker", "exchange", ("w-1", encode(Report())), {}), ("#RETURN", None), ("x", "get", (), {"block": True}),
        ([1, 2.5, "x" * 300, {"a": (None, True)}], -(2**70), b"\0" * 300),
    ]  # fmt: skip
    return tuple(pickle.dumps(value, protocol) for value in values for protocol in range(6))


def _reports() -> tuple[bytes, ...]:
    found = [Found(Kind.IMAGE, "https://a.example/a.jpg", pack(ImageDetail()), Words(alt="a bear", columns={"a": "b"}))]
    settlements = [Settlement(number=1, verb=Verb.DONE, outcome="success", found=found)]
    return encode(Report(settlements=settlements, held=[1, 2], room={Kind.IMAGE: 5}, busy={"a": 1})), encode(
        Reply(serial=1, state=State.OPEN)
    )


_PAGE = b"""<!doctype html><base href="/b/"><title>t</title><meta property="og:image" content="o.jpg">
<script type="application/ld+json">{"@type": "ImageObject", "contentUrl": "j.jpg", "caption": "c"}</script>
<style>a { background: url(c.png), image-set("d.png" 2x) }</style><a href="p.html">p</a>
<picture><source srcset="a.webp 1x, b.webp 2x">
<img src=a.jpg alt=a srcset="a.jpg 100w, b.jpg 200w" sizes=50vw></picture>
<noscript><img src=n.jpg></noscript><template><img data-src=t.jpg></template><svg><image href=s.png /></svg>"""
_FEED = b"""<?xml version="1.0"?><rss xmlns:media="http://search.yahoo.com/mrss/"><channel><item><link>a.html</link>
<enclosure url="e.jpg" type="image/jpeg"/><media:content url="m.jpg"/><description>&lt;img src="d.jpg"&gt;</description>
</item></channel></rss>"""
_MAP = b"""<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>https://a.example/1</loc></url></urlset>"""
_SHEET = (
    b"@import 'a.css'; a { background: url( 'a.png' ) } @font-face { src: url(f.woff) } /* c */ b { x: url(b\\29.png) }"
)
_ROBOTS = (
    b"User-agent: *\nDisallow: /a*b$\nAllow: /dir/\nCrawl-delay: 2\nSitemap: https://a.example/s.xml\nnoai, max-age: 3"
)
_IIIF = b"""{"@context": "http://iiif.io/api/presentation/3/context.json", "type": "Manifest",
"items": [{"type": "Canvas", "items": [{"items": [{"body": {"id": "https://a.example/i.jpg", "type": "Image"}}]}]}]}"""

TARGETS = (
    Target("message", _message, _messages(), (b"cos\nsystem\n", b"(", b"\x80\x05", b"R.", b"\x94", b"h\x00", b"\x95")),
    Target("frames", _frames, (wire.frame(b"x" * 90) + wire.frame(b"") + wire.frame(b"y" * 900),)),
    Target("report", _report, _reports(), (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91")),
    Target("verify", _verify, _pictures(),
           (b"<!ENTITY a 'b'>", b"<g>", b"\xff\xd8", b"IDAT", b"iloc", b"&a;", b"url(", b"  ", b"1", b"stsz")),
    Target("transform", _transform, _pictures(),
           (b"Exif\0\0", b"ICC_PROFILE\0", b"acTL", b"fcTL", b"\xff\xc0", b"ANMF")),
    Target("page", _extract("page"), (_PAGE, _FEED), (b"<div>", b"<b id=", b"<!--", b"</", b"'", b'"', b"<svg>")),
    Target("feed", _extract("feed"), (_FEED,), (b"<item>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<![CDATA[")),
    Target("sitemap", _extract("sitemap"), (_MAP, gzip.compress(_MAP), b"https://a.example/1\n"), (b"<url>", b"<loc>")),
    Target("manifest", _extract("manifest"), (_IIIF,), (b"[", b'{"items": ', b'"', b"9", b"\\u", b"e9")),
    Target("style sheet", _extract("css"), (_SHEET,), (b"url(", b"@import", b"\\", b"/*", b"'", b"image-set(")),
    Target("style", _style, (_SHEET,), (b"url(", b"@import", b"\\", b"/*", b"'", b"image-set(", b"{")),
    Target("srcset", _srcset, (b"a.jpg 1x, b.jpg 2x", b"a.jpg 100w 50h, (b.jpg,) 1e3w,"), (b"(", b",", b" ", b"1x")),
    Target("url", _url, (b"../a/b.jpg?q=1#f", b"//b.example:80/%2e%2e/x", b"https://u:p@[::1]:8080/CON/a%00b~.jpg"),
           (b"..", b"/", b"%2f", b"\\", b"@", b":", b"%", b"\xe2\x80\xae", b"\xef\xbc\x8e", b"a" * 300)),
    Target("robots", _robots, (_ROBOTS, b'[{"location": "/*a$", "tdm-reservation": 1}]'),
           (b"*", b"$", b"%", b"Disallow: /", b"\n", b"User-agent: crawler\n", b"[", b"{")),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", choices=[target.name for target in TARGETS])
    args = parser.parse_args()
    print(f"seed {args.seed}")
    chosen = [target for target in TARGETS if args.only in (None, target.name)]
    failures = 0
    for target in chosen:
        until, number = time.monotonic() + args.seconds / len(chosen), 0
        while time.monotonic() < until:
            try:
                attack(target, args.seed, number)
            # Whatever a target raises is what is looked for; it is written down, and the next one is tried.
            except Exception as error:  # noqa: BLE001
                failures += 1
                path = Path(f"fuzz-{target.name.replace(' ', '-')}-{args.seed}-{number}.bin")
                path.write_bytes(mutant(random.Random(f"{target.name} {args.seed} {number}"), target))
                print(f"{target.name}: {error!r}; the input is in {path}")
            number += 1
        print(f"{target.name}: {number:,} inputs")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
