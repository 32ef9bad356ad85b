"""The oracle's updates: new values and expressions for the fields of one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from dataflow.errors import TypeMismatchError, UnknownFieldError, UnknownOperatorError, UpdateParameterError
from dataflow.models import FieldSpec, Kind, ModelSpec
from dataflow.models.spec import Managed
from tests.integration.meaning.aggregation import times
from tests.integration.meaning.coercion import Refused, coerce, coerce_type
from tests.integration.meaning.conditions import compare
from tests.integration.meaning.values import scaled

EXPRESSIONS = ("$set", "$unset", "$inc", "$multiply", "$min", "$max", "$now")
#: From a field's old value to its new one.
Change = Callable[[Any], Any]

_NUMBERS = (Kind.INT, Kind.FLOAT, Kind.DECIMAL)


def parse_changes(spec: ModelSpec, given: Mapping[str, Any], now: datetime) -> dict[str, Change]:
    """What an update asks for, field by field; ``deleted_at`` may only be set to None."""
    found: dict[str, Change] = {}
    for name, value in given.items():
        if name in EXPRESSIONS:
            raise Refused(UpdateParameterError)
        field = spec.by_name.get(name)
        if field is None:
            raise Refused(UnknownFieldError)
        if field.primary_key or (field.managed and (field.managed is not Managed.DELETED_AT or value is not None)):
            raise Refused(UpdateParameterError)
        found[name] = _change(field, value, now)
    return found


def touch(spec: ModelSpec, row: dict[str, Any], changes: Mapping[str, Change], now: datetime) -> dict[str, Any]:
    """A row after an update: its version counts it, and ``updated_at`` tells when it was."""
    changed = {**row, **{name: change(row[name]) for name, change in changes.items()}}
    if spec.features.versioned:
        changed["version"] = row["version"] + 1
    changed["updated_at"] = now
    return changed


def _change(field: FieldSpec, value: Any, now: datetime) -> Change:
    if not _is_expression(field, value):
        new = coerce(field, value)
        return lambda old: new
    operator, operand = next(iter(value.items()))
    match operator:
        case "$set":
            new = coerce(field, operand)
        case "$unset":
            new = coerce(field, None)
        case "$now":
            moments = {Kind.DATETIME: now, Kind.DATE: now.date(), Kind.TIME: now.time()}
            if field.type.kind not in moments:
                raise Refused(UpdateParameterError)
            new = moments[field.type.kind]
        case "$min" | "$max":
            return _bound(field, operator, operand)
        case _:
            return _arithmetic(field, operator, operand)
    return lambda old: new


def _is_expression(field: FieldSpec, value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    if field.type.kind is Kind.JSON:
        return len(value) == 1 and next(iter(value)) in EXPRESSIONS
    operators = [key for key in value if isinstance(key, str) and key.startswith("$")]
    if not operators:
        return False
    if len(value) > 1:
        raise Refused(UpdateParameterError)
    if operators[0] not in EXPRESSIONS:
        raise Refused(UnknownOperatorError)
    return True


def _bound(field: FieldSpec, operator: str, operand: Any) -> Change:
    if operand is None or field.type.kind is Kind.JSON:
        raise Refused(UpdateParameterError)
    limit = coerce_type(field.type, operand)
    kept = (-1, 0) if operator == "$min" else (0, 1)
    return lambda old: old if old is not None and compare(old, limit) in kept else limit


def _arithmetic(field: FieldSpec, operator: str, operand: Any) -> Change:
    kind = field.type.kind
    works_on = (*_NUMBERS, Kind.TIMEDELTA) if operator == "$inc" else _NUMBERS
    if kind not in works_on or field.type.enum or operand is None or isinstance(operand, bool):
        raise Refused(UpdateParameterError)
    if isinstance(operand, float) and kind is Kind.INT:
        if not operand.is_integer():
            raise Refused(UpdateParameterError)
        operand = int(operand)
    if isinstance(operand, float) and kind is Kind.DECIMAL:
        operand = Decimal(str(operand))
    if operator == "$multiply" and kind is Kind.DECIMAL:
        number = _factor(field, operand)
    else:
        number = coerce_type(field.type, operand)

    def change(old: Any) -> Any:
        if old is None:
            return None
        return _fit(field, _calculate(field, operator, old, number))

    return change


def _factor(field: FieldSpec, operand: Any) -> Decimal:
    if not isinstance(operand, Decimal | int | str):
        raise Refused(UpdateParameterError)
    try:
        factor = Decimal(operand)
    except InvalidOperation:
        raise Refused(UpdateParameterError) from None
    if not factor.is_finite():
        raise Refused(UpdateParameterError)
    exponent = factor.as_tuple().exponent
    if factor.adjusted() >= 20 or (isinstance(exponent, int) and exponent < -20):
        raise Refused(UpdateParameterError)
    digits = f"{abs(factor):f}".partition(".")
    parts = [field.type.precision - field.type.scale, field.type.scale]
    parts += [len(digits[0].lstrip("0")), len(digits[2].rstrip("0"))]
    if sum(math.ceil(part / 9) for part in parts) > 9:
        raise Refused(UpdateParameterError)
    return factor


def _calculate(field: FieldSpec, operator: str, old: Any, number: Any) -> Any:
    try:
        if field.type.kind is Kind.DECIMAL:
            scale = field.type.scale
            unit = 10**scale
            if operator == "$inc":
                return scaled(_units(old, unit) + _units(number, unit), scale)
            return scaled(int(times(old, number, scale) * unit), scale)
        return old + number if operator == "$inc" else old * number
    except OverflowError:
        raise Refused(TypeMismatchError) from None


def _units(value: Decimal, unit: int) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * unit // denominator


def _fit(field: FieldSpec, value: Any) -> Any:
    """A computed value, if the field can keep it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(TypeMismatchError)
    if isinstance(value, timedelta) and not -(2**63) <= value // timedelta(microseconds=1) < 2**63:
        raise Refused(TypeMismatchError)
    return coerce_type(field.type, value)
