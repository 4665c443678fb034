"""The errors of the program, one tree.

CrawlerError
├── UsageError              wrong flags, configuration, key, version: exit 2
│   ├── WrongKey
│   ├── WrongVersion
│   └── NotShared           the output directory of the collector is not seen here
├── AlreadyRunning          another process holds the job's lock: exit 75
├── BrokerUnreachable       it may come back: wait and try again
├── WireError               a peer sent what is not plain data, or too much of it
├── StateError              the job's state cannot be used
├── StoreError              nothing can be stored now: full or read-only
│   ├── StoreRefused        as we come, nothing can be: credentials, bucket: exit 2
│   └── Unstorable          this one name cannot be stored
├── PrivateAddress          the address about to be connected is not public, or our own broker's
├── FetchError              a page could not be fetched
├── ChildDied               a process that works for us ended in the middle of it
├── LeaseLapsed             others may have the task: it goes back
└── BadImage                bytes that are no whole image
    ├── NotAnImage
    ├── Truncated
    └── Undecodable         its structure is whole, its pixels are not
"""

from __future__ import annotations


class CrawlerError(Exception):
    """What happened, to which URL or file, and what the user can do."""

    exit_code = 1


class UsageError(CrawlerError):
    exit_code = 2


class WrongKey(UsageError):
    pass


class WrongVersion(UsageError):
    pass


class NotShared(UsageError):
    pass


class AlreadyRunning(CrawlerError):
    exit_code = 75


class BrokerUnreachable(CrawlerError):
    exit_code = 69  # EX_UNAVAILABLE of sysexits.h, as 75 is EX_TEMPFAIL


class WireError(CrawlerError):
    pass


class StateError(CrawlerError):
    exit_code = 2


class StoreError(CrawlerError):
    pass


class StoreRefused(StoreError):
    exit_code = 2


class Unstorable(StoreError):
    pass


class PrivateAddress(CrawlerError):
    def __init__(self, host: str, address: str, *, own: bool = False) -> None:
        super().__init__(
            f"{host} is at {address}, where our own broker listens"
            if own
            else f"{host} is at {address}, which is not a public address; to allow it: --allow-net {address}/"
            f"{128 if ':' in address else 32}"
        )
        self.address = address


class FetchError(CrawlerError):
    """A request that brought no usable answer.

    `retriable` tells that it may pass; `suspect` that it may be our own network's failure.
    """

    def __init__(
        self, outcome: str, message: str, *, retriable: bool = False, retry_after: float = 0.0, suspect: bool = False
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.retriable = retriable
        self.retry_after = retry_after
        self.suspect = suspect
        self.no_route = False  #: it never left this machine, whose network is gone


class ChildDied(CrawlerError):
    pass


class LeaseLapsed(CrawlerError):
    pass


class BadImage(CrawlerError):
    pass


class NotAnImage(BadImage):
    pass


class Truncated(BadImage):
    pass


class Undecodable(BadImage):
    pass
