"""Fetches a list of URLs with icrawler; runs in its environment."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from icrawler import Crawler  # type: ignore[import-not-found]
from icrawler.builtin import UrlListCrawler  # type: ignore[import-not-found]

#: Seconds for which its threads look whether something comes after the last image; five by default.
_LAST_WAIT = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", type=Path, help="file with one URL a line")
    parser.add_argument("output")
    parser.add_argument("--threads", type=int, default=64)
    args = parser.parse_args()
    storage = {"root_dir": args.output}
    crawler = UrlListCrawler(downloader_threads=args.threads, storage=storage, log_level=logging.ERROR)
    count = len(args.urls.read_text().split())
    Crawler.crawl(  # UrlListCrawler.crawl has no way to say how long threads wait
        crawler,
        feeder_kwargs={"url_list": str(args.urls)},
        parser_kwargs={"queue_timeout": _LAST_WAIT},
        downloader_kwargs={"queue_timeout": _LAST_WAIT, "max_num": count},
    )


if __name__ == "__main__":
    main()
