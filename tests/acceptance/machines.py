"""Machines, each a network namespace with an address of its own, joined by a switch; needs root."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from acceptance.here import permitted

T = TypeVar("T")

#: What all machines are in, which no other network of this system is.
NETWORK = "10.177.66.0/24"
OPEN_NETWORK = ["--allow-net", NETWORK]
#: The addresses of two machines.
A, B = "10.177.66.1", "10.177.66.2"

_NUMBERS = itertools.count()
#: Where `ip netns exec` finds what a namespace has in place of the system's files.
_SETTINGS = Path("/etc/netns")
#: Gives a machine its name, which is its namespace's, for as long as the command runs.
_NAMED = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


class Machines:
    """A machine for each address, all on one switch, which is a namespace too; none sees another network."""

    def __init__(self, *addresses: str) -> None:
        prefix = f"crawler-{os.getpid()}-{next(_NUMBERS)}"
        self._switch = f"{prefix}-switch"
        self._names = {address: f"{prefix}-{address.rpartition('.')[2]}" for address in addresses}
        permitted("ip", "netns", "add", self._switch)
        try:
            _run("ip", "-n", self._switch, "link", "add", "switch", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "switch", "up")
            for address, name in self._names.items():
                self._plug_in(address, name)
        except BaseException:
            self.close()
            raise

    def _plug_in(self, address: str, name: str) -> None:
        port = f"port{address.rpartition('.')[2]}"
        _run("ip", "netns", "add", name)
        _run("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "cable", "netns", name)
        _run("ip", "-n", self._switch, "link", "set", port, "master", "switch", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        self.add_address(address, address)
        self.set(address, "up")

    def close(self) -> None:
        for name in (*self._names.values(), self._switch):
            with contextlib.suppress(subprocess.CalledProcessError):  # it was not made
                _run("ip", "netns", "delete", name)
            shutil.rmtree(_SETTINGS / name, ignore_errors=True)

    def look_up_at(self, address: str, server: str) -> None:
        """Let commands on a machine ask a name server."""
        (_SETTINGS / self._names[address]).mkdir(parents=True)
        (_SETTINGS / self._names[address] / "resolv.conf").write_text(f"nameserver {server}\n")

    def add_address(self, address: str, other: str) -> None:
        """Give a machine another address."""
        _run("ip", "-n", self._names[address], "address", "add", f"{other}/24", "dev", "cable")

    def set(self, address: str, state: str) -> None:
        """Plug the cable in at a machine ("up"), or pull it out ("down")."""
        _run("ip", "-n", self._names[address], "link", "set", "cable", state)

    def at(self, address: str) -> tuple[str, ...]:
        """Return the command that runs another on a machine."""
        name = self._names[address]
        return ("ip", "netns", "exec", name, *_NAMED, name)

    def inside(self, address: str, make: Callable[[], T]) -> T:
        """Call `make` in a thread on a machine: its sockets and threads stay there."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._enter, address, make).result()

    def _enter(self, address: str, make: Callable[[], T]) -> T:
        handle = os.open(f"/run/netns/{self._names[address]}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, 0):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(handle)
        return make()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=10)
