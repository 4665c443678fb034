"""Telling our own network's failure from that of hosts: pure, handed the time."""

from __future__ import annotations

#: This many hosts without an answer, and no answer from any other in between, are our own network's fault.
HOSTS = 8
#: Seconds between two looks whether the network is back.
PROBE_EVERY = 5.0
#: After this many seconds without any answer it is taken to be the hosts after all.
GIVE_UP = 1800.0
#: Seconds for which silence is the hosts' own after a worker has found that its network works.
TRUST = 60.0


class Outage:
    """Open while many unrelated hosts fail together; failures meanwhile burn no attempts."""

    def __init__(self) -> None:
        self._silent: set[str] = set()
        self._since = 0.0
        self._given_up = False
        self._works_until = 0.0

    @property
    def suspected(self) -> bool:
        return bool(self._since)

    def failed(self, authority: str, now: float) -> None:
        """Take a failure that may be our own network's."""
        if self._given_up or self._since or now < self._works_until:
            return
        self._silent.add(authority)
        if len(self._silent) >= HOSTS:
            self._since = now

    def answered(self) -> None:
        """Take any answer of any host, a refused connection too."""
        self._silent.clear()
        self._since = 0.0
        self._given_up = False

    def dismiss(self, now: float) -> None:
        """Take a worker's word that its network works: it connected to hosts that had answered."""
        self._silent.clear()
        self._since = 0.0
        self._works_until = now + TRUST

    def check(self, now: float) -> bool:
        """Tell whether the network is taken to be down at `now`."""
        if self._since and now - self._since > GIVE_UP:
            self._since, self._given_up = 0.0, True
        return self.suspected

    def notice(self) -> str:
        return (
            f"{HOSTS} unrelated hosts failed together: the network or resolver here seems to be down; "
            "waiting, no attempts are counted"
        )
