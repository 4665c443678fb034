"""The broker over Redis, for fleets: the queue outlives every machine, and many collectors feed it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from crawler.errors import UsageError

SCHEMES = ("redis", "rediss", "unix")
#: The password, where the URL has none.
REDIS_PASSWORD_VARIABLE = "CRAWLER_REDIS_PASSWORD"


def is_redis(server: str) -> bool:
    return server.partition("://")[0] in SCHEMES and "://" in server


def shown_url(url: str) -> str:
    """Return the URL without its password."""
    parts = urlsplit(url)
    user = f"{parts.username or ''}:…@" if "@" in parts.netloc else ""
    return urlunsplit(parts._replace(netloc=user + parts.netloc.rpartition("@")[2], query="", fragment=""))


def check_url(url: str) -> str:
    """Return the URL of a Redis; raises UsageError where it can be none."""
    try:
        parts = urlsplit(url)
        valid = is_redis(url) and (parts.scheme == "unix" or bool(parts.hostname)) and parts.port != 0
        database = parts.path.strip("/")
        valid &= parts.scheme == "unix" or not database or database.isdecimal()
        valid &= "@" not in parts.path + parts.query + parts.fragment  # a password with / or # in it
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(
            "--server, or CRAWLER_SERVER: write redis://HOST:PORT/0, or rediss:// for TLS; a password with signs in it "
            f"belongs into {REDIS_PASSWORD_VARIABLE}"
        )
    return url
