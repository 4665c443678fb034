"""A private nginx over a folder: a server fast enough not to be what a measurement measures."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from servers.ports import free_port

_MIME_TYPES = Path("/etc/nginx/mime.types")
_READY = "/.nginx-is-ready"
_SECONDS_TO_START = 10.0
_ATTEMPTS = 5


def nginx_available() -> bool:
    return _program() is not None


class Nginx:
    """Serves `root` from a port of its own; config, logs and temporary files are in `tmp`. `url` has no slash."""

    def __init__(self, root: Path, tmp: Path, *, address: str = "127.0.0.1", access_log: bool = False) -> None:
        self.root = root.resolve()
        self.address = address
        self.port = 0
        self.access_log = tmp.resolve() / "access.log" if access_log else None
        self._prefix = tmp.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def __enter__(self) -> Nginx:
        for _ in range(_ATTEMPTS):
            self._start()
            if self._wait_until_it_answers():
                return self
            self.close()
        raise RuntimeError(f"nginx did not start: {self._error_log.read_text(errors='replace')}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def _error_log(self) -> Path:
        return self._prefix / "error.log"

    def _start(self) -> None:
        program = _program()
        if program is None:
            raise RuntimeError("nginx is not installed")
        self.port = free_port(self.address)
        self._prefix.mkdir(parents=True, exist_ok=True)
        config = self._prefix / "nginx.conf"
        config.write_text(self._config())
        command = [program, "-p", str(self._prefix), "-c", str(config), "-e", "stderr"]
        with self._error_log.open("ab") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def _wait_until_it_answers(self) -> bool:
        deadline = time.monotonic() + _SECONDS_TO_START
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if _answers(self.address, self.port):
                return self._process.poll() is None
            time.sleep(0.01)
        return False

    def _config(self) -> str:
        user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "\n  ".join(f'{kind}_temp_path "{self._prefix}/{kind}";' for kind in kinds)
        return f"""{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid "{self._prefix}/nginx.pid";
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  {f'include "{_MIME_TYPES}";' if _MIME_TYPES.exists() else ""}
  default_type application/octet-stream;
  {folders}
  access_log {f'"{self.access_log}"' if self.access_log else "off"};
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  server {{
    listen {self.address}:{self.port} backlog=4096;
    root "{self.root}";
    autoindex off;
    location = {_READY} {{ access_log off; return 204; }}
  }}
}}
"""


def _program() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1) as connection:
            connection.sendall(f"GET {_READY} HTTP/1.0\r\n\r\n".encode())
            return connection.recv(12) == b"HTTP/1.1 204"
    except OSError:
        return False
