"""How a person's credentials come into a job: cookie files, headers, `.netrc`, certificates, URLs."""

from __future__ import annotations

import base64
import netrc
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from msgspec.structs import replace

from crawler.access import is_for_host
from crawler.errors import UsageError
from crawler.paths import absolute
from crawler.settings import Signing
from crawler.spec import Access, Cookie
from crawler.urls import address, host, port, without_www

_HEADER = re.compile(
    r"(?:(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?)\s+)?(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(?P<value>.*)"
)
_PRINTABLE = re.compile(r"[\x21-\x3a\x3c-\x7e ]*")
#: Headers that are the program's own business.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "user-agent", "cookie", "range"})

Header = tuple[str, str, str]


def access_of(settings: Signing, sites: list[str], signed: Iterable[Header]) -> Access:
    """Return what the settings let the job's sites see; `signed` are headers that came with their URLs.

    Raises UsageError that names the flag and the file, and none of what is secret.
    """
    hosts = list(dict.fromkeys(place(url) for url in sites))
    netrc_has = _netrc(hosts) if settings.netrc else []
    headers = [*netrc_has, *signed, *(one for text in settings.header for one in headers_of(text, hosts, "--header"))]
    certificate = _read(settings.client_cert, "--client-cert") if settings.client_cert else ""
    if certificate and not ("-----BEGIN CERTIFICATE-----" in certificate and "PRIVATE KEY-----" in certificate):
        raise UsageError(f"--client-cert {settings.client_cert}: a certificate and its key are expected, both as PEM")
    return Access(
        cookies=cookies_of(settings.cookies, sites, "--cookies") if settings.cookies else (),
        headers=tuple(headers),
        certificate=certificate,
        certificate_hosts=tuple(without_www(address(url).authority) for url in sites) if certificate else (),
    )


def place(url: str) -> str:
    """Return where the credentials of a site go: to its host and port, and where it is https, by https only."""
    origin, authority = address(url)
    return origin if url.startswith("https:") else authority


def signed_with(text: str) -> tuple[str, str]:
    """Return a site's URL without user and password, and the Authorization that stands for them (RFC 7617) or `""`."""
    scheme, mark, rest = text.rpartition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    user, at, name = authority.rpartition("@")
    if not at:
        return text, ""
    return f"{scheme}{mark}{name}{rest[len(authority) :]}", _basic(*map(unquote, user.partition(":")[::2]))


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def headers_of(text: str, hosts: list[str], what: str) -> list[Header]:
    """Return what `Name: value` means for these hosts; raises UsageError that calls it `what`, and not its value."""
    match = _HEADER.fullmatch(text.strip())
    name = match["name"] if match else ""
    if match is None or name.lower() in _OURS or not re.fullmatch(r"[\x20-\x7e\t]*", match["value"]):
        raise UsageError(
            f"{what} {name or '…'}: write 'Name: value' in printable ASCII, or 'HOST Name: value' for another host "
            "than the sites'; Cookie and User-Agent have flags of their own"
        )
    if not match["host"] and not hosts:
        raise UsageError(f"{what} {name}: a list has no site that it could go to; write 'HOST {name}: value'")
    places = [_named(match["host"].lower(), hosts)] if match["host"] else hosts
    return [(where, name, match["value"].strip()) for where in places]


def _named(name: str, hosts: list[str]) -> str:
    """Return where a header goes that names its host: by https, unless it is a site that was named with http."""
    return name if name in hosts else f"https://{name}"


def _netrc(hosts: list[str]) -> list[Header]:
    path = Path.home() / ".netrc"
    try:
        known = netrc.netrc(str(path))
    except (OSError, netrc.NetrcParseError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in the format of netrc"
        raise UsageError(f"--netrc: {path} cannot be read: {why}") from error
    found = []
    for where in hosts:
        # netrc's `default` is for a program that a person watches, not for every host.
        entry = known.hosts.get(host(where if "://" in where else f"http://{where}"))
        if entry is not None:
            found.append((where, "Authorization", _basic(entry[0], entry[2] or "")))
    return found


def cookies_of(path: Path, sites: list[str], what: str) -> tuple[Cookie, ...]:
    """Return the cookies of a file, kept to these sites; raises UsageError that calls the file `what`."""
    return tuple(_kept_to(cookie, sites) for cookie in _cookies(path, what))


def _cookies(path: Path, what: str) -> tuple[Cookie, ...]:
    from http.cookiejar import LoadError, MozillaCookieJar  # slow to import, and most runs bring no cookies

    jar = MozillaCookieJar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a line that is none, which it then raises, too
            jar.load(str(absolute(path, what)), ignore_discard=True, ignore_expires=True)
    except (OSError, UnicodeDecodeError, LoadError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not in Netscape's format"
        raise UsageError(f"{what} {path} cannot be read: {why}") from error
    for cookie in jar:
        if not _PRINTABLE.fullmatch(f"{cookie.name}={cookie.value or ''}"):
            raise UsageError(f"{what} {path}: the cookie {cookie.name!r} of {cookie.domain} is not in printable ASCII")
    return tuple(
        Cookie(
            domain=cookie.domain.lstrip(".").lower(), subdomains=cookie.domain.startswith("."), path=cookie.path,
            secure=cookie.secure, expires=int(cookie.expires or 0), name=cookie.name, value=cookie.value or "",
        )
        for cookie in jar
        if not cookie.expires or not cookie.is_expired()  # browsers write 0 for those that end with the session
    )  # fmt: skip


def _kept_to(cookie: Cookie, sites: list[str]) -> Cookie:
    """Return a cookie that keeps to the ports of the sites that it is for, and to https where they were so named.

    Its file knows no ports, and old sites do not mark what they would have kept secret.
    """
    mine = [url for url in sites if is_for_host(cookie, host(url))]
    ports = {port(url) for url in mine} - {""}
    only_https = bool(mine) and all(url.startswith("https:") for url in mine)
    return replace(cookie, secure=cookie.secure or only_https, ports=tuple(sorted(ports)))


def _read(path: Path, flag: str) -> str:
    try:
        return absolute(path, flag).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{flag} {path} cannot be read: {why}") from error
