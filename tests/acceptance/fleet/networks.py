"""Who is where in a fleet, and the networks that it may be on: that of namespaces, or loopback for who is not root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from acceptance.network import Relay

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The addresses of a fleet: machines, and the hosts of the site, which are one machine."""

    hosts: tuple[str, ...]
    collectors: tuple[str, ...]
    redis: str
    workers: tuple[str, ...]

    @property
    def machines(self) -> tuple[str, ...]:
        return (self.hosts[0], *self.collectors, self.redis, *self.workers)


def plan(network: str, *, hosts: int = 1, collectors: int = 1, workers: int = 3) -> Plan:
    """Return a plan in a network such as `10.177.66.0/24`."""
    start = network.rpartition(".")[0]
    return Plan(
        hosts=tuple(f"{start}.{100 + number}" for number in range(hosts)),
        collectors=tuple(f"{start}.{10 + number}" for number in range(collectors)),
        redis=f"{start}.2",
        workers=tuple(f"{start}.{20 + number}" for number in range(workers)),
    )


class Network(Protocol):
    """What a fleet asks of its network."""

    def close(self) -> None: ...

    def at(self, address: str) -> tuple[str, ...]:
        """Return the command that runs another on a machine."""

    def set(self, address: str, state: str) -> None:
        """Connect a machine ("up"), or cut it off ("down")."""

    def inside(self, address: str, make: Callable[[], T]) -> T:
        """Call `make` on a machine."""


class Loopback:
    """Addresses of this machine; who is to be cut off from another reaches it by a relay, which is held then."""

    def __init__(self) -> None:
        self._relays: list[tuple[frozenset[str], Relay]] = []

    def close(self) -> None:
        for _, relay in self._relays:
            relay.go_on()
            relay.close()

    def at(self, address: str) -> tuple[str, ...]:
        return ()

    def set(self, address: str, state: str) -> None:
        for ends, relay in self._relays:
            if address in ends:
                (relay.go_on if state == "up" else relay.hold)()

    def detour(self, address: str, target: tuple[str, int]) -> tuple[str, int]:
        """Return where a machine is to find what another serves at `target`, so that both can be cut off."""
        relay = Relay(address, target)
        self._relays.append((frozenset({address, target[0]}), relay))
        return address, relay.port

    def inside(self, address: str, make: Callable[[], T]) -> T:
        return make()
