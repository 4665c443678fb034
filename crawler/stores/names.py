"""The name of an image's file: a function of its URL and content alone, safe on every file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

#: The suffix that a URL of this format has as a rule, where it is not the format's name.
_SUFFIX = {"jpeg": "jpg", "tiff": "tif"}
# What browsers leave as it is in a path (WHATWG URL Standard, path percent-encode set).
_UNQUOTED = "!$%&'()*+,;=:@[]|~"
#: What no image has, so that a name tells the whole URL.
_NO_FORMAT = "?"
_VERSION = re.compile(r"(.+)-[0-9a-f]{12}\.([a-z0-9]+)", re.DOTALL)
#: Longest part of a path in bytes; ext4, NTFS and APFS take 255.
_MAX_PART = 120
#: Deepest folder below the host's.
_MAX_DEPTH = 16
_UNSAFE = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\s]|[\ud800-\udfff]|[\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]'
    r"|[\uf000-\uf0ff]"  # what file servers have for characters that Windows forbids
)
# Names that Windows keeps for devices, with any suffix.
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


# A part of a path that is its own name, and says all that the URL says.
_PLAIN = re.compile(
    r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z))[A-Za-z0-9_-](?:[A-Za-z0-9_.-]{0,118}[A-Za-z0-9_-])?"
)


def file_name(url: str, sha256: str, format: str) -> str:
    """Return `{host}/{path of the URL}/{stem}-{first 12 of sha256}.{format}`.

    Where that does not tell the whole URL (a query, unsafe characters, length, another suffix), the stem gains 8 digits
    of the URL's hash, so that URLs never share a name, unless they differ in nothing but http and https and have the
    same content.
    """
    path, asks, _ = url.partition("?")
    folder, _, last = path.rpartition("/")
    stem, _, suffix = last.rpartition(".")
    if suffix.isalnum() and _PLAIN.fullmatch(stem) and (known := _plain_folder(folder)):
        rest = "" if suffix == _SUFFIX.get(format, format) and not asks else _mark_of(url)
        return f"{known}/{stem}{rest}-{sha256[:12]}.{format}"
    return careful_name(url, sha256, format)


def short_name(url: str, sha256: str, format: str, most: int) -> str:
    """Return what `file_name` does, or where that has more than `most` bytes, host and hash of the URL."""
    name = file_name(url, sha256, format)
    if len(name) * 4 <= most or len(name.encode()) <= most:
        return name
    return f"{name.partition('/')[0]}/{_short_stem(url)}-{sha256[:12]}.{format}"


def _short_stem(url: str) -> str:
    return "~" + hashlib.sha256(url.encode()).hexdigest()[:16]


class Version(NamedTuple):
    """What the names of a URL's files have in common, whatever their content; `format` is empty where it is any."""

    folder: str
    stem: str
    format: str


def versions_of(url: str) -> list[Version]:
    """Return where files of a URL may be, and what their names begin with."""
    suffix = urlsplit(url).path.rpartition(".")[2]
    folder, _, marked = careful_name(url, "", _NO_FORMAT).removesuffix(f"-.{_NO_FORMAT}").rpartition("/")
    found = [Version(folder, marked, ""), Version(folder.partition("/")[0], _short_stem(url), "")]
    for format in {suffix, *(format for format, short in _SUFFIX.items() if short == suffix)}:
        plain = careful_name(url, "", format).removesuffix(f"-.{format}").rpartition("/")[2]
        if format and plain != marked:  # its suffix tells the format, so that no other URL has this name
            found.append(Version(folder, plain, format))
    return found


def grouped(urls: Iterable[str]) -> dict[str, set[tuple[str, str]]]:
    """Return, by folder, stems and formats of the files of these URLs there."""
    found: dict[str, set[tuple[str, str]]] = {}
    for url in urls:
        for version in versions_of(url):
            found.setdefault(version.folder, set()).add(version[1:])
    return found


def matching(names: Iterable[str], wanted: set[tuple[str, str]]) -> list[str]:
    """Return those of the names in a folder that have one of these stems and formats."""
    parts = [(name, match) for name in names if (match := _VERSION.fullmatch(name))]
    return [name for name, match in parts if (match[1], "") in wanted or (match[1], match[2]) in wanted]


@lru_cache(maxsize=4096)
def _plain_folder(url: str) -> str:
    """Return the folder for a URL's part before its last slash where that is told by its parts, else `""`."""
    host, *parts = url.partition("://")[2].split("/")
    if host and len(parts) <= _MAX_DEPTH and all(map(_PLAIN.fullmatch, parts)):
        return "/".join([_safe(host.replace(":", "_")), *parts])
    return ""


def careful_name(url: str, sha256: str, format: str) -> str:
    """Return what `file_name` does, for any URL: plain ones, by far the most, have a way that takes a tenth."""
    rest = url.partition("://")[2]
    split = urlsplit(url)
    parts = [unquote(part, "utf-8", "replace") for part in split.path.split("/")[1:]]
    folders, last = parts[:-1], parts[-1] if parts else ""
    stem = last.rpartition(".")[0] or last
    shown = [_safe(part) for part in (split.netloc.replace(":", "_"), *folders, stem or "index")]
    if len(shown) > _MAX_DEPTH + 2:
        shown = [*shown[:_MAX_DEPTH], shown[-1]]
    told = "/".join([split.netloc, *(quote(part, safe=_UNQUOTED) for part in shown[1:])])
    if rest != f"{told}.{_SUFFIX.get(format, format)}":
        shown[-1] += _mark_of(url)
    return "/".join(shown) + f"-{sha256[:12]}.{format}"


def _mark_of(url: str) -> str:
    """Return what tells a URL from others of the same path."""
    return "~" + hashlib.sha256(url.encode()).hexdigest()[:8]


def _safe(part: str) -> str:
    """Return `part` as one component of a path that every file system takes."""
    part = _UNSAFE.sub("_", unicodedata.normalize("NFC", part)).strip(". ") or "_"
    if _RESERVED.match(part):
        part = "_" + part
    while len(part.encode()) > _MAX_PART:
        part = part[:-1]
    return part.rstrip(". ") or "_"
