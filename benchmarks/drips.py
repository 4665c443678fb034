"""What servers that drip cost the others: the same good images alone, and beside 50 that send a byte a second.

    python benchmarks/drips.py [--rounds 7] [--latency 0.05]

The two alternate; each round has an engine and connections of its own. The median of the ratios is what is lost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

from crawler.guard import Guard  # noqa: E402
from crawler.images.engine import Engine  # noqa: E402
from crawler.images.transfer import Transfer  # noqa: E402
from crawler.model import ImageDetail, Kind, Task, pack  # noqa: E402
from crawler.spec import Spec  # noqa: E402
from servers.dripping import Dripping  # noqa: E402

#: Images, servers that drip, and connections of a worker (the default).
GOOD, DRIPS, CONNECTIONS = 1000, 50, 64
#: Seconds that drips run before the good ones begin.
BEFORE = 3.0


def images_a_second(good: Sequence[str], drips: Sequence[str]) -> float:
    """Return how fast the good images come while the drips take their connections."""
    engine = Engine(CONNECTIONS, Spec(job="drips", user_agent="crawler/1.0"), Guard(("127.0.0.0/8",)))
    for number, url in enumerate(drips):
        engine.start(Task(number, Kind.IMAGE, url, url, pack(ImageDetail())), "")
    until = time.perf_counter() + BEFORE
    while time.perf_counter() < until:
        assert not engine.wait(0.1), "a drip ended"
    waiting, ended, began = list(good), list[Transfer](), time.perf_counter()
    while len(ended) < len(good):
        while waiting and engine.free:
            url = waiting.pop()
            engine.start(Task(DRIPS + len(waiting), Kind.IMAGE, url, url, pack(ImageDetail())), "")
        ended += [transfer for transfer in engine.wait(0.1) if transfer.task.url not in drips]
    seconds = time.perf_counter() - began
    engine.close()
    assert all(transfer.error is None for transfer in ended)
    return len(good) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the good server takes to answer")
    settings = parser.parse_args()
    rates = []
    with Dripping(DRIPS, settings.latency) as servers:
        for _ in range(settings.rounds):
            rates.append((images_a_second(servers.good(GOOD), ()), images_a_second(servers.good(GOOD), servers.drips)))
    alone, beside = (statistics.median(each) for each in zip(*rates, strict=True))
    lost = 1 - statistics.median(with_drips / without for without, with_drips in rates)
    print(f"{alone:,.0f} images/s alone, {beside:,.0f} beside {DRIPS} that drip: {lost:.1%} lost")


if __name__ == "__main__":
    main()
