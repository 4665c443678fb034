"""What one command costs with all that it starts: `python benchmarks/measure.py --limit 60 -- COMMAND …`.

A process of its own runs each command and adopts its orphans (PR_SET_CHILD_SUBREAPER), so every process of the tree
ends as a child that somebody waits for, the daemonised too. wait4 tells the CPU time of the child that ended with that
of all the children that it had waited for: the sum over what ends here is the whole tree's, counted by the kernel,
and nothing else's. (Children of a program that ignores SIGCHLD would be missed; none here does.) Time ends with the
last process. Memory is the sum of the resident sizes of the tree's processes, looked at five times a second; pages
that processes share count in each.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SAMPLE_SECONDS = 0.2
_TAIL_BYTES = 2000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """What a command took; `code` is negative where a signal ended it, `output` the end of what it printed."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    code: int
    output: str
    timed_out: bool


def measure(command: Sequence[str], limit: float) -> Cost:
    """Run a command until the last of its processes ended, or kill them all after `limit` seconds."""
    arguments = [sys.executable, __file__, "--limit", str(limit), "--", *command]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            said = process.communicate()[0]
        finally:
            process.terminate()  # where we are stopped ourselves: it ends the command
    return Cost(**json.loads(said))


def _run(command: Sequence[str], limit: float) -> Cost:
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    library.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        watch = _Watch(began + limit)
        watch.start()
        code, cpu_seconds = _reap(process.pid)
        seconds = time.monotonic() - began
        watch.stop()
        return Cost(seconds, cpu_seconds, watch.peak_bytes, code, _tail(output), watch.timed_out)


def _reap(first: int) -> tuple[int, float]:
    """Wait until no process is left; return the exit code of the `first` and the CPU seconds of all."""
    code, cpu_seconds = 0, 0.0
    while True:
        try:
            process, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return code, cpu_seconds
        cpu_seconds += usage.ru_utime + usage.ru_stime
        if process == first:
            code = os.waitstatus_to_exitcode(status)


class _Watch(threading.Thread):
    """Looks at the memory of all that descends from this process, and kills it after `until`."""

    def __init__(self, until: float) -> None:
        super().__init__(daemon=True)
        self._until = until
        self._stopped = threading.Event()
        self.peak_bytes = 0
        self.timed_out = False

    def run(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            descendants = _descendants()
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, descendants)))
            if time.monotonic() > self._until:
                self.timed_out = True
                _kill(descendants)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _descendants() -> list[int]:
    """Return what descends from this process."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            children.setdefault(_parent(entry.name), []).append(int(entry.name))
    found = list(children.get(os.getpid(), []))
    for process in found:
        found += children.get(process, [])
    return found


def _parent(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _kill(processes: Sequence[int]) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _tail(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return output.read().decode(errors="replace")


def _on_signal(number: int, frame: object) -> None:
    _kill(_descendants())
    sys.exit(128 + number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which all is killed (%(default)s)")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_signal)
    print(json.dumps(asdict(_run(args.command, args.limit))))


if __name__ == "__main__":
    main()
