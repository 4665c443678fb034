"""How many files a second the server gives at most, to a client that throws them away: wrk."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from benchmarks.peers import Program

WRK = Program("wrk", "wrk")
_SCRIPT = Path(__file__).with_name("walk.lua")


def ceiling(server: str, paths: Path, connections: int, seconds: int) -> float:
    """Return the answers a second while the listed paths are asked for over and over."""
    options = ["--threads", "1", "--connections", str(connections), "--duration", str(seconds)]
    command = ["wrk", *options, "--script", str(_SCRIPT), server, "--", str(paths)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk was not answered well:\n{said}")
    return float(rate[1])
