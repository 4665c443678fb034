"""`python -m crawler.forget`: images removed for good, and never fetched again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.settings import ForgetSettings

ABOUT = "Remove images and all that is known of them, and never fetch them again; lists them before it does."


def run(settings: ForgetSettings) -> int:
    from crawler.takedown import take_down

    return take_down(settings)


def main() -> int:
    from crawler.door import enter
    from crawler.settings import ForgetSettings

    return enter(ForgetSettings, "python -m crawler.forget", ABOUT, run, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
