"""Update expressions of one field, such as ``{"$inc": 1}``: each checks its operand and adds its driver values.

==============  ============================================================================================
expression      meaning; a field that is NULL stays NULL under ``$inc`` and ``$multiply``
==============  ============================================================================================
``$set``        the value itself, also where it looks like an expression
``$unset``      NULL; its operand is True, 1 or ``""``
``$inc``        adds, to a number or timedelta
``$multiply``   multiplies a number; a Decimal is rounded half away from zero to its field's scale, a float that is too
                small becomes 0
``$min $max``   the lesser, or greater, of what is there and the operand; NULL gives way to the operand
``$now``        this moment, for datetime, date and time in UTC; its operand is True
==============  ============================================================================================

An int field takes whole numbers only. A Decimal field takes floats here by what they print as: ``0.9`` is
``Decimal("0.9")``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.errors import UpdateParameterError
from dataflow.models import Kind
from dataflow.queries.codecs import FieldCodec

#: Digits of a factor before and after the point.
MAX_FACTOR_DIGITS = 20
#: MySQL calculates with so many words of nine digits, those before and after the point apart; past them it drops
#: digits without a word.
MYSQL_WORDS = 9


@dataclass(frozen=True, slots=True)
class Target:
    """The field that an expression is for, and where its driver values go."""

    model: str
    field: FieldCodec
    dialect: Dialect
    values: list[Any]

    @property
    def kind(self) -> Kind:
        return self.field.spec.type.kind

    def add(self, value: Any) -> None:
        self.values.append(self.field.bind(value))

    def unfit(self, problem: str) -> UpdateParameterError:
        spec = self.field.spec
        return UpdateParameterError(
            f"Update of {self.model}.{spec.name}, which is {spec.type.label}: {problem}.",
            model=self.model,
            field=spec.name,
        )


#: Checks an operand, adds its driver values, and returns the operation for the shape.
Expression = Callable[[Target, Any], str]


def _set(target: Target, operand: Any) -> str:
    target.add(operand)
    return "set"


def _unset(target: Target, operand: Any) -> str:
    if operand is not True and operand != 1 and operand != "":
        raise target.unfit("$unset takes True")
    target.add(None)
    return "set"


def _now(target: Target, operand: Any) -> str:
    now = datetime.now(UTC)
    moments = {Kind.DATETIME: now, Kind.DATE: now.date(), Kind.TIME: now.time()}
    if target.kind not in moments:
        raise target.unfit("$now is for datetime, date and time fields")
    if operand is not True:
        raise target.unfit("$now takes True")
    target.add(moments[target.kind])
    return "set"


def _inc(target: Target, operand: Any) -> str:
    if target.kind not in (Kind.INT, Kind.FLOAT, Kind.DECIMAL, Kind.TIMEDELTA) or target.field.spec.type.enum:
        raise target.unfit("$inc is for numbers and timedeltas")
    target.add(_exact(target, "$inc", operand))
    return "inc"


def _multiply(target: Target, operand: Any) -> str:
    if target.kind not in (Kind.INT, Kind.FLOAT, Kind.DECIMAL) or target.field.spec.type.enum:
        raise target.unfit("$multiply is for numbers")
    operand = _exact(target, "$multiply", operand)
    if target.kind is Kind.DECIMAL:
        factor = _factor(target, operand)
        target.values.append(format(factor, "f") if target.dialect is Dialect.SQLITE else factor)
    else:
        target.add(operand)
    return "multiply"


def _bound(operation: str) -> Expression:
    def parse(target: Target, operand: Any) -> str:
        if target.kind is Kind.JSON or operand is None:
            raise target.unfit(f"${operation} needs a value that has an order")
        target.add(operand)
        target.values.append(target.values[-1])
        return operation

    return parse


#: Update operators by name.
EXPRESSIONS: Mapping[str, Expression] = {
    "$set": _set,
    "$unset": _unset,
    "$inc": _inc,
    "$multiply": _multiply,
    "$min": _bound("min"),
    "$max": _bound("max"),
    "$now": _now,
}


def _exact(target: Target, operator: str, operand: Any) -> Any:
    """The operand in a form that the field's coercer takes: whole floats for ints, printed floats for Decimals."""
    if operand is None or isinstance(operand, bool):
        raise target.unfit(f"{operator} takes a number")
    if not isinstance(operand, float):
        return operand
    if target.kind is Kind.DECIMAL:
        return Decimal(str(operand))
    if target.kind is Kind.INT:
        if not operand.is_integer():
            raise target.unfit(f"{operator} of an int field takes whole numbers, got {operand!r}")
        return int(operand)
    return operand


def _factor(target: Target, operand: Any) -> Decimal:
    if not isinstance(operand, Decimal | int | str):
        raise target.unfit(f"$multiply takes a number, got {type(operand).__name__}")
    try:
        factor = Decimal(operand)
    except InvalidOperation:
        raise target.unfit(f"$multiply takes a number, got {operand!r}") from None
    if not factor.is_finite():
        raise target.unfit("$multiply takes a finite number")
    exponent = factor.as_tuple().exponent
    if factor.adjusted() >= MAX_FACTOR_DIGITS or (isinstance(exponent, int) and -exponent > MAX_FACTOR_DIGITS):
        raise target.unfit(f"$multiply takes {MAX_FACTOR_DIGITS} digits before and after the point")
    factor = factor.normalize()
    own = target.field.spec.type
    if decimal_words(own.precision, own.scale) + _words_of(factor) > MYSQL_WORDS:
        raise target.unfit(f"its product with {factor:f} may have more than the 81 digits that MySQL calculates with")
    return factor


def decimal_words(precision: int, scale: int) -> int:
    """How many of its words MySQL takes for a DECIMAL."""
    return -(-(precision - scale) // 9) - (-scale // 9)


def _words_of(factor: Decimal) -> int:
    whole, _, fraction = f"{abs(factor):f}".partition(".")
    return decimal_words(len(whole.lstrip("0")) + len(fraction), len(fraction))
