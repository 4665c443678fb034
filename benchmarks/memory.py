"""How much memory each process of ours takes at most while a long list is fetched from nginx on loopback."""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.servers.pictures import png

_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; root {folder}; location / {{ try_files /image.png =404; }} location = /robots.txt {{ return 404; }} }}
}}
"""  # noqa: E501


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    found, parents = [process], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found


def peak(process: int) -> tuple[str, int]:
    """Return what a process does, and its largest resident size so far in kB."""
    command = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    size = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return command[-60:], int(size[1]) if size else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--urls", type=int, default=200_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        (folder / "image.png").write_bytes(png(1))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port))
        folder.chmod(0o755)
        (folder / "list.txt").write_text(
            "".join(f"http://127.0.0.1:{port}/album-{n % 997}/picture-{n:07}.png\n" for n in range(args.urls))
        )
        nginx = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
        began = time.monotonic()
        job = ["--urls", str(folder / "list.txt"), "--output", str(folder / "out"), "--allow-net", "127.0.0.0/8"]
        door = subprocess.Popen(
            [sys.executable, "-m", "crawler", *job, "--processes", "2", "--quiet"],
            env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        )
        peaks: dict[int, tuple[str, int]] = {}
        while door.poll() is None:
            for process in family(door.pid):
                try:
                    peaks[process] = max(peaks.get(process, ("", 0)), peak(process), key=lambda entry: entry[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
            time.sleep(0.5)
        nginx.terminate()
        nginx.wait()
        print(f"{args.urls:,} URLs, {time.monotonic() - began:.0f} s, exit code {door.returncode}")
        for command, size in sorted(peaks.values(), key=lambda entry: -entry[1]):
            print(f"{size / 1024:7.1f} MB  {command}")


if __name__ == "__main__":
    main()
