"""Serves a folder, the sample site if none is named, on this machine: python examples/serve.py [--port 8080] [DIR]"""

from __future__ import annotations

import argparse
import functools
import mimetypes
import signal
import socketserver
import sys
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

SITE = Path(__file__).resolve().parent / "site"


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor that leaves early is no news."""


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> int:
    arguments = parse()
    mimetypes.add_type("image/webp", ".webp")  # unknown to Python before 3.13
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    handler = functools.partial(Handler, directory=str(arguments.folder))
    try:
        server = Server(("127.0.0.1", arguments.port), handler)
    except OSError as error:
        print(f"Port {arguments.port}: {error.strerror}. --port 0 picks a free one.", file=sys.stderr)
        return 1
    with server:
        print(f"Serving http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a folder on 127.0.0.1.")
    parser.add_argument("folder", nargs="?", type=Path, default=SITE, metavar="DIR", help="default: the sample site")
    parser.add_argument("--port", type=int, default=8080, help="default: 8080; 0 picks a free one")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
