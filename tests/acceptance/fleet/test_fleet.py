"""Whatever befalls the links and processes of a fleet, its ledger is exact, and the site is asked politely."""

from __future__ import annotations

import json
import signal
import time

from acceptance.fleet.conftest import LEASE, PLAN, MakeCrew
from acceptance.fleet.crew import JOB, Crew
from acceptance.fleet.judging import Found
from acceptance.fleet.transports import Transport
from acceptance.here import send
from acceptance.machines import Machines
from acceptance.network import Relay

#: Every image once, and nothing else.
EXACT = Found(lost=0, double=0, partial=0, left_over=0, failed=0)
#: What a worker ends with whose collector is gone.
LOST = 69
MOST = 6
DELAY = 0.2
POLITE = ("--requests-per-host", str(MOST))


def ends_well(crew: Crew, delay: float = 0.0, late: tuple[str, ...] = ()) -> None:
    """Whoever was cut off from the others may be `late`: the run may be over when it is back."""
    codes = {door.machine: code for door, code in zip(crew.doors, crew.ends(), strict=True)}
    assert {codes.pop(machine, 0) for machine in late} <= {0, LOST}
    assert set(codes.values()) == {0}, [door.said for door in crew.doors]
    assert crew.judge() == EXACT
    manners = crew.manners(MOST, delay)
    assert (manners.too_many, manners.too_close) == (0, 0), manners


def start(crew: Crew) -> None:
    crew.collect()
    for machine in PLAN.workers:
        crew.work(machine)


def test_machines_share_a_crawl(make_crew: MakeCrew) -> None:
    crew = make_crew(720, 0.05, *POLITE)  # enough for all to come, however slowly they start
    start(crew)
    ends_well(crew)
    rows = [json.loads(line) for line in (crew.output / JOB / "metadata.jsonl").read_text().splitlines()]
    by_client = {one.client for one in crew.asked if one.path.startswith("/i/")}
    assert by_client == set(PLAN.workers)
    assert len({row["worker"].rpartition("-")[0] for row in rows}) == len(PLAN.workers)


def test_links_that_are_cut_briefly_and_beyond_the_lease(make_crew: MakeCrew) -> None:
    crew = make_crew(420, 0.15, *POLITE)  # enough for all to be back, however long their network takes
    start(crew)
    worker, collector = PLAN.workers[0], PLAN.collectors[0]
    for fetched, machine, leases in ((20, worker, 0.3), (40, worker, 1.3), (60, collector, 0.3), (80, collector, 1.3)):
        crew.fetched(fetched)
        crew.cut(machine)
        try:
            time.sleep(leases * LEASE)
        finally:
            crew.restore(machine)
    assert crew.collectors[0].code is None
    ends_well(crew, late=(worker,))


def test_workers_that_are_killed_and_stopped_beyond_the_lease(make_crew: MakeCrew) -> None:
    crew = make_crew(210, 0.15, *POLITE)
    start(crew)
    killed, stopped, _ = PLAN.workers
    crew.fetched(20)
    pause = crew.pause(stopped)
    crew.workers[killed].kill()
    time.sleep(1.3 * LEASE)
    crew.go_on(pause)
    crew.work(killed)
    assert crew.collectors[0].code is None
    ends_well(crew)


def test_a_collector_that_is_killed(make_crew: MakeCrew) -> None:
    crew = make_crew(120, 0.1, *POLITE)
    start(crew)
    crew.fetched(20)
    crew.collectors[0].kill()
    crew.collectors[0].start()
    ends_well(crew)


def test_a_machine_that_does_not_hear_the_broker_beyond_the_lease(
    make_crew: MakeCrew, machines: Machines, transport: Transport
) -> None:
    """It still reaches the site: what it asks there must be over before others get what it held."""
    crew = make_crew(45, 1.5, *POLITE)
    deaf, (broker, _) = PLAN.workers[0], transport.target
    relay = machines.inside(broker, lambda: Relay(broker, transport.target, delay=0.05))
    transport.detours[deaf] = broker, relay.port
    start(crew)
    crew.fetched(12)
    relay.hold()
    time.sleep(1.7 * LEASE)
    relay.go_on()
    assert crew.collectors[0].code is None
    ends_well(crew, late=(deaf,))
    relay.close()


def test_a_delay_is_kept_whoever_is_killed(make_crew: MakeCrew) -> None:
    crew = make_crew(30, 0.0, "--delay", str(DELAY))
    start(crew)
    crew.fetched(5)
    send(signal.SIGKILL, crew.brokers)
    time.sleep(LEASE / 3)
    crew.mend_broker()
    crew.fetched(10)
    send(signal.SIGKILL, crew.workers[PLAN.workers[0]].children)
    ends_well(crew, delay=DELAY)
