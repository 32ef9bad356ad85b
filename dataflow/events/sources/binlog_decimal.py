"""MySQL's DECIMAL: nine digits in four bytes, fewer in fewer. The first bit is turned over, of negatives all bits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

#: Digits → bytes, for fewer than nine.
_SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 4)


def decimal_reader(precision: int, scale: int) -> Callable[[bytes, int], tuple[Decimal, int]]:
    """The reader of a DECIMAL with these digits, and these of them after the point."""
    whole, first = divmod(precision - scale, 9)
    parts, last = divmod(scale, 9)
    groups = [(_SIZES[first], first)] if first else []
    groups += [(4, 9)] * (whole + parts)
    groups += [(_SIZES[last], last)] if last else []
    size = sum(count for count, _ in groups)
    bits = size * 8

    def read(data: bytes, at: int) -> tuple[Decimal, int]:
        number = int.from_bytes(data[at : at + size]) ^ (1 << bits - 1)
        negative = number >> bits - 1
        raw = (number ^ ((1 << bits) - 1) if negative else number).to_bytes(size)
        text, start = "", 0
        for count, digits in groups:
            text += str(int.from_bytes(raw[start : start + count])).zfill(digits)
            start += count
        sign = "-" if negative else ""
        return Decimal(f"{sign}{text[: len(text) - scale] or '0'}.{text[len(text) - scale :]}"), at + size

    return read
