"""Fetches a list of URLs with one of Scrapy's media pipelines; runs in its environment."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from pathlib import Path

import scrapy  # type: ignore[import-not-found]
from scrapy.core.engine import ExecutionEngine  # type: ignore[import-not-found]
from scrapy.crawler import CrawlerProcess  # type: ignore[import-not-found]


class ListSpider(scrapy.Spider):  # type: ignore[misc]
    """Hands the URLs to the pipeline, an item each, without a request of its own."""

    name = "list"

    def __init__(self, urls: Path, kind: str) -> None:
        super().__init__()
        self._urls = urls
        self._field = "file_urls" if kind == "files" else "image_urls"

    async def start(self) -> AsyncIterator[dict[str, list[str]]]:
        for url in self._urls.read_text().split():
            yield {self._field: [url]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", choices=["files", "images"])
    parser.add_argument("urls", type=Path, help="file with one URL a line")
    parser.add_argument("output")
    parser.add_argument("--connections", type=int, default=64)
    args = parser.parse_args()
    title = args.pipeline.capitalize()
    settings = {
        "ITEM_PIPELINES": {f"scrapy.pipelines.{args.pipeline}.{title}Pipeline": 1},
        f"{args.pipeline.upper()}_STORE": args.output,
        "CONCURRENT_REQUESTS": args.connections,
        "CONCURRENT_REQUESTS_PER_DOMAIN": args.connections,
        "CONCURRENT_ITEMS": args.connections,
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "ERROR",
    }
    # What pipelines fetch is no request of the spider: its end would be noticed up to five seconds late.
    ExecutionEngine._SLOT_HEARTBEAT_INTERVAL = 0.2
    process = CrawlerProcess(settings)
    process.crawl(ListSpider, args.urls, args.pipeline)
    process.start()


if __name__ == "__main__":
    main()
