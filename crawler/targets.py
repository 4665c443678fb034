"""How people name an image that is in a ledger: by a URL, by its bytes, by its file."""

from __future__ import annotations

import re
from pathlib import Path

#: Least number of hexadecimal digits that stand for a content.
FEWEST_DIGITS = 8
_URL = ("http://", "https://")
_DIGITS = re.compile(rf"[0-9A-Fa-f]{{{FEWEST_DIGITS},64}}")
_IN_SHARD = re.compile(r"(?:\A|/)(shards/\d{5,}\.tar/\d{9,}\.[a-z0-9]{1,12})\Z", re.ASCII)
_STORED = re.compile(r"-([0-9a-f]{12})\.[a-z0-9]{1,12}\Z")


def is_url(text: str) -> bool:
    return text.lower().startswith(_URL)


def is_digits(text: str) -> bool:
    """Tell whether this is a sha256, or the beginning of one."""
    return _DIGITS.fullmatch(text) is not None


def digits_of(path: str) -> str:
    """Return the 12 digits of its content that the name of a stored file ends with, or `""`."""
    found = _STORED.search(path)
    return found[1] if found else ""


def in_shard(path: str) -> str:
    """Return the name that an image of a shard has in its ledger, where a path ends with it, or `""`."""
    found = _IN_SHARD.search(path)
    return found[1] if found else ""


def is_there(path: str | Path) -> bool:
    """Tell whether a file is there."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def names_image(text: str) -> bool:
    """Tell whether this names an image and not, most likely, a job."""
    return is_url(text) or is_digits(text) or bool(digits_of(text) or in_shard(text)) or is_there(text)
