"""What every SQLite connection of ours knows beyond SQL: exact decimals, which SQLite stores as text, arithmetic that
overflows as on other databases, and lower case beyond ASCII.

======================================  ==================================================================
``dataflow_decimal``                    collation: decimal text by its number, ``'9.50' < '10.00'``
``dataflow_sum(text)``                  exact sum as text; NULL over no rows
``dataflow_avg(text)``                  mean as text, to 38 significant digits; NULL over no rows
``dataflow_add(a, b)``                  sum of numbers; an error, not a float, past 64 bits
``dataflow_multiply(a, b)``             product of numbers, the same way
``dataflow_add(a, b, p, s)``            sum of decimal texts as a DECIMAL(p, s) text, half away from zero
``dataflow_multiply(a, b, p, s)``       product of decimal texts, the same way
``dataflow_lower(text)``                lower case, by Unicode
======================================  ==================================================================

A NULL operand makes the result NULL. sqlite3 turns an OverflowError of a function into ``DataError``, the exception for
values that do not fit.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

Number = int | float

#: Wide enough that no sum of values of 65 digits is ever rounded.
_EXACT = Context(prec=200)
_MEAN = Context(prec=38, rounding=ROUND_HALF_UP)


def register(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    connection.create_collation("dataflow_decimal", compare_decimals)
    connection.create_aggregate("dataflow_sum", 1, _Sum)  # type: ignore[arg-type]
    connection.create_aggregate("dataflow_avg", 1, _Average)  # type: ignore[arg-type]
    connection.create_function("dataflow_add", 2, _numbers(lambda a, b: a + b), deterministic=True)
    connection.create_function("dataflow_multiply", 2, _numbers(lambda a, b: a * b), deterministic=True)
    connection.create_function("dataflow_add", 4, _decimals(_EXACT.add), deterministic=True)
    connection.create_function("dataflow_multiply", 4, _decimals(_EXACT.multiply), deterministic=True)
    connection.create_function("dataflow_lower", 1, _lower, deterministic=True)


def compare_decimals(left: str, right: str) -> int:
    """-1, 0 or 1. Text that is no number sorts after all numbers, by code point."""
    if left == right:
        return 0
    a, b = _number(left), _number(right)
    if a is None or b is None:
        if a is None and b is None:
            return -1 if left < right else 1
        return 1 if a is None else -1
    return (a > b) - (a < b)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class _Sum:
    def __init__(self) -> None:
        self.total = Decimal(0)
        self.count = 0

    def step(self, value: str | float | None) -> None:
        if value is not None:
            self.total = _EXACT.add(self.total, Decimal(str(value)))
            self.count += 1

    def finalize(self) -> str | None:
        return format(self.total, "f") if self.count else None


class _Average(_Sum):
    def finalize(self) -> str | None:
        return format(_MEAN.divide(self.total, Decimal(self.count)), "f") if self.count else None


def _numbers(combine: Callable[[Number, Number], Number]) -> Callable[[Number | None, Number | None], Number | None]:
    def calculate(a: Number | None, b: Number | None) -> Number | None:
        if a is None or b is None:
            return None
        result = combine(a, b)
        if not math.isfinite(result) or (isinstance(result, int) and not -(2**63) <= result < 2**63):
            raise OverflowError("out of range")
        return result

    return calculate


def _decimals(
    combine: Callable[[Decimal, Decimal], Decimal],
) -> Callable[[str | Number | None, str | None, int, int], str | None]:
    def calculate(a: str | Number | None, b: str | None, precision: int, scale: int) -> str | None:
        if a is None or b is None:
            return None
        exact = combine(Decimal(str(a)), Decimal(b))
        rounded = exact.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP, context=_EXACT)
        if abs(rounded) >= Decimal(10) ** (precision - scale):
            raise OverflowError("out of range")
        return format(rounded or abs(rounded), "f")

    return calculate


def _lower(text: str | None) -> str | None:
    return None if text is None else str(text).lower()
