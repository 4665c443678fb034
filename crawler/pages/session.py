"""Pages over requests, with what it lacks: a deadline for the whole, a cap on bytes, a guard on addresses."""

from __future__ import annotations

import errno
import http.client
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple

import requests
import urllib3

from crawler.access import Credentials
from crawler.answers import header_text
from crawler.coding import ACCEPTED, decoder_of
from crawler.errors import FetchError, PrivateAddress
from crawler.guard import Guard
from crawler.leave import ALWAYS, Leave
from crawler.outcomes import Outcome
from crawler.pages.cookies import KeptCookies
from crawler.pages.guarded import CURRENT, Deadline, GuardedAdapter, Watchdog
from crawler.proxies import Proxies
from crawler.refresh import NO_CONDITIONS
from crawler.spec import Access

NO_ACCESS = Access()
NO_PROXIES = Proxies()
#: Seconds without a byte.
READ_TIMEOUT = 20.0
_PIECE = 64 * 1024
#: Pieces that a body may come in: chunks of a few bytes each cost more than what they bring.
MAX_PIECES = 100_000
_NETWORK_DOWN = frozenset({100, 101, 113, 99, 110})  # ENETDOWN, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, ETIMEDOUT
_NO_ROUTE = frozenset({errno.ENETDOWN, errno.ENETUNREACH})
#: Seconds for which a page waits for this machine's own network.
NO_ROUTE_PATIENCE = 15.0


class Page(NamedTuple):
    """An answer: its status, headers (lower-case names), and body as decoded from transfer and content codings."""

    status: int
    headers: dict[str, str]
    body: bytes


class CertificateFile:
    """A client certificate as a file, which is all that requests takes; it ends with the process."""

    def __init__(self) -> None:
        self._file: Any = None
        self._lock = threading.Lock()

    def of(self, text: str) -> str | None:
        with self._lock:
            return self._of(text)

    def _of(self, text: str) -> str | None:
        if not text:
            return None
        if self._file is None:
            file = tempfile.NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115 — as long as we live; mode 0600
            file.write(text)
            file.flush()
            self._file = file
        return str(self._file.name)


