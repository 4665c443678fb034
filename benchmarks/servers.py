"""nginx on a free port of loopback: `python benchmarks/servers.py small --late` until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets import LARGE, PAGES, SMALL, default_directory

LATENCY = 0.05
_ECHO_MODULE = "ngx_http_echo_module.so"
#: Descriptors of nginx that are not kept for files: connections, and a file of each while it is sent.
_OTHER_DESCRIPTORS = 4096
_START_SECONDS = 10.0

_PLAIN = "root {root};"
# An internal location sends the file, as it does without latency: from the cache, with its length, connection kept.
_LATE = """
    location / {{ echo_sleep {latency}; echo_exec /files$uri; }}
    location /files/ {{ internal; alias {root}/; }}
"""
_CONFIG = """
{head}
daemon off;
pid nginx.pid;
worker_processes 1;
worker_rlimit_nofile {descriptors};
events {{ worker_connections 2048; multi_accept on; }}
http {{
  access_log off;
  types {{ image/jpeg jpg; text/html html; }}
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  keepalive_timeout 600s;
  open_file_cache max={cached} inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {places}
  }}
}}
"""


class ServerMissing(Exception):
    """What is needed to serve is not installed; the message says how to install it."""


@contextlib.contextmanager
def serve(root: Path, files: int, *, late: bool = False) -> Iterator[str]:
    """Serve a directory with about so many files, and give the URL of its root; the end stops it."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as name:
        prefix, port = Path(name), _free_port()
        (prefix / "nginx.conf").write_text(_config(program, root, files, port, late))
        process = subprocess.Popen([program, "-p", name, "-c", "nginx.conf", "-e", "error.log"], stderr=subprocess.PIPE)
        try:
            _wait_for(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate()


def check(*, late: bool) -> None:
    """Raise ServerMissing where nginx, or what it needs to be `late`, is not installed."""
    program = _program()
    if late:
        _echo_module(program)


def version() -> str:
    """Return nginx's version."""
    said = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def _program() -> str:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise ServerMissing("nginx is missing: apt-get install nginx-light")
    return program


def _config(program: str, root: Path, files: int, port: int, late: bool) -> str:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = files + _OTHER_DESCRIPTORS
    descriptors = wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
    # Without the directive, workers of root's nginx are another user, who may not read root's files.
    head = [f"user {getpass.getuser()};"] if os.geteuid() == 0 else []
    if late:
        head.append(f"load_module {_echo_module(program)};")
    return _CONFIG.format(
        head="\n".join(head),
        descriptors=descriptors,
        cached=max(1, descriptors - _OTHER_DESCRIPTORS),
        port=port,
        places=(_LATE if late else _PLAIN).format(root=root, latency=LATENCY),
    )


def _echo_module(program: str) -> Path:
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    named = re.search(r"--modules-path=(\S+)", built)
    module = Path(named[1] if named else "/usr/lib/nginx/modules") / _ECHO_MODULE
    if not module.exists():
        raise ServerMissing("nginx's echo module, for latency, is missing: apt-get install libnginx-mod-http-echo")
    return module


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    process.terminate()
    raise RuntimeError(f"nginx did not start: {process.communicate()[1].decode(errors='replace').strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=[SMALL.name, LARGE.name, PAGES], help="made by benchmarks/datasets.py")
    parser.add_argument("--data", type=Path, default=default_directory(), help="where data sets are (%(default)s)")
    parser.add_argument("--late", action="store_true", help=f"answer after {LATENCY * 1000:.0f} ms")
    args = parser.parse_args()
    root = args.data.absolute() / args.set
    if not root.is_dir():
        sys.exit(f"{root} is not there: python benchmarks/datasets.py {args.set}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with serve(root, sum(1 for _ in root.rglob("*.*")), late=args.late) as url:
            print(url, flush=True)
            signal.pause()
    except ServerMissing as missing:
        sys.exit(str(missing))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
