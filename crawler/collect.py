"""`python -m crawler.collect --site URL`: scrape pages, host the manager for workers, print what became of each URL."""

from __future__ import annotations

import logging
import shlex
import socket
import sys

from crawler.__main__ import conduct
from crawler.brokers.client import ServerAddress, parse_server
from crawler.brokers.connection import is_loopback
from crawler.building import KEY_NAME, local_key
from crawler.door import enter
from crawler.errors import UsageError
from crawler.settings import CollectSettings

log = logging.getLogger(__name__)

ABOUT = "Scrape sites for image URLs, serve them to download workers, and print what became of each."


def _numeric(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError as error:
        raise UsageError(f"--listen: the name {host} is not known on this machine") from error


def reachable(listen: ServerAddress, advertise: str) -> str:
    """Return the address by which workers of other machines reach this one."""
    if advertise:
        return advertise
    if listen.host not in ("0.0.0.0", "::"):
        return str(listen)
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing; asks the system which address it would use
        return f"{probe.getsockname()[0]}:{listen.port}"
    except OSError:
        return f"{socket.gethostname()}:{listen.port}"
    finally:
        probe.close()


def announce(settings: CollectSettings, listen: ServerAddress) -> None:
    """Print the very line to run on a worker, and what it needs."""
    local_key(settings.key_file, settings.state_directory)
    if is_loopback(_numeric(listen.host)):
        log.info("workers of this machine: python -m crawler.download --server %s", listen)
        return
    key = settings.key_file or settings.state_directory / KEY_NAME
    where = reachable(listen, settings.advertise)
    flags = " --unencrypted" if settings.unencrypted else ""
    print(
        f"On each worker, with {settings.output.absolute()} mounted and the key file copied (mode 600):\n"
        f"  python -m crawler.download --server {where} --key-file {shlex.quote(key.name)}{flags}\n"
        f"The key file here is {key}",
        file=sys.stderr,
    )
    if settings.unencrypted:
        log.warning("--unencrypted: who sees the network's packets reads all URLs, and can forge tasks and results")


def run(settings: CollectSettings) -> int:
    listen = parse_server(settings.listen)
    if not settings.export:
        announce(settings, listen)
    return conduct(settings, listen, print_lines=True)


if __name__ == "__main__":
    sys.exit(enter(CollectSettings, "python -m crawler.collect", ABOUT, run, sys.argv[1:]))
