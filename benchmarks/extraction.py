"""How long a page of 80 KB with 500 links takes from bytes to all that it names, in milliseconds a page, one core.

Beside it stand what other ways take to find no more than the links: an absolute time says little of another machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from bs4 import BeautifulSoup
from lxml import etree, html

from crawler.pages.extract import Links, links_of, parse

_WORDS = "light sea harbour morning old new garden river stone bridge winter field house street market night".split()


def make_page(seed: int, links: int = 500, images: int = 4) -> bytes:
    """Return a page as content systems write them: navigation, teasers, figures, lazy images, styles, JSON-LD."""
    chance = random.Random(seed)

    def text(count: int) -> str:
        return " ".join(chance.choices(_WORDS, k=count))

    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(6)}</title>',
        f'<link rel="canonical" href="https://example.com/{seed}"><link rel="icon" href="/favicon.ico">',
        f'<meta property="og:image" content="https://cdn.example.com/{seed}/cover.jpg">',
        "<style>.hero{background:url(/hero.jpg) no-repeat}.a{color:red}</style>",
        f'<script type="application/ld+json">{{"@type":"Article","image":["https://example.com/{seed}.jpg"]}}</script>',
        "</head><body><nav><ul>",
    ]
    for n in range(links):
        parts.append(f'<li class="item item-{n}"><a class="link" href="/section-{n % 20}/page-{n}.html">{text(4)}</a>')
        if n % (links // images) == 0:
            base = f"https://cdn.example.com/{seed}/{n}"
            parts.append(
                f'<figure class="teaser"><img class="lazy" src="data:image/gif;base64,R0lGOD" data-src="{base}.jpg" '
                f'srcset="{base}-320.jpg 320w, {base}-640.jpg 640w, {base}-1280.jpg 1280w" sizes="50vw" '
                f'alt="{text(5)}" width="640" height="480"><figcaption>{text(8)}</figcaption></figure>'
                f'<div class="bg" data-id="{n}" style="background-image:url({base}-bg.png)"><p>{text(6)}</p></div>'
            )
        parts.append("</li>")
    body = "".join(parts)
    filling = "".join(f"<p>{text(40)}</p>" for _ in range(max(0, (80_000 - len(body)) // 260)))
    return f"{body}</ul></nav>{filling}</body></html>".encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--images", type=int, default=4, help="figures, with a background beside each")
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    pages = [make_page(seed, images=args.images) for seed in range(args.pages)]
    links = _extract(pages[0])
    print(f"{args.pages} pages of {statistics.mean(map(len, pages)) / 1000:.0f} kB")
    print(f"images {len(links.images)}, pages {len(links.pages)}")
    times: dict[str, list[float]] = {name: [] for name in _WAYS}
    for _ in range(args.runs):
        for name, way in _WAYS.items():
            began = time.perf_counter()
            for page in pages:
                way(page)
            times[name].append((time.perf_counter() - began) / len(pages))
    for name, taken in times.items():
        print(f"{name}: median {statistics.median(taken) * 1000:.2f} ms, best {min(taken) * 1000:.2f} ms a page")


def _extract(page: bytes) -> Links:
    return links_of(parse(page, "text/html").root, "https://example.com/")


_WAYS: dict[str, Callable[[bytes], object]] = {
    "all that it names, with words": _extract,
    "of that, decoded and parsed": lambda page: parse(page, "text/html"),
    "lxml's bare tree": lambda page: etree.fromstring(page, etree.HTMLParser(encoding="utf-8")),
    "lxml, //a/@href": lambda page: html.fromstring(page).xpath("//a/@href"),
    "bs4 with lxml, its links": lambda page: [a.get("href") for a in BeautifulSoup(page, "lxml").find_all("a")],
}


if __name__ == "__main__":
    main()
