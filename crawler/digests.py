"""Hashes that a list has of its images: what a cell says, and whether the bytes are those. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from crawler.errors import UsageError
from crawler.model import ImageResult

#: Hexadecimal digits of each.
DIGITS: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
#: What a row has whose cell is no hash.
NONE: Final = "none"
_KINDS = {digits: kind for kind, digits in DIGITS.items()}
_HEX = re.compile(r"[0-9a-f]+")


def parse_column(text: str) -> tuple[str, str]:
    """Return the column and the kind of hash that `COLUMN`, or `["COLUMN", "md5"]`, names; `""` is of any kind.

    Raises UsageError where it is neither.
    """
    if not text.startswith("["):
        return text, ""
    try:
        column, kind = msgspec.json.decode(text, type=tuple[str, str])
    except msgspec.MsgspecError as error:
        raise UsageError(f'--verify-hash: {text!r} is neither a column nor ["COLUMN", "md5"]: {error}') from error
    if kind not in DIGITS:
        raise UsageError(f"--verify-hash: {kind!r} is no kind of hash; known are {', '.join(DIGITS)}")
    return column, kind


def read_digest(text: str, kind: str = "") -> str:
    """Return the hash in a cell of a list, which its length tells the kind of; NONE where it has none of `kind`."""
    digest = text.strip().lower()
    found = _KINDS.get(len(digest), "")
    return digest if found and kind in ("", found) and _HEX.fullmatch(digest) else NONE


def difference(body: bytes, digest: str) -> str:
    """Return in words how `body` differs from what a list says of it, `""` where it does not, or nothing is said."""
    if not digest:
        return ""
    if digest == NONE:
        return "its row in the list has no hash to compare it with"
    kind = _KINDS[len(digest)]
    found = hashlib.new(kind, body, usedforsecurity=False).hexdigest()
    return "" if found == digest else f"the list says {kind} {digest}, its bytes have {found}"


def is_compared(past: ImageResult, digest: str) -> bool:
    """Tell whether the file of an earlier run has what a list says now, as far as was looked at."""
    return not digest or digest in (past.sha256, past.digest)
