"""Kill everything at random moments, then hold ledger and files against the site's own: `python tests/chaos.py`.

Serves distinct JPEGs from nginx on loopback, crawls them as a list, and kills -9 the door, the broker, the page
process, workers, one, several or all, at random moments from a printed seed, before each start of the same command.
Prints what was lost, stored twice, partial or left over; exits with 1 where anything was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from acceptance.here import children
from servers.nginx import Nginx
from servers.pictures import jpeg


def make_site(root: Path, images: int) -> dict[str, str]:
    """Write the images, and return the sha256 of each by its path."""
    made = {}
    for number in range(images):
        path = f"d{number % 100:02}/i{number:06}.jpg"
        body = jpeg(number, 3000)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(body)
        made[path] = hashlib.sha256(body).hexdigest()
    return made


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def rounds(command: list[str], environment: dict[str, str], number: int, chance: random.Random) -> int:
    """Start and kill `number` times, or until it is done; return how many kills that were."""
    kills = 0
    while kills < number:
        door = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(chance.randint(1, 4)):
            time.sleep(chance.uniform(0.3, 1.2))
            processes = children(door.pid)
            if door.poll() is not None or not processes:
                break
            victims = chance.choice([[door.pid], processes, [door.pid, *processes], *([one] for one in processes)])
            kill(victims)
            kills += 1
            if door.pid in victims:
                break
        kill([door.pid])
        door.wait()
    return kills


def judge(output: Path, url: str, site: dict[str, str]) -> dict[str, int]:
    rows = [json.loads(line) for line in (output / "metadata.jsonl").read_text().splitlines()]
    failures = (output / "failures.jsonl").read_text().splitlines()
    urls = [row["url"].removeprefix(url + "/") for row in rows]
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    named = {row["file_name"] for row in rows}
    wrong = 0
    for row, path in zip(rows, urls, strict=True):
        body = (output / row["file_name"]).read_bytes()
        wrong += hashlib.sha256(body).hexdigest() != site[path]
    left_over = files - named - {"metadata.jsonl", "failures.jsonl", ".job"}
    return {
        "lost": len(site.keys() - set(urls)),
        "double": len(urls) - len(set(urls)),
        "partial": wrong,
        "left over": len(left_over),
        "failures": len(failures),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        site = make_site(base / "site", args.images)
        (base / "nginx").mkdir()
        with Nginx(base / "site", base / "nginx") as server:
            (base / "list.txt").write_text("".join(f"{server.url}/{path}\n" for path in site))
            command = [sys.executable, "-m", "crawler", "--urls", str(base / "list.txt"), "--job", "chaos"]
            command += ["--output", str(base / "out"), "--allow-net", "127.0.0.1/32", "--lease", "3"]
            command += ["--requests-per-host", "2", "--max-image-bytes", "1M"]
            environment = {**os.environ, "XDG_STATE_HOME": str(base / "state")}
            kills = rounds(command, environment, args.kills, random.Random(args.seed))
            ended = subprocess.run(command, env=environment, capture_output=True, text=True)
            print(ended.stderr.strip().splitlines()[-5:], f"exit {ended.returncode}", sep="\n")
            found = judge(base / "out" / "chaos", server.url, site)
    print(f"{kills} kills, {args.images} images: " + ", ".join(f"{number} {what}" for what, number in found.items()))
    return int(any(found.values()) or ended.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
