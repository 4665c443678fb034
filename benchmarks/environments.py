"""Installs each Python peer into an environment of its own, and names the Debian packages that are missing."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import ceiling
from benchmarks.datasets import default_directory
from benchmarks.peers import TOOLS, Installed, Program
from benchmarks.servers import ServerMissing, check


def install(origin: Installed, data: Path) -> str:
    """Install a peer, and return its version or why it cannot be had."""
    found = origin.find(data)
    if found is None:
        folder = origin.environment(data)
        python = str(folder / "bin" / "python")
        quiet = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in [[sys.executable, "-m", "venv", "--clear", str(folder)], [*quiet, origin.name, *origin.beside]]:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                return f"left out, cannot be installed here: {_reason(done.stderr or done.stdout)}"
        found = python
    return origin.version(found)


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()
    return lines[-1] if lines else "it does not say why"


def missing_packages(data: Path) -> list[str]:
    """Return what is not there of the programs, and how to install it."""
    programs = [tool.origin for tool in TOOLS if isinstance(tool.origin, Program)] + [ceiling.WRK]
    absent = [f"{program.name} is missing: {program.cure}" for program in programs if not program.find(data)]
    try:
        check(late=True)
    except ServerMissing as missing:
        absent.append(str(missing))
    return absent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default_directory(), help="where they go (%(default)s)")
    args = parser.parse_args()
    for origin in dict.fromkeys(tool.origin for tool in TOOLS):
        if isinstance(origin, Installed):
            print(f"{origin.name}: {install(origin, args.data.absolute())}", flush=True)
    for absent in missing_packages(args.data):
        print(absent)


if __name__ == "__main__":
    main()
