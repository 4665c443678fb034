"""Crawl a real site from Debian's packages over machines, and hold what was saved against its own files.

`python tests/real_site.py /usr/share/doc/python-skimage-doc/html` serves the folder from nginx on loopback, runs
`crawler.collect` and two separate `crawler.download`, and looks for every image file that pages name, as found by
regular expressions over the HTML of the pages that links reach, not by the crawler's own reader.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from acceptance.here import free_port
from servers.nginx import Nginx

IMAGE = re.compile(r"\.(png|jpe?g|gif|svg|webp|bmp|ico|avif|tiff?)$", re.IGNORECASE)
LINK = re.compile(r"""<(?:a|area|frame|iframe)\b[^>]*?\s(?:href|src)\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
SOURCE = re.compile(r"""<(?:img|source|a)\b[^>]*?\s(?:src|data-src|href)\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


def named(root: Path, start: str) -> tuple[set[str], int]:
    """Return the image files, relative to `root`, that the pages within reach of `start` name, and how many pages."""
    images: set[str] = set()
    seen, todo = {start}, [start]
    while todo:
        page = todo.pop()
        text = re.sub(r"<!--.*?-->", "", (root / page).read_text(errors="replace"), flags=re.DOTALL)
        images |= {path for path in targets(SOURCE, text, page) if IMAGE.search(path) and (root / path).is_file()}
        for path in targets(LINK, text, page):
            path = f"{path}/index.html" if (root / path).is_dir() else path
            if path.endswith((".html", ".htm")) and path not in seen and (root / path).is_file():
                seen.add(path)
                todo.append(path)
    return images, len(seen)


def targets(pattern: re.Pattern[str], text: str, page: str) -> Iterator[str]:
    for reference in pattern.findall(text):
        url = urlsplit(urljoin(f"http://site/{page}", html.unescape(reference).strip()))
        if url.netloc == "site":
            yield os.path.normpath(unquote(url.path).lstrip("/") or ".")


def crawl(url: str, base: Path) -> None:
    """Collect with one command and download with two others; all must end by themselves."""
    environment = {**os.environ, "XDG_STATE_HOME": str(base / "state")}
    listen = f"127.0.0.1:{free_port()}"
    collect = [sys.executable, "-m", "crawler.collect", "--site", url, "--listen", listen, "--job", "real"]
    collect += ["--output", str(base / "out"), "--allow-net", "127.0.0.0/8", "--fail-above", "100", "--quiet"]
    download = [sys.executable, "-m", "crawler.download", "--server", listen, "--processes", "1", "--quiet"]
    doors = [subprocess.Popen(command, env=environment) for command in (collect, download, download)]
    assert [door.wait() for door in doors] == [0, 0, 0]


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--start", default="index.html")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "nginx").mkdir()
        with Nginx(args.root, base / "nginx") as server:
            crawl(f"{server.url}/{args.start}", base)
            saved, failed = rows(base / "out/real/metadata.jsonl"), rows(base / "out/real/failures.jsonl")
            there = {unquote(str(row["url"]).removeprefix(server.url + "/")): row for row in saved}
        expected, pages = named(args.root, args.start)
        urls = [str(row["url"]) for row in saved + failed]
        lost = sorted(expected - there.keys())
        other = [
            path
            for path, row in there.items()
            if hashlib.sha256((args.root / path).read_bytes()).hexdigest() != row["sha256"]
            or (base / "out/real" / str(row["file_name"])).read_bytes() != (args.root / path).read_bytes()
        ]
        files = sum(path.is_file() for path in (base / "out/real").rglob("*")) - 3
    print(
        f"{pages} pages name {len(expected)} image files: {len(lost)} lost, {len(other)} not byte-identical, "
        f"{len(urls) - len(set(urls))} URLs with two rows, {files - len(saved)} files too many, "
        f"{len(saved)} saved in all, {len(failed)} failed"
    )
    for path in lost:
        print("lost:", path)
    for row in failed:
        print(f"failed: {row['url']}: {row['outcome']}")
    return int(bool(lost or other or len(urls) != len(set(urls)) or files != len(saved)))


if __name__ == "__main__":
    sys.exit(main())
