"""Content codings (RFC 9110, 8.4): one layer of gzip or deflate, decoded as it arrives and no further than is wanted.

Neither libcurl nor urllib3 does it: they decode what was not asked for, too, and layers within layers, of which a
hundred kilobytes can be made to cost a second without a byte to show for it.
"""

from __future__ import annotations

import re
import zlib

from crawler.errors import FetchError
from crawler.outcomes import Outcome

#: What is asked for.
ACCEPTED = "gzip, deflate"
#: gzip files that may follow each other (RFC 1952, 2.2); what is behind them is ignored.
MAX_MEMBERS = 100
#: What zlib calls gzip.
GZIP = 31
_OURS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": zlib.MAX_WBITS}
_OTHERS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_BEGINNING = b"\x1f\x8b"


def decoder_of(field: str, status: int) -> Decoder | None:
    """Return what decodes an answer with this Content-Encoding, or None where nothing is to be decoded.

    Names that are no codings mean nothing, as in browsers. Raises FetchError for codings that were not asked for, and
    for several; not where the status is no success, since nobody reads the body then.
    """
    if not field:
        return None
    names = [name for name in re.split(r"[\s,]+", field.lower()) if name in _OURS or name in _OTHERS]
    if len(names) == 1 and names[0] in _OURS:
        return Decoder(_OURS[names[0]])
    if names and 200 <= status < 300:
        raise FetchError(Outcome.PROTOCOL, f"it is encoded as {', '.join(names)[:80]}, which was not asked for")
    return None


class Decoder:
    """Decodes one body, piece by piece."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream: zlib._Decompress | None = None
        self._members = 0
        self.is_whole = True  #: whether what came so far ends where its coding does

    def decode(self, data: bytes, most: int) -> bytes:
        """Return what the next piece stands for; as soon as it is more than `most` bytes, that many and one.

        Raises FetchError where it is not what it was said to be.
        """
        pieces = []
        while data and most >= 0 and (self._stream is not None or self._begins(data)):
            assert self._stream is not None
            try:
                piece = self._stream.decompress(data, most + 1)
            except zlib.error as error:
                raise FetchError(Outcome.PROTOCOL, f"it cannot be decoded: {error}") from error
            pieces.append(piece)
            most -= len(piece)
            self.is_whole, data = self._stream.eof, self._stream.unused_data
            if self.is_whole:
                self._stream = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begins(self, data: bytes) -> bool:
        """Make ready for a body, or for another gzip file behind it; tell whether there is one."""
        window = self._window
        if self._members and (
            window != GZIP or self._members == MAX_MEMBERS or not data.startswith(_BEGINNING[: len(data)])
        ):
            return False
        if window != GZIP and data[0] & 0x0F != 8:
            window = -window  # deflate without what RFC 9110 (8.4.1.2) wants around it, as many servers send it
        self._members += 1
        self._stream = zlib.decompressobj(window)
        return True
