"""Collector and workers on different machines: TLS that only the key opens, and a cable that is pulled out."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, is_open, page, wait_for, write_key
from acceptance.machines import OPEN_NETWORK, A, B, Machines
from acceptance.network import Impostor, Leaver, Middleman, Wiretap, tls_records
from servers.faulty import FaultySite
from servers.pictures import png

PORT = 8001
IMAGES = [f"/i/{n}.png" for n in range(480)]
HANDSHAKE, CLIENT_HELLO, ALERT = 22, 1, 21


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines(A, B)
    yield made
    made.close()


def site_at(machines: Machines, address: str) -> FaultySite:
    """Return a site on a machine: 480 images, each over a connection of its own, that take 3 seconds in all."""
    site = machines.inside(address, lambda: FaultySite(address))
    site.add("/", page(*IMAGES), "text/html")
    for n, path in enumerate(IMAGES):
        site.slow(path, png(n), 0.05, headers={"Connection": "close"})
    return site


def collect(here: Here, machines: Machines, site: FaultySite) -> subprocess.Popen[str]:
    """Start a collector on one machine, and wait until it listens."""
    arguments = here.job("--site", site.url, "--listen", f"{A}:{PORT}", "--timeout", "2", *OPEN_NETWORK)
    collector = here.start("crawler.collect", *arguments, prefix=machines.at(A))
    wait_for(lambda: machines.inside(A, lambda: is_open(PORT, A)))
    return collector


def work(
    here: Here, machines: Machines, port: int = PORT, key: Path | None = None, wait: str = "20"
) -> subprocess.Popen[str]:
    """Start a worker on the other machine, with the key copied there."""
    if key is None:
        key = here.folder / "copied-key"
        shutil.copy(here.state / "key", key)
    arguments = ["--server", f"{A}:{port}", "--key-file", str(key), "--processes", "1", "--wait", wait]
    return here.start("crawler.download", *arguments, prefix=machines.at(B))


def is_saved_whole(here: Here, site: FaultySite) -> bool:
    assert not here.rows("failures.jsonl")
    assert sorted(here.rows("metadata.jsonl")) == sorted(site.url + path for path in IMAGES)
    return here.is_clean()


def test_what_passes_between_machines_cannot_be_read(here: Here, machines: Machines) -> None:
    with site_at(machines, A) as site:
        collector = collect(here, machines, site)
        tap = machines.inside(A, lambda: Wiretap(A, PORT))
        worker = work(here, machines, tap.port)
        lines, errors = collector.communicate(timeout=40)
        assert (collector.returncode, worker.wait(10)) == (0, 0), errors
        assert f"python -m crawler.download --server {A}:{PORT} --key-file key" in errors
        assert sorted(lines.splitlines()) == sorted(f"{site.url}{path}--->success" for path in IMAGES)
        assert is_saved_whole(here, site)
    tap.close()
    assert tap.connections and len(tap.received) > 10_000
    told = (A, "--->", "broker", "exchange", "#CHALLENGE#", "#WELCOME#", *IMAGES)  # nothing so short that chance has it
    for secret in map(str.encode, told):
        assert secret not in tap.received


@pytest.mark.alone
def test_another_key_opens_nothing(here: Here, machines: Machines) -> None:
    with site_at(machines, A) as site:
        collector = collect(here, machines, site)
        began = time.monotonic()
        worker = work(here, machines, key=write_key(here.folder / "other-key"))
        _, errors = worker.communicate(timeout=20)
        assert worker.returncode == 2 and f"{A}:{PORT} has another key" in errors
        assert time.monotonic() - began < 5, "at once"
        assert machines.inside(B, anonymous_tls) == b"", "without the key's certificate nothing is said"
        assert collector.poll() is None


def anonymous_tls() -> bytes:
    """Return what the collector says to who speaks TLS without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((A, PORT), 5) as plain:
        try:
            with context.wrap_socket(plain) as inside:
                return inside.recv(4096)
        except ssl.SSLError:
            return b""


def test_a_server_without_the_key_gets_a_hello_and_nothing_else(here: Here, machines: Machines) -> None:
    impostor = machines.inside(A, lambda: Impostor(A))
    worker = work(here, machines, impostor.port, write_key(here.folder / "key"))
    _, errors = worker.communicate(timeout=20)
    impostor.close()
    assert worker.returncode == 2 and "does not speak TLS" in errors
    first, *rest = tls_records(impostor.received)
    assert first == (HANDSHAKE, CLIENT_HELLO) and all(kind == ALERT for kind, _ in rest)


def test_a_relay_without_the_key_gets_nothing(here: Here, machines: Machines) -> None:
    middleman = machines.inside(A, lambda: Middleman(A))
    worker = work(here, machines, middleman.port, write_key(here.folder / "key"))
    _, errors = worker.communicate(timeout=20)
    middleman.close()
    assert worker.returncode == 2 and "another key" in errors
    assert middleman.connections and not middleman.received
    wait_for(lambda: len(middleman.refusals) == middleman.connections)


def test_a_server_that_hangs_up_is_waited_for(here: Here, machines: Machines) -> None:
    """A tunnel whose other end is not there yet, or a broker that is killed while it greets: that is no wrong key."""
    leaver = machines.inside(A, lambda: Leaver(A))
    worker = work(here, machines, leaver.port, write_key(here.folder / "key"), wait="2")
    _, errors = worker.communicate(timeout=20)
    leaver.close()
    assert worker.returncode == 69 and "waiting for a collector" in errors and "another key" not in errors
    assert leaver.connections > 1


def test_silence_of_all_hosts_is_taken_for_an_outage_also_after_they_answered(here: Here, machines: Machines) -> None:
    others = [B.rpartition(".")[0] + f".{n}" for n in range(100, 111)]
    for other in others:
        machines.add_address(B, other)
    with machines.inside(B, lambda: FaultySite("0.0.0.0")) as site:
        paths = [f"/i/{n}.png" for n in range(40)]
        for n, path in enumerate(paths):
            site.slow(path, png(n), 0.2, headers={"Connection": "close"})
        urls = [f"http://{other}:{site.port}{path}" for path in paths for other in others]
        (here.folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
        flags = ("--connect-timeout", "0.5", "--ignore-robots", "--processes", "1", *OPEN_NETWORK)
        listed = here.job("--urls", str(here.folder / "urls.txt"), *flags)
        crawler = here.start("crawler", *listed, prefix=machines.at(A))
        wait_for(lambda: len(asked(site)) > 100)
        machines.set(B, "down")
        try:
            time.sleep(10)
        finally:
            machines.set(B, "up")
        _, errors = crawler.communicate(timeout=60)
    assert crawler.returncode == 0, errors
    assert "failed together" in errors
    assert sorted(here.rows("metadata.jsonl")) == sorted(urls)


@pytest.mark.parametrize(("place", "pulled"), [(B, A), (A, B)], ids=["to-the-collector", "to-everything"])
def test_a_cable_that_was_pulled_out_costs_nothing(here: Here, machines: Machines, place: str, pulled: str) -> None:
    """The worker loses its collector, and in the second case the site as well."""
    with site_at(machines, place) as site:
        collector, worker = collect(here, machines, site), work(here, machines)
        wait_for(lambda: len(asked(site)) > 200)
        machines.set(pulled, "down")
        try:
            time.sleep(5)
        finally:
            machines.set(pulled, "up")
        _, errors = collector.communicate(timeout=60)
        assert "480 success" in errors, errors
        assert (collector.returncode, worker.wait(20)) == (0, 0)
        assert is_saved_whole(here, site)
