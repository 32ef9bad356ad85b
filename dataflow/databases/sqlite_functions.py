"""What every SQLite connection of ours knows beyond SQL: exact decimals, which SQLite stores as text, arithmetic that
overflows as on other databases, and lower case beyond ASCII, and regular expressions.

======================================  ==================================================================
``dataflow_decimal``                    collation: decimal text by its number, ``'9.50' < '10.00'``
``dataflow_sum(text)``                  exact sum as text; NULL over no rows
``dataflow_avg(number, s)``             mean as text with ``s`` digits after the point, half away from zero
``dataflow_whole(high, low)``           ``high * 2**32 + low``; as text where it is outside 64 bits
``dataflow_near_whole(high, low)``      the same; as float where it is outside 64 bits, to be compared
``dataflow_add(a, b)``                  sum of numbers; an error, not a float, past 64 bits
``dataflow_multiply(a, b)``             product of numbers, the same way
``dataflow_add(a, b, p, s)``            sum of decimal texts as a DECIMAL(p, s) text, half away from zero
``dataflow_multiply(a, b, p, s)``       product of decimal texts, the same way
``dataflow_lower(text)``                lower case, by Unicode; of a sigma always σ
``dataflow_regexp(pattern, text)``      whether RE2's regular expression matches anywhere in the text
======================================  ==================================================================

A NULL operand makes the result NULL. sqlite3 turns an OverflowError of a function into ``DataError``, the exception for
values that do not fit.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

Number = int | float

#: Wide enough that no sum or product of values of 55 digits is ever rounded.
_EXACT = Context(prec=200)


def register(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    connection.create_collation("dataflow_decimal", compare_decimals)
    connection.create_aggregate("dataflow_sum", 1, _Sum)  # type: ignore[arg-type]
    connection.create_aggregate("dataflow_avg", 2, _Average)  # type: ignore[arg-type]
    connection.create_function("dataflow_whole", 2, _whole(str), deterministic=True)
    connection.create_function("dataflow_near_whole", 2, _whole(float), deterministic=True)
    connection.create_function("dataflow_add", 2, _numbers(lambda a, b: a + b), deterministic=True)
    connection.create_function("dataflow_multiply", 2, _numbers(lambda a, b: a * b), deterministic=True)
    connection.create_function("dataflow_add", 4, _decimals(_EXACT.add), deterministic=True)
    connection.create_function("dataflow_multiply", 4, _decimals(_EXACT.multiply), deterministic=True)
    connection.create_function("dataflow_lower", 1, _lower, deterministic=True)
    connection.create_function("dataflow_regexp", 2, _regexp, deterministic=True)


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


class _Total:
    def __init__(self) -> None:
        self.total = Decimal(0)
        self.count = 0

    def add(self, value: str | float | None) -> None:
        if value is not None:
            self.total = _EXACT.add(self.total, Decimal(str(value)))
            self.count += 1


class _Sum(_Total):
    def step(self, value: str | float | None) -> None:
        self.add(value)

    def finalize(self) -> str | None:
        return format(self.total, "f") if self.count else None


class _Average(_Total):
    scale = 0

    def step(self, value: str | float | None, scale: int) -> None:
        self.add(value)
        self.scale = scale

    def finalize(self) -> str | None:
        if not self.count:
            return None
        return format(_rounded(_EXACT.divide(self.total, Decimal(self.count)), self.scale), "f")


def _rounded(number: Decimal, scale: int) -> Decimal:
    """Half away from zero; never -0, which no other database has."""
    rounded = number.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP, context=_EXACT)
    return rounded or rounded.copy_abs()


def _whole(otherwise: Callable[[int], str | float]) -> Callable[[int | None, int | None], int | float | str | None]:
    def calculate(high: int | None, low: int | None) -> int | float | str | None:
        if high is None or low is None:
            return None
        number = (high << 32) + low
        return number if -(2**63) <= number < 2**63 else otherwise(number)

    return calculate


def _numbers(combine: Callable[[Number, Number], Number]) -> Callable[[Number | None, Number | None], Number | None]:
    def calculate(a: Number | None, b: Number | None) -> Number | None:
        if a is None or b is None:
            return None
        result = combine(a, b)
        if not math.isfinite(result) or (isinstance(result, int) and not -(2**63) <= result < 2**63):
            raise OverflowError("out of range")
        # -0.0 + 0 is 0.0.
        return result + 0

    return calculate


def _decimals(
    combine: Callable[[Decimal, Decimal], Decimal],
) -> Callable[[str | Number | None, str | None, int, int], str | None]:
    def calculate(a: str | Number | None, b: str | None, precision: int, scale: int) -> str | None:
        if a is None or b is None:
            return None
        exact = combine(Decimal(str(a)), Decimal(b))
        rounded = _rounded(exact, scale)
        # abs() would round to the 28 digits of the default context.
        if rounded.copy_abs() >= Decimal(10) ** (precision - scale):
            raise OverflowError("out of range")
        return format(rounded, "f")

    return calculate


def _lower(text: str | None) -> str | None:
    return None if text is None else str(text).lower().replace("ς", "σ")


def _regexp(pattern: str, text: str | None) -> bool | None:
    return None if text is None else _compiled(pattern).search(str(text).encode()) is not None


@lru_cache(maxsize=32)
def _compiled(pattern: str) -> Any:
    """RE2's program, with what it learns while it searches: up to 8 MB each."""
    import re2

    options = re2.Options()
    options.log_errors = False
    # Who only asks whether a text matches is answered faster without groups.
    options.never_capture = True
    return re2.compile(pattern.encode(), options)
