"""What an HTTP answer means for pages and images alike: pure, handed the time."""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import Raw

from crawler.dates import seconds_until
from crawler.errors import FetchError
from crawler.model import Kind, Move, RobotsFile, Settlement, Task, Verb, pack
from crawler.outcomes import MAX_RETRY_AFTER, Outcome
from crawler.robots import MAX_REDIRECTS as MAX_ROBOTS_REDIRECTS
from crawler.robots import read
from crawler.urls import address, normalise

#: Statuses that may pass (RFC 9110, section 15; RFC 6585; RFC 8470), beside all of 5xx.
_RETRIABLE = frozenset({408, 425, 429})
_SIGN_IN = re.compile(
    r"https?://(?:(?:login|signin|sso|idp|accounts?|auth)\.[^/]+/"
    r"|[^/]+/(?:[^?]*/)?(?:log-?[io]n|sign[-_]?in|wp-login|sso|saml2?|oauth2?|authenticate|servicelogin)"
    r"(?:\.[a-z]{2,5})?(?:[/?]|\Z))",
    re.I,
)


def header_text(value: bytes) -> str:
    """Decode a header's value: UTF-8 where it is, as many servers send paths, else as RFC 9110 (5.5) had it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def retriable(status: int) -> bool:
    return status in _RETRIABLE or status >= 500


def retry_after(value: str, now: float) -> float:
    """Return the seconds that a Retry-After field asks for, as seconds or as a date (RFC 9110, 10.2.3); else 0.

    At most MAX_RETRY_AFTER.
    """
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), MAX_RETRY_AFTER)
    return min(max(0.0, seconds_until(value, now)), MAX_RETRY_AFTER)


def http_error(status: int, retry: str, now: float) -> FetchError:
    """Return the error that a status other than 2xx and 3xx stands for."""
    return FetchError(
        Outcome.http(status), "", retriable=retriable(status), retry_after=retry_after(retry, now) if retry else 0.0
    )


def asks_to_sign_in(url: str) -> bool:
    """Tell whether a URL is where people sign in, by the names that such pages have."""
    return _SIGN_IN.match(url) is not None


class Redirect(NamedTuple):
    """Where a redirect leads: `here` tells that it stays at the host whose grant we have."""

    move: Move
    here: bool


def follow(task: Task, location: str, most: int) -> Redirect:
    """Return where `task` goes on.

    Raises FetchError where it may not: too many redirects, or a URL that is none.
    """
    limit = MAX_ROBOTS_REDIRECTS if task.kind is Kind.ROBOTS else most
    if task.hops >= limit:
        raise FetchError(Outcome.TOO_MANY_REDIRECTS, f"more than {limit} redirects, the last to {location[:300]}")
    target = normalise(location, task.at)
    if target is None:
        raise FetchError(Outcome.BAD_URL, f"a redirect to {location[:300]!r}")
    if task.kind is not Kind.ROBOTS and asks_to_sign_in(target) and not asks_to_sign_in(task.at):
        raise FetchError(Outcome.LOGIN_REQUIRED, f"it redirects to {target.partition('?')[0][:300]} (see --cookies)")
    return Redirect(Move(target, task.hops + 1, task.candidate), address(target) == address(task.at))


def unasked(task: Task, size: int, result: Raw) -> Settlement:
    """Return the settlement of what is unchanged as far as is known, and is not asked for."""
    return Settlement(
        number=task.number, verb=Verb.DONE, outcome=Outcome.UNCHANGED, size=size, result=result, unasked=True
    )  # fmt: skip


def failed(task: Task, error: FetchError, *, final: bool = False) -> Settlement:
    """Return the settlement of a task whose request failed."""
    if task.kind is Kind.ROBOTS:
        return robots_failed(task, error)
    return Settlement(
        number=task.number,
        verb=Verb.RETRY if error.retriable and not final else Verb.DONE,
        outcome=error.outcome,
        message=str(error)[:500],
        retry_after=error.retry_after,
        suspect=error.suspect,
    )


def robots_read(task: Task, status: int, body: bytes, agent: str, retry: str, now: float) -> Settlement:
    """Return the settlement of a robots task that was answered."""
    return Settlement(
        number=task.number,
        verb=Verb.DONE,
        outcome=Outcome.SUCCESS if status < 400 else Outcome.http(status),
        retry_after=retry_after(retry, now) if retry else 0.0,
        result=pack(read(status, body, agent)),
    )


def robots_failed(task: Task, error: FetchError) -> Settlement:
    """Return the settlement of a robots task without an answer; RFC 9309, 2.3.1.4: nothing is allowed then.

    Redirects without end count as an answer of 4xx (2.3.1.2).
    """
    answered = error.outcome in (Outcome.TOO_MANY_REDIRECTS, Outcome.BAD_URL)
    robots = RobotsFile(reachable=answered, message=f"robots.txt: {error.outcome}: {error}"[:500])
    return Settlement(
        number=task.number, verb=Verb.DONE, outcome=error.outcome, suspect=error.suspect, result=pack(robots)
    )
