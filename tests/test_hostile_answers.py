"""Answers that break HTTP's rules or stretch them, to both loops: each ends soon, small, and with a plain outcome."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Callable

import pytest

from crawler.coding import GZIP, MAX_MEMBERS, Decoder, decoder_of
from crawler.errors import FetchError
from crawler.guard import Guard
from crawler.images.engine import Engine
from crawler.model import ImageDetail, Kind, Task, pack
from crawler.outcomes import Outcome
from crawler.pages.session import PageSession
from crawler.spec import Spec
from servers.raw import RawServer

SECONDS = 1.5
MOST = 1_000_000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = CHUNKED + b"1\r\nx\r\n0\r\n"


def image(url: str) -> tuple[str, bytes]:
    """Return the outcome and the body that the download worker gets."""
    engine = Engine(1, Spec(job="j", user_agent="c/1", timeout=SECONDS, max_image_bytes=MOST), Guard(("127.0.0.0/8",)))
    try:
        engine.start(Task(1, Kind.IMAGE, url, url, pack(ImageDetail())), "")
        while not (ended := engine.wait(0.1)):
            pass
    finally:
        engine.close()
    (transfer,) = ended
    return (transfer.error.outcome if transfer.error else "", transfer.body)


def page(url: str) -> tuple[str, bytes]:
    """Return the outcome and the body that the link collector gets."""
    try:
        return "", PageSession(Guard(("127.0.0.0/8",)), "c/1", 2.0).get(url, SECONDS, MOST, lambda _: True).body
    except FetchError as error:
        return error.outcome, b""


both = pytest.mark.parametrize("fetch", [image, page])
Fetch = Callable[[str], tuple[str, bytes]]


@both
@pytest.mark.parametrize(
    ("head", "piece", "times", "outcomes"),
    [
        pytest.param(OK + b"Content-Length: 9\r\n\r\n", b"x", 5, {Outcome.TRUNCATED}, id="length too long"),
        pytest.param(OK + b"Content-Length: -5\r\n\r\n", b"x", 5, {Outcome.PROTOCOL, ""}, id="length below nothing"),
        pytest.param(
            OK + b"Content-Length: 5\r\nContent-Length: 3\r\n\r\n", b"x", 5, {Outcome.PROTOCOL}, id="two lengths"
        ),
        pytest.param(
            OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", b"x", 5,
            {Outcome.TOO_LARGE, Outcome.PROTOCOL}, id="length of many digits",
        ),
        pytest.param(OK + b"\r\n", b"x" * 10_000, -1, {Outcome.TOO_LARGE}, id="body without end"),
        pytest.param(CHUNKED, b"3\r\nxxx\r\n" * 999, -1, {Outcome.TOO_LARGE, Outcome.PROTOCOL}, id="small chunks"),
        pytest.param(CHUNKED, b"-3\r\nxxx\r\n", 9, {Outcome.PROTOCOL, Outcome.TRUNCATED}, id="chunks below nothing"),
        pytest.param(CHUNKED, b"0" * 9_999, -1, {Outcome.PROTOCOL, Outcome.TRUNCATED}, id="size of a chunk"),
        pytest.param(
            CHUNKED + b"1;", b"x" * 9_999, -1, {Outcome.TIMEOUT, Outcome.PROTOCOL, Outcome.TRUNCATED},
            id="extension of a chunk",
        ),
        pytest.param(LAST, b"T: x\r\n" * 999, -1, {Outcome.PROTOCOL, Outcome.TOO_LARGE}, id="trailer without end"),
        pytest.param(LAST, b"T: " + b"x" * 9999, -1, {Outcome.PROTOCOL, Outcome.TOO_LARGE}, id="line of a trailer"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, -1, {Outcome.PROTOCOL}, id="100 without end"),
        pytest.param(
            b"", b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 99, -1, {Outcome.PROTOCOL}, id="103 without end"
        ),
        pytest.param(OK, b"X: " + b"x" * 999 + b"\r\n", -1, {Outcome.PROTOCOL}, id="headers without end"),
        pytest.param(OK, b"a:b\r\n" * 999, -1, {Outcome.PROTOCOL}, id="short headers without end"),
        pytest.param(OK + b"X: ", b"x" * 999, -1, {Outcome.PROTOCOL}, id="a header without end"),
        pytest.param(b"HTTP/1.1 200 ", b"x" * 999, -1, {Outcome.PROTOCOL, Outcome.CONNECT}, id="a status without end"),
        pytest.param(b"<html>hello\n", b"x" * 999, 9, {Outcome.PROTOCOL}, id="HTTP 0.9"),
        pytest.param(b"", b"\0" * 999, -1, {Outcome.PROTOCOL, Outcome.CONNECT}, id="nothing that ends"),
    ],
)  # fmt: skip
@pytest.mark.alone
def test_an_answer_that_breaks_the_rules_ends(
    fetch: Fetch, head: bytes, piece: bytes, times: int, outcomes: set[str]
) -> None:
    with RawServer(head, piece, times) as server:
        began = time.monotonic()
        outcome, _ = fetch(server.url)
        assert outcome in outcomes
        assert time.monotonic() - began < SECONDS + 1


@both
def test_what_comes_before_an_answer_is_passed_over(fetch: Fetch) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nContent-Encoding: br\r\n\r\n" * 3
    with RawServer(early + OK + b"Content-Length: 2\r\n\r\n", b"hi", 1) as server:
        assert fetch(server.url) == ("", b"hi")


@both
def test_what_comes_behind_an_answer_is_none_of_it(fetch: Fetch) -> None:
    with RawServer(OK + b"Content-Length: 2\r\n\r\n", b"hi" + OK + b"Content-Length: 1\r\n\r\nx", 1) as server:
        assert [fetch(server.url) for _ in range(2)] == [("", b"hi")] * 2


RAW_DEFLATE = zlib.compressobj(wbits=-15)
CODED = {
    "gzip": gzip.compress(b"hello " * 99),
    "x-gzip": gzip.compress(b"hello " * 50) + gzip.compress(b"hello " * 49) + b"\0\0\0",
    "deflate": zlib.compress(b"hello " * 99),
    " Deflate ,": RAW_DEFLATE.compress(b"hello " * 99) + RAW_DEFLATE.flush(),
    "identity": b"hello " * 99,
    "gzip, aws-chunked": gzip.compress(b"hello " * 99),
    "utf-8": b"hello " * 99,
}


@both
@pytest.mark.parametrize("coding", CODED)
def test_one_coding_is_decoded(fetch: Fetch, coding: str) -> None:
    head = OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(CODED[coding])}\r\n\r\n".encode()
    with RawServer(head, CODED[coding], 1) as server:
        assert fetch(server.url) == ("", b"hello " * 99)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("coding", CODED)
def test_the_pieces_in_which_it_comes_do_not_matter(coding: str, size: int) -> None:
    body, decoder = CODED[coding], decoder_of(coding, 200)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(decoder.decode(piece, MOST) if decoder else piece for piece in pieces) == b"hello " * 99


@both
@pytest.mark.parametrize(
    "fields", ["gzip, gzip", "gzip\r\nContent-Encoding: gzip", "deflate, gzip, identity", "br", "zstd", "gzip,br"]
)
def test_codings_within_codings_and_others_are_refused(fetch: Fetch, fields: str) -> None:
    """Empty blocks, packed: 150 kB of it cost libcurl a second, and not one byte came out for a limit to count."""
    body = gzip.compress(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 1_000_000)
    with RawServer(OK + f"Content-Encoding: {fields}\r\n\r\n".encode(), body, 1) as server:
        assert fetch(server.url) == (Outcome.PROTOCOL, b"")


@pytest.mark.parametrize("status", [301, 404, 503])
def test_what_nobody_reads_may_be_coded_as_it_likes(status: int) -> None:
    assert decoder_of("br, gzip", status) is None


def test_small_gzip_files_without_end_are_no_work() -> None:
    decoder, empty = Decoder(GZIP), gzip.compress(b"")
    assert decoder.decode(gzip.compress(b"x") + empty * (MAX_MEMBERS + 9) + gzip.compress(b"y"), 10) == b"x"
    assert decoder.decode(empty, 10) == b""


@pytest.mark.parametrize("most", [0, 1, 999])
def test_no_more_is_decoded_than_is_wanted(most: int) -> None:
    assert len(Decoder(GZIP).decode(gzip.compress(b"\0" * 10_000_000), most)) == most + 1


BOMB = """
    import sys, zlib
    sys.path[:0] = {path!r}
    import test_hostile_answers as here
    packed = zlib.compressobj(1, wbits={window})
    bomb = b"".join(packed.compress(bytes(2**20)) for _ in range(200)) + packed.flush()
    here.MOST = 50 * 2**20
    with here.RawServer(here.OK + b"Content-Encoding: {coding}\\r\\n\\r\\n", bomb, 1) as server:
        assert here.{fetch}(server.url) == ("too_large", b"")
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("fetch", ["image", "page"])
@pytest.mark.parametrize(("coding", "window"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_a_bomb_takes_little_memory(fetch: str, coding: str, window: int) -> None:
    code = textwrap.dedent(BOMB).format(path=sys.path, fetch=fetch, coding=coding, window=window)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300 * 1024
