"""The fixtures of the fleet: machines once, and a crew on them for each transport."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from acceptance.fleet.crew import Crew
from acceptance.fleet.networks import plan
from acceptance.fleet.transports import Manager, Redis, Transport
from acceptance.machines import NETWORK, OPEN_NETWORK, Machines
from servers.gallery import Gallery, GallerySite
from servers.redis import redis_available

PLAN = plan(NETWORK, collectors=Redis.collectors)
#: Seconds of silence after which others get what a worker holds.
LEASE = 3.0

#: Makes a crew for a site of so many images, each so many seconds late, with the flags of its collectors.
MakeCrew: TypeAlias = Callable[..., Crew]


@pytest.fixture(scope="package")
def machines() -> Iterator[Machines]:
    made = Machines(*PLAN.machines)
    yield made
    made.close()


@pytest.fixture(params=[Manager, Redis], ids=["manager", "redis"])
def transport(request: pytest.FixtureRequest, machines: Machines, tmp_path: Path) -> Iterator[Transport]:
    if request.param is Redis and not redis_available():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("redis-server is not installed")
    with request.param(PLAN, machines, tmp_path) as made:
        yield made


@pytest.fixture
def make_crew(transport: Transport, machines: Machines, tmp_path: Path) -> Iterator[MakeCrew]:
    with ExitStack() as stack:

        def make(images: int, latency: float, *flags: str) -> Crew:
            gallery = Gallery(PLAN.hosts, pages=images // 30, images=images, latency=latency)
            site = stack.enter_context(GallerySite(gallery, tmp_path / "record", machines.at(PLAN.hosts[0])))
            every = [*OPEN_NETWORK, "--lease", str(LEASE), "--timeout", "5", *flags]
            crew = Crew(tmp_path, PLAN, machines, transport, site, every)
            stack.callback(crew.close)
            return crew

        yield make
