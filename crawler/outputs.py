"""Where images go, as people write it: a directory, or the URL of a place in an object store."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from crawler.errors import UsageError
from crawler.paths import absolute

#: Object stores, by the schemes of their URLs.
SCHEMES = ("s3", "gs", "az")
#: Bytes of a prefix: with a job's and a file's name they make a key, which takes 1,024.
MAX_PREFIX = 512
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,221}")


class Output(msgspec.Struct, frozen=True):
    """A directory, or a bucket and what the names in it begin with; as text it is a whole path or URL."""

    directory: Path | None = None
    scheme: str = ""
    bucket: str = ""
    prefix: str = ""

    def __str__(self) -> str:
        if self.directory is not None:
            return str(self.directory)
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parse_output(text: str, flag: str = "--output") -> Output:
    """Return the output that `text` names; raises UsageError, which names `flag`, where it can be none."""
    url = _URL.fullmatch(text)
    if url is None:
        return Output(absolute(Path(text), flag))
    scheme = url["scheme"].lower()
    if scheme == "file":
        return Output(absolute(_path_of(text, flag), flag))
    if scheme not in SCHEMES:
        raise UsageError(f"{flag}: {scheme}:// is not known; write a directory, file:///…, {_listed()}")
    bucket, _, prefix = url["rest"].partition("/")
    if "@" in bucket:
        raise UsageError(f"{flag}: a URL of an output holds no credentials; give them in the environment")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{flag}: {bucket[:80]!r} is no bucket; write {scheme}://BUCKET/PREFIX")
    return Output(None, scheme, bucket, _checked(prefix.strip("/"), flag))


def check_endpoint(text: str) -> None:
    """Raise UsageError where this is no URL at which an object store can answer."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("--store-endpoint: write the URL of an object store, such as http://127.0.0.1:9000")


def _path_of(url: str, flag: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise UsageError(f"{flag}: {url[:200]!r} names no directory of this machine; write file:///directory")
    return Path(unquote(parts.path))


def _checked(prefix: str, flag: str) -> str:
    wrong = any(part in ("", ".", "..") for part in prefix.split("/")) if prefix else False
    if wrong or any(c in "?#\\" or not c.isprintable() for c in prefix):
        raise UsageError(f"{flag}: {prefix[:200]!r} cannot be what names begin with: folders without . and .., ? and #")
    if len(prefix.encode("utf-8", "replace")) > MAX_PREFIX:
        raise UsageError(f"{flag}: what names begin with is longer than {MAX_PREFIX} bytes")
    return prefix


def _listed() -> str:
    return " or ".join(f"{scheme}://BUCKET/PREFIX" for scheme in SCHEMES)
