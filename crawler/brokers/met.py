"""What a run has met: pages and images for which nothing is to be done however often they are named again."""

from __future__ import annotations

from collections.abc import Sequence

from crawler.model import Kind

#: Pages are found by their ids among this many: the links of a site's menus are on each of its pages.
MOST_IDS = 65_536
#: By which the array of kinds grows, one byte a task.
_STEP = 65_536


class Met:
    """The pages and images met in a run, by number, and the pages by id as long as they are among the latest."""

    def __init__(self) -> None:
        self._kinds = bytearray()
        self._pages: dict[bytes, int] = {}

    def add(self, number: int, kind: Kind) -> None:
        self._reach(number)
        self._kinds[number] = kind

    def add_page(self, identity: bytes, number: int) -> None:
        if len(self._pages) >= MOST_IDS:
            self._pages.clear()
        self._pages[identity] = number

    def page(self, identity: bytes) -> int:
        """Return the number of the page with this id, or 0."""
        return self._pages.get(identity, 0)

    def split(self, numbers: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return which of these numbers, which ascend, are images that were met, and which were not met at all."""
        if not numbers:
            return [], []
        self._reach(numbers[-1])
        kinds, image = self._kinds, int(Kind.IMAGE)
        return [n for n in numbers if kinds[n] == image], [n for n in numbers if not kinds[n]]

    def _reach(self, number: int) -> None:
        if number >= len(self._kinds):
            self._kinds.extend(bytes(number + _STEP - len(self._kinds)))
