"""How tasks end: the exact codes, and the sets of them that the program tells apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final


class Outcome:
    """How a task ended. HTTP failures are exact: `http_404`."""

    SUCCESS: Final = "success"
    UNCHANGED: Final = "unchanged"  #: what an earlier run has of it is what it is now
    REPORTED: Final = "reported"  #: a stock client's word for success
    REPORTED_ERROR: Final = "reported_error"  #: a stock client's error that is no code of ours
    DNS: Final = "dns"
    CONNECT: Final = "connect"
    TLS: Final = "tls"
    TIMEOUT: Final = "timeout"
    TOO_SLOW: Final = "too_slow"
    PROTOCOL: Final = "protocol"  #: the peer does not speak HTTP as it should
    TOO_LARGE: Final = "too_large"
    TOO_SMALL: Final = "too_small"  #: below --min-width, --min-height, --min-bytes or --min-image-size
    TOO_MANY_REDIRECTS: Final = "too_many_redirects"
    BAD_URL: Final = "bad_url"
    NOT_AN_IMAGE: Final = "not_an_image"
    NOT_HTML: Final = "not_html"
    UNWANTED_FORMAT: Final = "unwanted_format"
    UNWANTED_SHAPE: Final = "unwanted_shape"  #: beyond --max-aspect-ratio
    TRUNCATED: Final = "truncated"
    UNDECODABLE: Final = "undecodable"  #: --verify decode: the structure is whole, the pixels are not
    WRONG_HASH: Final = "wrong_hash"  #: --verify-hash: the list says that it has other bytes
    TRANSFORM_FAILED: Final = "transform_failed"  #: it cannot be resized or encoded
    ROBOTS_DENIED: Final = "robots_denied"
    ROBOTS_UNREACHABLE: Final = "robots_unreachable"
    PRIVATE_ADDRESS: Final = "private_address"
    HOST_DOWN: Final = "host_down"
    WORKER_DIED: Final = "worker_died"
    OPTED_OUT: Final = "opted_out"  #: the site or the page says that it is not to be taken; the message has the rule
    LOGIN_REQUIRED: Final = "login_required"  #: it redirects to where people sign in
    OUT_OF_SCOPE: Final = "out_of_scope"  #: a page whose redirect left the scope
    SCRIPT_ONLY: Final = "script_only"  #: a page that names no image but runs scripts
    UNSTORABLE: Final = "unstorable"  #: the file system refuses this one name
    UNREADABLE: Final = "unreadable"  #: a list, a style sheet, a sitemap … that cannot be read
    NO_SITEMAP: Final = "no_sitemap"  #: none is where sites usually have one
    PRUNED: Final = "pruned"  #: it was gone, and its file was removed
    FORGOTTEN: Final = "forgotten"  #: its URL, its site or its content is not to be fetched any more
    INTERNAL_ERROR: Final = "internal_error"  #: a defect of ours; the log has the traceback

    @staticmethod
    def http(status: int) -> str:
        return f"http_{status}"


#: All codes but those of HTTP.
OUTCOMES: Final = frozenset(value for name, value in vars(Outcome).items() if name.isupper())
#: Outcomes by which a host asks for a pause, and all after which it is given one.
COMPLAINTS: Final = frozenset({"http_429", "http_503"})
PAUSING: Final = COMPLAINTS | {Outcome.CONNECT, Outcome.TIMEOUT}
#: Outcomes of requests to which nobody answered.
NO_CONNECTION: Final = frozenset({Outcome.DNS, Outcome.CONNECT, Outcome.TLS, Outcome.TIMEOUT})
#: Seconds; a longer Retry-After is taken as this.
MAX_RETRY_AFTER: Final = 3600.0
#: Outcomes of images that a run brought, of those whose result names a file, and all that leave one accounted for.
SAVED: Final = frozenset({Outcome.SUCCESS, Outcome.REPORTED})
KEPT: Final = frozenset({Outcome.SUCCESS, Outcome.UNCHANGED})
SUCCESSES: Final = SAVED | KEPT
#: Outcomes of pages whose links are known.
PAGES_READ: Final = frozenset({Outcome.SUCCESS, Outcome.UNCHANGED, Outcome.SCRIPT_ONLY})
#: Outcomes after which no other candidate of an image is tried: it is not to be had at all.
LEFT_ALONE: Final = frozenset({Outcome.OPTED_OUT, Outcome.FORGOTTEN})
#: Outcomes of what is not expected to come back, which is asked for no more often than every REST seconds.
MISSING: Final = frozenset({"http_404", "http_410"})
REST: Final = 7 * 86400.0

_EXACT = re.compile(r"http_[0-9]{1,4}")
_GROUP = re.compile(r"http_[1-5]xx")


def chosen(text: str) -> Callable[[str], bool]:
    """Return what tells whether an outcome is among those that `text` names: `timeout,http_404,http_5xx`.

    Names stand between commas. Raises ValueError, with what is allowed, where one is no outcome and no group of them.
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    wrong = [name for name in names if not (name in OUTCOMES or _EXACT.fullmatch(name) or _GROUP.fullmatch(name))]
    if wrong or not names:
        told = f"{wrong[0][:80]!r} is no outcome" if wrong else "no outcome is named"
        raise ValueError(f"{told}; allowed are http_404 or another status, http_4xx, http_5xx, {_listed()}")
    exact = frozenset(names)
    begins = tuple(name.removesuffix("xx") for name in names if _GROUP.fullmatch(name))
    return lambda outcome: outcome in exact or (len(outcome) == len("http_404") and outcome.startswith(begins))


def _listed() -> str:
    return ", ".join(sorted(OUTCOMES))
