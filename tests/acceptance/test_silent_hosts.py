"""Hosts that are silent cost neither the others their turn nor the run its end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from acceptance.here import Here, asked, kill_all, wait_for
from servers.faulty import FaultySite
from servers.pictures import png


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Open a port at which no address of this machine answers who connects."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("0.0.0.0", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


def listed(here: Here, urls: list[str]) -> str:
    path = here.folder / "urls.txt"
    path.write_text("".join(f"{url}\n" for url in urls))
    return str(path)


def test_those_at_a_lists_end_are_not_taken_for_an_outage(here: Here) -> None:
    with FaultySite() as site, black_hole() as port:
        images = [f"/i/{n}.png" for n in range(5)]
        for n, path in enumerate(images):
            site.add(path, png(n))
        silent = [f"http://127.0.1.{n}:{port}/i.png" for n in range(10)]
        urls = listed(here, [*(site.url + path for path in images), *silent])
        flags = ("--ignore-robots", "--connect-timeout", "0.5", "--processes", "1")
        _, _, errors = here.crawl("--urls", urls, *flags, "--fail-above", "100")
        assert "the network works" in errors
        assert len(here.rows("metadata.jsonl")) == 5
        failures = here.rows("failures.jsonl")
        assert failures.keys() == set(silent)
        assert {row["outcome"] for row in failures.values()} == {"timeout"}


def test_those_that_never_answer_keep_no_connection_from_others(here: Here) -> None:
    hosts, connections = 6, 16
    with FaultySite("0.0.0.0") as site, FaultySite("0.0.0.0") as silent:
        held = [f"/h/{n}.png" for n in range(8)]
        for path in held:
            silent.hang(path)
        quick = [f"/i/{n}.png" for n in range(20)]
        for n, path in enumerate(quick):
            site.add(path, png(n))
        urls = [f"http://127.0.1.{n}:{silent.port}{path}" for n in range(hosts) for path in held]
        urls += [f"http://127.0.2.{n}:{site.port}{path}" for n in range(10) for path in quick]
        flags = ("--ignore-robots", "--processes", "1", "--connections", str(connections), "--timeout", "3")
        door = here.start("crawler", *here.job("--urls", listed(here, urls), *flags))
        wait_for(lambda: len(silent.requests) > 2 * hosts)
        assert len(asked(site)) == 10 * len(quick), "before the first of them timed out"
        kill_all(door)
