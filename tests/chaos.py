"""Faults at random moments, then ledger against files against the site's own record: `python tests/chaos.py`.

Crawls a site of distinct JPEGs on several hosts, with workers on three machines (network namespaces; addresses of
loopback for who is not root), while processes are killed, links cut and machines stopped, as a printed seed says.
Prints what was lost, stored twice, partial or left over, how the site was asked, and the faults; exits with 1 where
anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from acceptance.fleet.crew import Crew
from acceptance.fleet.faults import Faults
from acceptance.fleet.networks import Loopback, plan
from acceptance.fleet.transports import Here, Manager, Redis, Transport
from acceptance.machines import NETWORK, Machines
from servers.gallery import Gallery, GallerySite

TRANSPORTS: dict[str, type[Transport]] = {"here": Here, "manager": Manager, "redis": Redis}
LOOPBACK = "127.0.0.0/8"
#: Download processes on the machines of workers.
PROCESSES = (3, 3, 2)
HOSTS = 8
EACH_PAGE = 100
#: Seconds that workers have to end after their collector.
LAST = 20.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=TRANSPORTS, default="manager")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--list", action="store_true", help="the images come from a list, not from pages")
    parser.add_argument("--shards", action="store_true", help="the images go into shards of 300")
    parser.add_argument("--kills", type=int, default=50, help="kills at most; cuts and stops come beside them")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between faults, about")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--requests-per-host", type=int, default=4)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds that the site takes to answer")
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=3600.0, help="at most")
    parser.add_argument("--work", type=Path, help="an empty directory for all of it, which is kept")
    return parser.parse_args()


def make_crew(args: argparse.Namespace, folder: Path, stack: ExitStack) -> Crew:
    is_root = os.geteuid() == 0
    opened = NETWORK if is_root else LOOPBACK
    made = TRANSPORTS[args.transport]
    where = plan(opened, hosts=HOSTS, collectors=made.collectors)
    network = Machines(*where.machines) if is_root else Loopback()
    stack.callback(network.close)
    if isinstance(network, Machines):
        for host in where.hosts[1:]:
            network.add_address(where.hosts[0], host)
    pages = max(1, args.images // EACH_PAGE)
    gallery = Gallery(where.hosts, pages, args.images, latency=args.latency, port=8080)
    site = stack.enter_context(GallerySite(gallery, folder / "record", network.at(where.hosts[0])))
    transport = stack.enter_context(made(where, network, folder))
    if isinstance(network, Loopback) and transport.is_spread:
        others = where.workers if not transport.machine else (*where.collectors, *where.workers)
        transport.detours = {machine: network.detour(machine, transport.target) for machine in others}
    flags = ["--allow-net", opened, "--lease", str(args.lease), "--timeout", "10", "--max-alike", "0"]
    flags += ["--requests-per-host", str(args.requests_per_host), "--delay", str(args.delay)]
    flags += ["--store", "shards", "--shard-samples", "300", "--shard-seconds", "15"] if args.shards else []
    crew = Crew(folder, where, network, transport, site, flags, write_list(gallery, folder) if args.list else None)
    stack.callback(crew.close)
    crew.collect()
    if transport.is_spread:
        for machine, processes in zip(where.workers, PROCESSES, strict=True):
            crew.work(machine, processes, wait=600)
    return crew


def write_list(gallery: Gallery, folder: Path) -> Path:
    urls = folder / "urls.txt"
    urls.write_text("".join(f"{gallery.image(number)}\n" for number in range(gallery.images)))
    return urls


def judge(crew: Crew, args: argparse.Namespace) -> bool:
    """Print what came of it, and tell whether all is well."""
    found, manners = crew.judge(), crew.manners(args.requests_per_host, args.delay)
    print(", ".join(f"{number} {what.replace('_', ' ')}" for what, number in asdict(found).items()))
    print(f"{manners.requests} requests, {manners.most_at_once} at a time; {manners.apart} of stopped processes")
    print(f"{manners.too_many} too many at a time, {manners.too_close} too close; least gap {manners.least_gap:.3f} s")
    return not any(asdict(found).values()) and not manners.too_many and not manners.too_close


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is removed all the same
    print(f"seed {args.seed}, {args.images} images, {args.transport}", flush=True)
    with ExitStack() as stack:
        folder = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        crew = make_crew(args, folder, stack)
        chance, spread = random.Random(args.seed), bool(crew.workers)
        faults = Faults(crew, chance, args.kills, pause=args.pause, lease=args.lease, spread=spread)
        began = time.monotonic()
        over = faults.run(args.seconds)
        print(f"{'over' if over else 'NOT OVER'} after {time.monotonic() - began:.0f} s, {faults.killed} kills")
        print(", ".join(f"{number} {kind}" for kind, number in sorted(faults.injected.items())))
        if not over:
            return 1
        crew.leave(LAST)
        return int(not judge(crew, args))


if __name__ == "__main__":
    sys.exit(main())
