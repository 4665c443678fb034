"""What object stores say when they do not do what is asked, in our words: which place, why, what a person can do.

Their own texts are long, and may hold what is signed with a secret; of them only the code and the message are told.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from crawler.errors import StoreError, StoreRefused

#: What obstore raises; it uses some of Python's own errors, too.
FAILURES = (BaseError, OSError, ValueError, NotImplementedError)
_CODE, _MESSAGE = re.compile(r"<Code>(\w+)</Code>"), re.compile(r"<Message>([^<]{1,300})")
_STATUS = re.compile(r"status code: (\d{3})([A-Za-z ]*)")
_CAUSE = re.compile(r'\b(?:message|error): "([^"]{1,200})"')
# With spaces, or where an image's name cannot stand: that is in these texts, too.
_UNKNOWN_SELF = re.compile(
    r"Missing (?:AccessKeyId|SecretAccessKey)|//169\.254\.|//[^/\s]+/latest/(?:api|meta-data)/|token request|"
    r"Account must be"
)
_SECRET = re.compile(r"(AWS|AZURE|GOOGLE)_.*(KEY|SECRET|TOKEN)")
NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_WHO_WE_ARE = frozenset(
    {"AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed", "TokenRefreshRequired"}
)
#: Statuses that obstore does not tell from others where it lists.
_DENIED = frozenset({"401", "403"})
#: What S3 says to those who put the same object at the same time, when it has not decided for one.
UNDECIDED = frozenset({"ConditionalRequestConflict", "OperationAborted"})
#: Statuses that are not the fault of what was sent, though they begin with 4.
_MAY_PASS = frozenset({"408", "425", "429"})
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}


@contextlib.contextmanager
def told(url: str) -> Iterator[None]:
    """Tell what goes wrong in our words; the cause stays untold, since its text may hold what is signed."""
    try:
        yield
    except FAILURES as error:
        raise trouble(error, url) from None


def code_of(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def status_of(error: Exception) -> str:
    found = _STATUS.search(str(error))
    return found[1] if found else ""


def blames_what_was_sent(error: Exception) -> bool:
    """Tell whether it is the very object that the store may not take, where it takes others."""
    status = status_of(error)
    return status.startswith("4") and status not in _MAY_PASS and not isinstance(trouble(error, ""), StoreRefused)


def may_pass(error: Exception) -> bool:
    """Tell whether the same request may go well in a moment."""
    refused = isinstance(error, ValueError) or isinstance(trouble(error, ""), StoreRefused)
    return not refused and not blames_what_was_sent(error)


def trouble(error: Exception, url: str) -> StoreError:
    """Return what `error` means for the place at `url`."""
    text, code, scheme = str(error), code_of(error), url.partition("://")[0]
    variables = CREDENTIALS.get(scheme, "the credentials of the environment")
    if code in NO_BUCKET or (not code and isinstance(error, FileNotFoundError)):
        return StoreRefused(f"{url}: there is no such bucket: make it, or name another with --output")
    if _UNKNOWN_SELF.search(text):
        return StoreRefused(f"{url}: no credentials were found in the environment; set {variables}")
    if "redirect without LOCATION" in text:
        return StoreRefused(f"{url}: the bucket is in another region: name it with AWS_REGION")
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError) or status_of(error) in _DENIED
    if denied or code in _WHO_WE_ARE:
        return StoreRefused(f"{url}: {_why(text, code)}; check {variables}, and what they may do there")
    return StoreError(f"{url}: {_why(text, code)}")


def _why(text: str, code: str) -> str:
    """Return the reason in an error's text, without any secret of the environment."""
    if message := _MESSAGE.search(text):
        why = f"{code}: {message[1].strip()}"
    elif status := _STATUS.search(text):
        why = f"it answered {status[1]}{status[2].rstrip()}"
    elif cause := _CAUSE.search(text):
        why = cause[1]
    elif "TimedOut" in text:
        why = "no answer in time"
    else:
        why = text.partition("\n")[0].rpartition(" - ")[2][:200]
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.match(name):
            why = why.replace(value, "…")
    return why
