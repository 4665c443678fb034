"""Crawl a real site from Debian's packages over machines, and hold what was saved against its own files.

`python tests/real_site.py /usr/share/doc/python-skimage-doc/html` serves the folder from nginx on loopback, runs
`crawler.collect` and two separate `crawler.download`, and looks for every image file that pages name (with `--css`
style sheets too), as `references` finds them, not the crawler's own reader. References of the site that lead to no
file are listed; each must be a failure in the ledger.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from references import path_of, references
from servers.nginx import Nginx
from servers.ports import free_port

Row = dict[str, object]


def crawl(url: str, base: Path, flags: list[str]) -> None:
    """Collect with one command and download with two others; all must end by themselves."""
    environment = {**os.environ, "XDG_STATE_HOME": str(base / "state")}
    listen = f"127.0.0.1:{free_port()}"
    collect = [sys.executable, "-m", "crawler.collect", "--site", url, "--listen", listen, "--job", "real", *flags]
    collect += ["--output", str(base / "out"), "--allow-net", "127.0.0.0/8", "--fail-above", "100", "--quiet"]
    download = [sys.executable, "-m", "crawler.download", "--server", listen, "--processes", "1", "--quiet"]
    doors = [subprocess.Popen(command, env=environment) for command in (collect, download, download)]
    assert [door.wait() for door in doors] == [0, 0, 0]


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_path(site: str, found: list[Row]) -> dict[str, list[Row]]:
    """Return the rows whose URLs are of the site, by the path of the file that each URL names."""
    paths: dict[str, list[Row]] = {}
    for row in found:
        if str(row["url"]).startswith(f"{site}/"):
            paths.setdefault(path_of(str(row["url"])), []).append(row)
    return paths


def is_file_of(row: Row, saved: Path, original: Path) -> bool:
    """Tell whether what was saved is the site's own file, byte for byte, and its row says so."""
    content = original.read_bytes()
    return hashlib.sha256(content).hexdigest() == row["sha256"] and saved.read_bytes() == content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--start", default="index.html")
    parser.add_argument("--css", action="store_true", help="also the images that linked style sheets name")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        out = base / "out/real"
        with Nginx(args.root, base / "nginx") as server:
            flags = ["--icons", "--variants", "all", *(["--css"] if args.css else [])]
            crawl(f"{server.url}/{args.start}", base, flags)
        saved, failed = rows(out / "metadata.jsonl"), rows(out / "failures.jsonl")
        there, not_there = by_path(server.url, saved), by_path(server.url, failed)
        other = [
            row["url"]
            for path, several in there.items()
            for row in several
            if not is_file_of(row, out / str(row["file_name"]), args.root / path)
        ]
        files = sum(path.is_file() for path in out.rglob("*")) - 3
    site = references(args.root, args.start, sheets=args.css)
    lost = sorted(site.images.keys() - there.keys())
    untold = site.broken.keys() - not_there.keys()
    urls = [str(row["url"]) for row in saved + failed]
    print(
        f"{len(site.pages)} pages and {len(site.sheets)} style sheets name {len(site.images)} image files: "
        f"{len(lost)} lost, {len(other)} not byte-identical, {len(urls) - len(set(urls))} URLs with two rows, "
        f"{files - len(saved)} files too many, {len(saved)} saved in all, {len(failed)} failed; "
        f"{len(site.broken)} broken references, {len(untold)} of them not in the ledger"
    )
    for path in lost:
        what = ", ".join(str(row["outcome"]) for row in not_there.get(path, [])) or "not in the ledger"
        print(f"lost: {path}: {what}; named by {_some(site.images[path])}")
    for path in sorted(there.keys() - site.images.keys()):
        print(f"besides: {path}: saved, though nothing is known to name it")
    for path, names in sorted(site.broken.items()):
        what = ", ".join(str(row["outcome"]) for row in not_there.get(path, [])) or "not in the ledger"
        print(f"broken: {path}: {what}; named by {_some(names)}")
    for path in sorted(not_there.keys() - site.broken.keys() - site.images.keys()):
        print(f"failed: {path}: {', '.join(str(row['outcome']) for row in not_there[path])}")
    elsewhere = Counter(str(row["outcome"]) for row in failed if not str(row["url"]).startswith(f"{server.url}/"))
    if elsewhere:
        print("failed on other hosts:", ", ".join(f"{number} {outcome}" for outcome, number in elsewhere.items()))
    return int(bool(lost or untold or other or len(urls) != len(set(urls)) or files != len(saved)))


def _some(names: set[str]) -> str:
    return f"{min(names)} and {len(names) - 1} more" if len(names) > 1 else min(names)


if __name__ == "__main__":
    sys.exit(main())
