"""Faults at random: processes killed, links cut for a while, machines stopped beyond the lease."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from acceptance.fleet.crew import Crew, Door
from acceptance.here import send

#: How often each kind comes, beside the others.
KILLS = {"door": 3, "broker": 3, "process": 6, "machine": 2}
#: Seconds for which links are cut: at least, at most, and most often.
SHORTEST_CUT, LONGEST_CUT, USUAL_CUT = 5.0, 90.0, 8.0
#: Leases for which a broker is gone that nobody starts again by himself, at most.
LONGEST_GONE = 2.0
#: Leases for which processes are stopped: at least and at most.
SHORTEST_STOP, LONGEST_STOP = 1.2, 4.0
#: What a door ends with that is done, one where something failed, and one that refuses its flags.
DONE, FAILED, MISUSED = 0, 1, 2


class Faults:
    """Befalls a crew until there were `kills`, every `pause` seconds or so; `cuts` links too, where it can."""

    def __init__(
        self, crew: Crew, chance: random.Random, kills: int, *, pause: float, lease: float, spread: bool
    ) -> None:
        self.injected: Counter[str] = Counter()
        self.killed = 0
        self._crew = crew
        self._chance = chance
        self._kills = kills
        self._pause = pause
        self._lease = lease
        self._spread = spread
        self._ills: dict[str, tuple[float, Callable[[], None]]] = {}  #: by machine: when it is well again, and how

    def run(self, seconds: float) -> bool:
        """Let faults happen until the run is over, for `seconds` at most; tell whether it was over by then."""
        until = time.monotonic() + seconds
        next_fault = time.monotonic() + 2 * self._pause
        while not (over := self._is_over()) and time.monotonic() < until:
            now = time.monotonic()
            self._heal(now)
            if now >= next_fault and self.killed < self._kills:
                next_fault = now + self._chance.uniform(0.2, 1.8) * self._pause
                self._befall(now)
            self._start_again()
            time.sleep(0.1)
        self._heal(float("inf"))
        return over

    def _is_over(self) -> bool:
        """Tell whether all collectors ended with the run: those that could not go on leave no ledger."""
        return all(door.code in (DONE, FAILED) for door in self._crew.collectors) and self._crew.has_ledger

    def _start_again(self) -> None:
        for door in self._crew.doors:
            assert door.code != MISUSED, door.said
            if door.code not in (None, DONE):
                door.start()

    def _heal(self, now: float) -> None:
        for machine, (until, heal) in list(self._ills.items()):
            if now >= until:
                heal()
                del self._ills[machine]

    def _befall(self, now: float) -> None:
        if self._spread and self._chance.random() < 0.15:
            self._cut(now)
        elif self._spread and self._chance.random() < 0.1:
            self._stop(now)
        else:
            self._kill(now)

    def _kill(self, now: float) -> None:
        door = self._chance.choice(self._crew.doors)
        kind = self._chance.choices(list(KILLS), list(KILLS.values()))[0]
        victims = self._broker(now) if kind == "broker" else self._victims(kind, door)
        if victims:
            send(signal.SIGKILL, victims)
            self.killed += 1
            self.injected[f"kill of a {kind}"] += 1

    def _broker(self, now: float) -> list[int]:
        """Return what is to be killed, which is started again after a while."""
        machine, victims = self._crew.broker_machine, self._crew.brokers
        if machine in self._ills:
            return []
        if machine and victims:
            gone = self._lease * self._chance.uniform(0, LONGEST_GONE)
            self._ills[machine] = now + gone, self._crew.mend_broker
        return victims

    def _victims(self, kind: str, door: Door) -> list[int]:
        if door.code is not None:
            return []
        if kind == "door":
            return door.processes[:1]
        return door.processes if kind == "machine" else [self._chance.choice(door.children or door.processes)]

    def _cut(self, now: float) -> None:
        machine = self._chance.choice(self._crew.machines)
        seconds = self._chance.triangular(SHORTEST_CUT, LONGEST_CUT, USUAL_CUT)
        if machine not in self._ills:
            self._crew.cut(machine)
            self._ills[machine] = now + seconds, lambda: self._crew.restore(machine)
            self.injected["cut"] += 1

    def _stop(self, now: float) -> None:
        machine = self._chance.choice(list(self._crew.workers))
        seconds = self._lease * self._chance.uniform(SHORTEST_STOP, LONGEST_STOP)
        if machine not in self._ills and self._crew.workers[machine].code is None:
            pause = self._crew.pause(machine)
            self._ills[machine] = now + seconds, lambda: self._crew.go_on(pause)
            self.injected["stop beyond the lease"] += 1
