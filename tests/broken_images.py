"""Fetch thousands of cut-off and mutated images of every format: `python tests/broken_images.py --each 2000`.

Prints what became of them; exits with 1 where a worker died, a file is missing in the ledger, one took longer than a
second to check, or one that is cut off was stored.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from crawler.errors import BadImage
from crawler.images.verify import verify
from fuzzing import TARGETS, mutant
from servers.nginx import Nginx

VERIFY = next(target for target in TARGETS if target.name == "verify")


def make(folder: Path, each: int) -> float:
    """Write `each` cut-off and as many mutated files of every sample; return the longest time to check one (CPU s)."""
    noise, longest = random.Random(1), 0.0
    for number, sample in enumerate(VERIFY.samples):
        for n in range(each):
            bodies = {"cut": sample[: noise.randrange(1, len(sample))], "mutant": mutant(noise, VERIFY)}
            for kind, body in bodies.items():
                (folder / f"{number:02}-{kind}-{n:05}.img").write_bytes(body)
                began = time.process_time()
                with contextlib.suppress(BadImage):
                    verify(body)
                longest = max(longest, time.process_time() - began)
    return longest


def crawl(urls: list[str], folder: Path, verify: str) -> tuple[str, list[dict[str, str]]]:
    """Fetch all, and return what the command said and the rows of the ledger."""
    (folder / "list.txt").write_text("\n".join(urls))
    command = [
        *[sys.executable, "-m", "crawler", "--urls", str(folder / "list.txt"), "--job", "broken", "--verify", verify],
        *["--output", str(folder / "out"), "--state", str(folder / "state"), "--allow-net", "127.0.0.0/8"],
        *["--ignore-robots", "--requests-per-host", "64", "--fail-above", "100"],
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1200)
    root = folder / "out" / "broken"
    rows = [json.loads(line) for name in ("metadata", "failures") for line in (root / f"{name}.jsonl").open()]
    return done.stderr, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=1000, help="files of each kind and sample (%(default)s)")
    parser.add_argument("--verify", choices=["structure", "decode"], default="structure")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        site, work = Path(temporary, "site"), Path(temporary, "work")
        for path in (site, work, Path(temporary, "nginx")):
            path.mkdir()
        longest = make(site, args.each)
        names = sorted(path.name for path in site.iterdir())
        with Nginx(site, Path(temporary, "nginx")) as nginx:
            said, rows = crawl([f"{nginx.url}/{name}" for name in names], work, args.verify)
    outcomes = Counter(row["outcome"] for row in rows)
    cut = [row["url"] for row in rows if "-cut-" in row["url"] and row["outcome"] == "success"]
    died = said.count("process ended by")
    print(f"{len(names):,} files, {len(rows):,} rows: {dict(outcomes)}")
    print(f"stored though cut off: {len(cut)} {cut[:3]}; workers that died: {died}; longest check {longest:.3f} s")
    return int(bool(cut or died or len(rows) != len(names) or longest > 1.0))


if __name__ == "__main__":
    sys.exit(main())
