"""Reads a site with Scrapy: every link followed, every image with its words; runs in Scrapy's environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor


class SiteSpider(scrapy.Spider):  # type: ignore[misc]
    """Follows links of one host, and yields the images that pages show."""

    name = "site"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.start_urls = [url]
        self._links = LinkExtractor()

    def parse(self, response: Any) -> Iterator[Any]:
        title = response.css("title::text").get()
        for image in response.css("img"):
            around = image.xpath("ancestor::figure[1]//figcaption//text()").getall()
            sources = [part.split()[0] for part in image.attrib.get("srcset", "").split(",") if part.strip()]
            yield {
                "urls": [response.urljoin(text) for text in [*sources, image.attrib.get("src", "")] if text],
                "alt": image.attrib.get("alt"), "title": image.attrib.get("title"), "caption": " ".join(around),
                "page": response.url, "page_title": title,
            }  # fmt: skip
        for link in self._links.extract_links(response):
            yield scrapy.Request(link.url)


def main() -> None:
    url, number, work = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    settings = {
        "FEEDS": {str(work / "images.jsonl"): {"format": "jsonlines"}},
        "CONCURRENT_REQUESTS": 16,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "ERROR",
    }
    began = time.monotonic()
    process = CrawlerProcess(settings)
    crawler = process.create_crawler(SiteSpider)
    process.crawl(crawler, url)
    process.start()
    read = crawler.stats.get_value("response_received_count", 0)
    if read < number:
        sys.exit(f"Scrapy read {read} of {number} pages")
    print(f"read in {time.monotonic() - began:.3f} s")


if __name__ == "__main__":
    main()
