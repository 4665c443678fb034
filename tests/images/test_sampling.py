"""What a shard's row says of an image."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crawler.captions import DEFAULT
from crawler.images.sampling import failed_sample, sample_of
from crawler.model import ImageDetail, ImageResult, Kind, Settlement, Task, Verb, Words, pack
from crawler.shards import exif
from crawler.shards.exif import exif_of
from crawler.shards.samples import NOT_FETCHED
from crawler.transforms.imaging import Transformed
from servers.pictures import jpeg, png

URL = "http://a.test/1.jpg"
IMAGE = Transformed(b"body", "png", 3, 2, 3, 2)


def task(*words: Words) -> Task:
    mentions = [(f"http://a.test/{at}", pack(some)) for at, some in enumerate(words)]
    return Task(1, Kind.IMAGE, URL, URL, pack(ImageDetail()), mentions=mentions)


def with_exif() -> bytes:
    image, body = Image.new("RGB", (4, 4)), io.BytesIO()
    exif = image.getexif()
    exif[0x010E], exif[0x0112] = "d\xe9j\xe0 vu", 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0), 29: "2020:01:02"})
    image.save(body, "JPEG", exif=exif)
    return body.getvalue()


BODY = with_exif()


def test_exif_is_names_and_values_as_text() -> None:
    told = json.loads(exif_of(BODY))
    expected = {
        "Orientation": "6", "DateTimeOriginal": "2020:01:02 03:04:05", "GPSLatitudeRef": "N",
        "GPSLatitude": "(1.0, 2.0, 3.0)", "GPSDateStamp": "2020:01:02",
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert "InteropIndex" not in told, "what is said of places has names of its own"


@pytest.mark.parametrize("body", [b"", b"\xff\xd8Exif\0\0", jpeg(1), png(1), b"GIF89a" + BODY, BODY[:40]], ids=range(6))
def test_without_exif_there_is_none(body: bytes) -> None:
    assert exif_of(body) == ""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=8), st.integers(20, len(BODY)))
def test_exif_that_is_damaged_harms_nothing(changes: list[tuple[int, int]], length: int) -> None:
    body = bytearray(BODY)
    for at, value in changes:
        body[BODY.index(b"Exif") + 6 + at] = value
    told = exif_of(bytes(body[:length]))
    assert told == "" or all(isinstance(value, str) for value in json.loads(told).values())
    told.encode()


def test_long_exif_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exif, "_MOST_OF_EXIF", 40)
    assert len(json.loads(exif_of(BODY))) < 4
    monkeypatch.setattr(exif, "_MOST_OF_VALUE", 3)
    assert all(len(value) <= 3 for value in json.loads(exif_of(BODY)).values())


def test_what_was_fetched() -> None:
    result = ImageResult(sha256="ab", format="png", width=3, height=2, final_url="http://b.test/", status=200, etag="e")
    sample = sample_of(task(Words(alt="a cat"), Words(title="a dog")), result, b"body", IMAGE, DEFAULT)
    assert (sample.url, sample.caption, sample.status, sample.outcome) == (URL, "a cat", "success", "success")
    assert (sample.width, sample.original_width, sample.height, sample.original_height) == (3, 3, 2, 2)
    assert (sample.size, sample.format, sample.final_url, sample.http_status) == (4, "png", "http://b.test/", 200)
    assert (sample.etag, sample.last_modified, sample.exif, sample.error_message) == ("e", "", "{}", None)
    assert len(sample.mentions) == 2 and sample_of(task(), ImageResult(), b"", IMAGE, DEFAULT).final_url == URL


def test_what_failed() -> None:
    said = Settlement(number=1, verb=Verb.DONE, outcome="http_404", message="it is gone")
    sample = failed_sample(task(Words(alt="a cat")), said, NOT_FETCHED, DEFAULT)
    assert (sample.status, sample.error_message, sample.outcome) == ("failed_to_download", "it is gone", "http_404")
    assert sample.caption == "a cat" and sample.sha256 is None and sample.width is None
    said.message = ""
    assert failed_sample(task(), said, NOT_FETCHED, DEFAULT).error_message == "http_404"
