"""How long a page of 80 KB with 500 links takes from bytes to all that it names, in milliseconds a page, one core."""

from __future__ import annotations

import argparse
import random
import statistics
import time

from crawler.pages.extract import links_of, parse

_WORDS = "light sea harbour morning old new garden river stone bridge winter field house street market night".split()


def make_page(seed: int, links: int = 500, images: int = 25) -> bytes:
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
    parser.add_argument("--images", type=int, default=25, help="figures, with a background beside each")
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    pages = [make_page(seed, images=args.images) for seed in range(args.pages)]
    print(f"{args.pages} pages of {statistics.mean(map(len, pages)) / 1000:.0f} kB")
    parsing, whole = [], []
    for _ in range(args.runs):
        began = time.perf_counter()
        documents = [parse(page, "text/html") for page in pages]
        middle = time.perf_counter()
        links = [links_of(document.root, "https://example.com/") for document in documents]
        parsing.append((middle - began) / len(pages))
        whole.append((time.perf_counter() - began) / len(pages))
    print(f"images {len(links[0].images)}, pages {len(links[0].pages)}")
    for name, times in (("decoded and parsed", parsing), ("and all links found", whole)):
        print(f"{name}: median {statistics.median(times) * 1000:.2f} ms, best {min(times) * 1000:.2f} ms a page")


if __name__ == "__main__":
    main()