class _Session(requests.Session):
    """Leaves redirects to us: resolving one that is no URL would raise where its answer is read."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class PageSession:
    """Fetches pages from any thread; never follows redirects, uses no proxies but those of `proxies`."""

    def __init__(
        self,
        guard: Guard,
        user_agent: str,
        connect_timeout: float,
        connections: int = 16,
        access: Access = NO_ACCESS,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._session = _Session()
        self._session.trust_env = False
        self._session.headers.update(
            {
                "User-Agent": user_agent,
                "Accept": "text/html,application/xhtml+xml,*/*;q=0.5",
                "Accept-Encoding": ACCEPTED,
            }
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, GuardedAdapter(guard, connections))
        self._credentials = Credentials(access)
        if access.unverified:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # a person asked for it
        self._proxies = proxies
        self._certificates = CertificateFile()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # ours keeps them by host
        self._kept = KeptCookies()
        self._connect_timeout = connect_timeout
        self._watchdog = Watchdog()

    def _headers(self, url: str, conditions: Mapping[str, str]) -> dict[str, str]:
        headers = {**conditions, **self._credentials.headers(url)}
        own = self._credentials.cookie(url)
        if cookie := "; ".join(filter(None, (own, self._kept.cookie(url, own)))):
            headers["Cookie"] = cookie
        return headers

    def get(
        self,
        url: str,
        seconds: float,
        max_bytes: int,
        accepts: Callable[[str], bool],
        *,
        cut: bool = False,
        leave: Leave = ALWAYS,
        conditions: Mapping[str, str] = NO_CONDITIONS,
    ) -> Page:
        """Return the answer of `url`, within `seconds` and `max_bytes` (longer ones are `cut`, or fail).

        The body is read where its status is no redirect and `accepts` says yes to its Content-Type. Where this machine
        has no way into the network, the request is made once it has again, but for NO_ROUTE_PATIENCE at most. With
        `conditions` (header fields), the answer may be 304 without a body.

        Raises FetchError, and LeaseLapsed where `leave` is over before the answer is whole.
        """
        until = time.monotonic() + min(NO_ROUTE_PATIENCE, seconds / 2)
        while True:
            deadline = Deadline(seconds, max_bytes)
            try:
                with leave.request(deadline.strike):
                    return self._ask(url, deadline, accepts, cut, conditions)
            except FetchError as error:
                if not error.no_route or time.monotonic() > until:
                    raise
            time.sleep(0.5)

    def _ask(
        self, url: str, deadline: Deadline, accepts: Callable[[str], bool], cut: bool, conditions: Mapping[str, str]
    ) -> Page:
        CURRENT.deadline = deadline
        proxy = self._proxies.of(url)
        self._watchdog.watch(deadline)
        try:
            with self._session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(self._connect_timeout, READ_TIMEOUT),
                headers=self._headers(url, conditions),
                proxies={"http": proxy, "https": proxy} if proxy else None,
                verify=self._credentials.is_verified(url),
                cert=self._certificates.of(self._credentials.certificate(url)),
            ) as response:
                headers = {
                    name.lower(): header_text(value.encode("latin-1")) for name, value in response.headers.items()
                }
                self._kept.keep(url, response.cookies)
                fields = response.raw.headers.getlist("x-robots-tag")
                if len(fields) > 1:  # each is read by itself: an agent's name holds to the end of its field
                    headers["x-robots-tag"] = "\n".join(fields)
                if response.status_code == 304 and "transfer-encoding" not in headers:
                    response.raw.drain_conn()  # of a body that it cannot have, so that its connection is used again
                wanted = not 300 <= response.status_code < 400 and accepts(headers.get("content-type", ""))
                body = _read(response, deadline, cut) if wanted else b""
                return Page(response.status_code, headers, body)
        except FetchError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, PrivateAddress, OSError, ValueError) as error:
            raise explain(error, deadline.struck, deadline.seconds, proxied=bool(proxy)) from error
        finally:
            deadline.over = True
            deadline.socket = None


def _read(response: requests.Response, deadline: Deadline, cut: bool) -> bytes:
    body, received, pieces, max_bytes = bytearray(), 0, 0, deadline.max_bytes
    decoder = decoder_of(response.headers.get("Content-Encoding", ""), response.status_code)
    while piece := response.raw.read1(_PIECE, decode_content=False):
        received, pieces = received + len(piece), pieces + 1
        body += piece if decoder is None else decoder.decode(piece, max_bytes - len(body))
        if deadline.struck:
            raise TimeoutError("the deadline is over")
        if len(body) > max_bytes:
            if cut:
                return bytes(body[:max_bytes])
            raise FetchError(Outcome.TOO_LARGE, f"more than {max_bytes} bytes")
        if pieces > MAX_PIECES:
            raise FetchError(Outcome.PROTOCOL, f"it comes in more than {MAX_PIECES:,} pieces")
    if deadline.struck:
        raise TimeoutError("the deadline is over")
    announced = "" if "Transfer-Encoding" in response.headers else response.headers.get("Content-Length", "")
    if announced.isdecimal() and received < int(announced):
        raise FetchError(Outcome.TRUNCATED, f"{received} of {announced} bytes", retriable=True)
    return bytes(body)


def explain(error: Exception, struck: bool, seconds: float, *, proxied: bool = False) -> FetchError:
    """Return what an error of requests, urllib3 or a socket means for a page."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(chain) < 10:
        chain.append(link)
        reason = getattr(link, "reason", None)
        inner = link.args[0] if link.args and isinstance(link.args[0], BaseException) else None
        link = reason if isinstance(reason, BaseException) else inner or link.__cause__ or link.__context__
    for kind, outcome in _MEANINGS:
        found = next((e for e in chain if isinstance(e, kind)), None)
        if struck and outcome != Outcome.PRIVATE_ADDRESS:
            return FetchError(Outcome.TIMEOUT, f"not whole after {seconds:g} s", retriable=True)
        if found is not None:
            passing = outcome in (Outcome.CONNECT, Outcome.TIMEOUT, Outcome.TRUNCATED)
            number = next((e.errno for e in chain if isinstance(e, OSError) and isinstance(e.errno, int)), 0)
            again = outcome == Outcome.DNS and number == socket.EAI_AGAIN
            suspect = again or isinstance(found, requests.ConnectTimeout) or number in _NETWORK_DOWN
            if proxied:  # none of the site's doing where not even the proxy is reached
                suspect |= any(isinstance(e, urllib3.exceptions.NewConnectionError) for e in chain)
            failure = FetchError(outcome, str(found)[:300], retriable=passing or again, suspect=suspect)
            failure.no_route = number in _NO_ROUTE and not proxied
            return failure
    return FetchError(Outcome.PROTOCOL, str(error)[:300])


_MEANINGS: tuple[tuple[type[BaseException], str], ...] = (
    (PrivateAddress, Outcome.PRIVATE_ADDRESS),
    (socket.gaierror, Outcome.DNS),
    (urllib3.exceptions.NameResolutionError, Outcome.DNS),
    (requests.exceptions.SSLError, Outcome.TLS),
    (urllib3.exceptions.SSLError, Outcome.TLS),
    (requests.exceptions.InvalidURL, Outcome.BAD_URL),
    (requests.exceptions.MissingSchema, Outcome.BAD_URL),
    (urllib3.exceptions.LocationParseError, Outcome.BAD_URL),
    (urllib3.exceptions.NewConnectionError, Outcome.CONNECT),
    (requests.exceptions.Timeout, Outcome.TIMEOUT),
    (urllib3.exceptions.TimeoutError, Outcome.TIMEOUT),
    (TimeoutError, Outcome.TIMEOUT),
    (http.client.IncompleteRead, Outcome.TRUNCATED),
    (http.client.RemoteDisconnected, Outcome.CONNECT),
    (http.client.HTTPException, Outcome.PROTOCOL),
    (urllib3.exceptions.DecodeError, Outcome.PROTOCOL),
    (requests.exceptions.ChunkedEncodingError, Outcome.TRUNCATED),
    (urllib3.exceptions.ProtocolError, Outcome.CONNECT),
    (requests.exceptions.ConnectionError, Outcome.CONNECT),
    (requests.RequestException, Outcome.PROTOCOL),
    (OSError, Outcome.CONNECT),
)
