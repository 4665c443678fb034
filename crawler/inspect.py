"""`python -m crawler.inspect FILE|URL …`: what the collector sees on a page, and why it leaves something out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import InspectSettings

ABOUT = "Show what the collector sees on a page: every image and page link, and why one is left out."


def run(settings: InspectSettings) -> int:
    from crawler.inspector import inspect

    return inspect(settings)


def main() -> int:
    from crawler.door import enter
    from crawler.settings import InspectSettings

    return enter(InspectSettings, "python -m crawler.inspect", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
