"""One request at a time on a libcurl handle: what is asked, what may come, and what came of it."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import msgspec
import pycurl

from crawler import robots as robots_txt
from crawler.access import Agents, Credentials
from crawler.answers import header_text
from crawler.coding import ACCEPTED, Decoder, decoder_of
from crawler.errors import FetchError, PrivateAddress
from crawler.guard import Guard
from crawler.images.reach import Where
from crawler.model import Kind, Task
from crawler.optout import of_answer
from crawler.outcomes import Outcome
from crawler.proxies import Proxies
from crawler.spec import Spec
from crawler.urls import host

#: Below this many bytes a second a transfer is ended after SLOW_SECONDS, or this part of its time where that is longer.
SLOW_BYTES = 1024
SLOW_SECONDS, SLOW_PART = 10, 6
#: Seconds for which libcurl remembers an address, not sixty: at each new connection it looks through all that it
#: remembers, which took most of a worker's time where a list has 100,000 hosts. Connections that are kept ask nothing.
DNS_SECONDS = 2
#: libcurl 8.23, which bounds headers to 300 KB and 5,000 lines, trailers too; 8.12 keeps trailers without end.
OLDEST_LIBCURL = 0x081700
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.ETIMEDOUT})

# libcurl's error codes (curl/curl.h); what is not named here is `protocol`.
_CODES: dict[int, str] = {
    **dict.fromkeys((3, 4), Outcome.BAD_URL),
    **dict.fromkeys((5, 97), Outcome.CONNECT),  # of a proxy
    6: Outcome.DNS,
    7: Outcome.CONNECT,
    18: Outcome.TRUNCATED,
    28: Outcome.TIMEOUT,
    **dict.fromkeys((35, 51, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91), Outcome.TLS),
    **dict.fromkeys((45, 52, 55, 56), Outcome.CONNECT),
    63: Outcome.TOO_LARGE,
}
_RETRIABLE = frozenset({Outcome.DNS, Outcome.CONNECT, Outcome.TIMEOUT, Outcome.TOO_SLOW, Outcome.TRUNCATED})


# Lines are kept by a built-in and searched once: with a callback for each, an image took 180 µs of CPU, not 154. They
# are searched in lower case, which takes a third of the time that it takes to heed no case.
_FIELD = re.compile(
    rb"\n(etag|last-modified|cache-control|expires|age|location|retry-after|content-encoding|x-robots-tag|"
    rb"tdm-reservation)[ \t]*:([^\r\n]*)"
)
_STATUS = re.compile(rb"\nHTTP/[0-9.]+ ([0-9]{3})")
_OPT_OUTS = frozenset({"x-robots-tag", "tdm-reservation"})
_LISTS = _OPT_OUTS | {"content-encoding"}


class Transfer(msgspec.Struct, eq=False):
    """One request that ended: an answer, or the error that prevented it."""

    task: Task
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = msgspec.field(default_factory=dict)  #: those of _FIELD, by lower-case name
    location: str = ""
    latency: float = 0.0
    lasted: float = 0.0  #: seconds that it took a connection
    error: FetchError | None = None


class _Opened(socket.socket):
    """A socket that libcurl takes a duplicate of; this one is closed as soon as it is let go."""

    def __del__(self) -> None:
        self.close()


def _authorities() -> str:
    """Return the file of the authorities that are trusted; it takes some time to find, and not all jobs need it."""
    import certifi

    return os.environ.get("SSL_CERT_FILE") or certifi.where()


class Handle:
    """A libcurl easy handle with what its callbacks fill, used again for one request after another."""

    def __init__(self, spec: Spec, guard: Guard, credentials: Credentials, proxies: Proxies) -> None:
        self._guard = guard
        self._credentials = credentials
        self._proxies = proxies
        self._proxy = ""
        self._obeyed = spec.obeyed
        self._agents = Agents(spec.user_agent, spec.access)
        self._verifies = True
        self._has_authorities = False
        self._certificate = ""
        self._sent: list[str] = []
        self.task: Task | None = None
        self.connected: Where | None = None  #: by this request, where it made a connection
        self._header_lines: list[bytes] = []
        self._received = 0  #: bytes of the body as they came
        self._size = 0  #: bytes that they stand for
        self._first = b""
        self._rest: BytesIO | None = None
        self._opted_out = ""
        self._decoder: Decoder | None = None
        self._unreadable: FetchError | None = None
        self._headers: dict[str, str] = {}
        self._refused = ""
        self._refused_port = 0
        self._cut = False  #: of robots.txt the beginning was kept
        self._is_robots = False
        self._most = self._most_of_images = spec.max_image_bytes
        curl = self.curl = pycurl.Curl()
        options: dict[int, Any] = {
            pycurl.NOSIGNAL: 1,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.PROXY: "",
            pycurl.NOPROXY: "",  # without it the environment would say which hosts are asked directly
            pycurl.HEADEROPT: pycurl.HEADER_SEPARATE,  # what a site may see of who we are is not for its proxy
            pycurl.USERAGENT: spec.user_agent,
            pycurl.CONNECTTIMEOUT_MS: int(spec.connect_timeout * 1000),
            pycurl.TIMEOUT_MS: int(spec.timeout * 1000),
            pycurl.LOW_SPEED_LIMIT: SLOW_BYTES,
            pycurl.LOW_SPEED_TIME: max(SLOW_SECONDS, int(spec.timeout / SLOW_PART)),
            pycurl.MAXFILESIZE_LARGE: spec.max_image_bytes,
            pycurl.ACCEPT_ENCODING: ACCEPTED,  # some servers compress SVG without being asked
            pycurl.HTTP_CONTENT_DECODING: 0,
            pycurl.BUFFERSIZE: 256 * 1024,
            pycurl.DNS_CACHE_TIMEOUT: DNS_SECONDS,
            pycurl.TCP_NODELAY: 1,
            pycurl.OPENSOCKETFUNCTION: self._open_socket,
            pycurl.HEADERFUNCTION: self._header_lines.append,
            pycurl.WRITEFUNCTION: self._write,
        }
        for option, value in options.items():
            curl.setopt(option, value)
        curl.handle = self

    def prepare(self, task: Task, referrer: str, conditions: Mapping[str, str]) -> None:
        self.task, self.connected = task, None
        self._received = self._size = 0
        self._refused = self._opted_out = ""
        self._decoder = self._unreadable = None
        self._cut = False
        if (task.kind is Kind.ROBOTS) is not self._is_robots:
            self._bound(task.kind is Kind.ROBOTS)
        self.curl.setopt(pycurl.URL, task.at)
        proxy = self._proxies.of(task.at)
        if proxy != self._proxy:
            self._proxy = proxy
            self.curl.setopt(pycurl.PROXY, proxy)
        if not self._has_authorities and (proxy or task.at.startswith("https:")):
            self._has_authorities = True
            for option in (pycurl.CAINFO, pycurl.PROXY_CAINFO):
                self.curl.setopt(option, _authorities())
        sent = [f"Referer: {referrer}"] if self._credentials.is_empty else self._signed(task.at, referrer)
        if conditions:
            sent += [f"{name}: {value}" for name, value in conditions.items()]
        if sent != self._sent:
            self._sent = sent
            self.curl.setopt(pycurl.HTTPHEADER, sent)

    def _signed(self, url: str, referrer: str) -> list[str]:
        """Return the headers of a request with what its host may see of who we are."""
        headers = {"Referer": referrer, **self._credentials.headers(url)}
        if cookie := self._credentials.cookie(url):
            headers["Cookie"] = cookie
        self._certify(self._credentials.certificate(url))
        self._verify(self._credentials.is_verified(url))
        return [f"{name}: {value}" for name, value in headers.items()]

    def _certify(self, certificate: str) -> None:
        if certificate != self._certificate:
            self._certificate = certificate
            for option in (pycurl.SSLCERT_BLOB, pycurl.SSLKEY_BLOB):
                if certificate:
                    self.curl.setopt(option, certificate.encode())
                else:
                    self.curl.unsetopt(option)

    def _verify(self, verifies: bool) -> None:
        if verifies != self._verifies:
            self._verifies = verifies
            self.curl.setopt(pycurl.SSL_VERIFYPEER, int(verifies))
            self.curl.setopt(pycurl.SSL_VERIFYHOST, 2 if verifies else 0)

    def _bound(self, robots: bool) -> None:
        """Let a body be as long as an image may be; of robots.txt the beginning is kept, however long it is."""
        self._is_robots = robots
        self._most = robots_txt.MAX_BYTES if robots else self._most_of_images
        self.curl.setopt(pycurl.MAXFILESIZE_LARGE, 0 if robots else self._most)

    def _open_socket(self, purpose: int, target: Any) -> Any:
        """Open a socket for the very address that is about to be connected, or refuse it."""
        family, kind, protocol, where = target
        allows = self._guard.allows_proxy if self._proxy else self._guard.allows
        if not allows(where[0], where[1]):
            self._refused, self._refused_port = where[0], where[1]
            return pycurl.SOCKET_BAD
        self.connected = family, where
        return _Opened(family, kind, protocol)

    def _read_headers(self) -> None:
        """Keep the header fields that are of use, and whether they say that the image is to be left alone."""
        assert self.task is not None
        text = b"\n" + b"".join(self._header_lines)
        answer = 0
        if text.count(b"\nHTTP/") > 1:
            for match in _STATUS.finditer(text):  # what is before the last one is a 1xx
                answer = match.start()
        headers: dict[str, str] = {}
        self._headers = headers
        for match in _FIELD.finditer(text.lower(), answer):
            field, said = match[1].decode(), header_text(text[match.start(2) : match.end(2)].strip())
            if field in headers and field in _LISTS:
                headers[field] += "\n" + said
            else:
                headers.setdefault(field, said)
        if not _LISTS.isdisjoint(headers):
            status = _STATUS.match(text, answer)
            self._heed(int(status[1]) if status else 0)

    def _heed(self, status: int) -> None:
        """See whether the image is to be left alone, and how its body is to be decoded."""
        assert self.task is not None
        if status in (200, 304) and self.task.kind is not Kind.ROBOTS:
            self._opted_out = of_answer(self._headers, self._agents.of(self.task.at), self._obeyed).images
        try:
            self._decoder = decoder_of(self._headers.get("content-encoding", ""), status)
        except FetchError as error:
            self._unreadable = error

    def _write(self, data: bytes) -> int | None:
        """Keep a part of the body, unless it is too much; libcurl itself counts what is not yet decoded."""
        if not self._received:
            self._read_headers()
            if self._opted_out or self._unreadable is not None:
                return -1
        self._received += len(data)
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data, self._most - self._size)
            except FetchError as error:
                self._unreadable = error
                return -1
        self._size += len(data)
        if self._size > self._most:
            self._cut = self.task is not None and self.task.kind is Kind.ROBOTS
            data = data[: self._most - self._size]
            if self._cut:
                self._keep(data)
            return -1
        self._keep(data)
        return None

    def _keep(self, data: bytes) -> None:
        if not self._first:
            self._first = data  # most bodies come in one part, which needs no copy
        elif self._rest is None:
            self._rest = BytesIO()
            self._rest.write(self._first)
            self._rest.write(data)
        else:
            self._rest.write(data)

    def answer(self) -> Transfer:
        assert self.task is not None
        curl = self.curl
        if not self._received:
            self._read_headers()
            if self._opted_out:
                return Transfer(self.task, error=self._explain(0, ""))
        headers = self._headers
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        return Transfer(
            self.task,
            status,
            self._first if self._rest is None else self._rest.getvalue(),
            headers,
            headers.get("location", "") if 300 <= status < 400 else "",
            # Below 0 where libcurl asked again, since its connection had been closed by the server.
            max(0.0, curl.getinfo(pycurl.STARTTRANSFER_TIME) - curl.getinfo(pycurl.PRETRANSFER_TIME)),
        )

    def release(self) -> None:
        """Let go of the body and the headers."""
        self._first, self._rest = b"", None
        self._header_lines.clear()

    def failure(self, code: int, message: str) -> Transfer:
        assert self.task is not None
        if self._cut:
            return self.answer()
        if not self._received:
            self._read_headers()  # the body of an image that wants to be left alone may be too long, too
        return Transfer(self.task, error=self._explain(code, message))

    def _explain(self, code: int, message: str) -> FetchError:
        assert self.task is not None
        if self._opted_out:
            return FetchError(Outcome.OPTED_OUT, self._opted_out)
        if self._unreadable is not None:
            return self._unreadable
        if self._refused and code == 7:
            name = host(self._proxy or self.task.at)
            refused = PrivateAddress(name, self._refused, own=self._guard.is_own(self._refused, self._refused_port))
            return FetchError(Outcome.PRIVATE_ADDRESS, str(refused))
        outcome = _CODES.get(code, Outcome.PROTOCOL)
        if code == 23:
            return FetchError(Outcome.TOO_LARGE, f"more than {self._most:,} bytes")
        if code == 28 and "too slow" in message and self._header_lines:  # else nothing came at all
            outcome = Outcome.TOO_SLOW
        if code in (55, 56) and ("chunk" in message or "response headers" in message):
            outcome = Outcome.PROTOCOL
        elif code in (55, 56) and self._received:
            outcome = Outcome.TRUNCATED
        connected = bool(self.curl.getinfo(pycurl.CONNECT_TIME))
        suspect = code in (5, 6) or (
            not connected
            and (code == 28 or (code == 7 and (self._proxy or self.curl.getinfo(pycurl.OS_ERRNO) in _UNREACHABLE)))
        )
        return FetchError(outcome, message, retriable=outcome in _RETRIABLE, suspect=bool(suspect))
