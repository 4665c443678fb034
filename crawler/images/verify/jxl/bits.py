"""The bits of a JPEG XL codestream, and the numbers that they make (ISO/IEC 18181-1, annex B)."""

from __future__ import annotations

from crawler.errors import Truncated

#: What a 32-bit number is, by its two-bit code (B.2.2): (bits, offset).
Choice = tuple[tuple[int, int], ...]
#: A number that says which of several things is meant (B.2.3).
ENUM: Choice = ((0, 0), (0, 1), (4, 2), (6, 18))


class NotWalkable(Exception):
    """What is entropy-coded stands between us and the lengths."""


class Bits:
    """Reads bits from the lowest of each byte on; raises Truncated at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> int:
        start, end = self.at >> 3, (self.at + count + 7) >> 3
        if end > len(self.data):
            raise Truncated(f"the JPEG XL ends at byte {len(self.data)} inside its headers")
        value = int.from_bytes(self.data[start:end], "little") >> (self.at & 7) & (1 << count) - 1
        self.at += count
        return value

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > 8 * len(self.data):
            raise Truncated(f"the JPEG XL ends at byte {len(self.data)} before its last section")

    def choose(self, choices: Choice) -> int:
        bits, offset = choices[self.take(2)]
        return offset + self.take(bits)

    def long(self) -> int:
        """Return a 64-bit number (B.2.4)."""
        code = self.take(2)
        if code < 3:
            bits, offset = ((0, 0), (4, 1), (8, 17))[code]
            return offset + self.take(bits)
        value, shift = self.take(12), 12
        while self.take(1):
            bits = 4 if shift == 60 else 8
            value |= self.take(bits) << shift
            shift += bits
            if shift > 60:
                break
        return value

    def align(self) -> None:
        self.at = (self.at + 7) & ~7


def skip_name(bits: Bits) -> None:
    bits.skip(8 * bits.choose(((0, 0), (4, 0), (5, 16), (10, 48))))


def skip_extensions(bits: Bits) -> None:
    present = bits.long()
    sizes = [bits.long() for number in range(64) if present >> number & 1]
    bits.skip(sum(sizes))
