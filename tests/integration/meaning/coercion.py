"""The oracle's idea of what a field takes, written from the table in ``dataflow.models.types``."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any
from uuid import UUID

from dataflow.errors import NotNullViolationError, TypeMismatchError
from dataflow.models import FieldSpec, FieldType, Kind
from tests.integration.meaning.values import BIG, scaled


class Refused(Exception):
    """An input is refused, with an error of one of these classes."""

    def __init__(self, *errors: type[Exception]) -> None:
        super().__init__(", ".join(error.__name__ for error in errors))
        self.errors = errors


class Undecided(Exception):
    """What happens depends on the order in which a database changes rows, or on a float's last digit."""


def coerce(field: FieldSpec, value: Any) -> Any:
    """A value as the field keeps it."""
    if value is None:
        if field.nullable:
            return None
        raise Refused(NotNullViolationError)
    return coerce_type(field.type, value)


def coerce_type(kind: FieldType, value: Any) -> Any:
    """A value that is not None as a field of this type keeps it."""
    try:
        if kind.enum is not None:
            return value if isinstance(value, kind.enum) else kind.enum(value)
        converted = _CONVERT[kind.kind](value, kind)
    except (ValueError, TypeError, OverflowError, InvalidOperation):
        raise Refused(TypeMismatchError) from None
    if kind.kind in (Kind.STR, Kind.BYTES) and kind.max_length is not None and len(converted) > kind.max_length:
        raise Refused(TypeMismatchError)
    return converted


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _str(value: Any, kind: FieldType) -> str:
    _require(isinstance(value, str) and "\0" not in value)
    value.encode()
    return str(value)


def _int(value: Any, kind: FieldType) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool) and -BIG <= value < BIG)
    return int(value)


def _float(value: Any, kind: FieldType) -> float:
    _require(_is_number(value) and math.isfinite(value))
    return float(value) or 0.0


def _bool(value: Any, kind: FieldType) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def _decimal(value: Any, kind: FieldType) -> Decimal:
    _require(isinstance(value, Decimal | str | int) and not isinstance(value, bool))
    number = Decimal(value)
    _require(number.is_finite())
    units = Fraction(number) * 10**kind.scale
    _require(units.denominator == 1 and abs(units) < 10**kind.precision)
    return scaled(int(units), kind.scale)


def _datetime(value: Any, kind: FieldType) -> datetime:
    value = datetime.fromisoformat(value) if isinstance(value, str) else value
    _require(isinstance(value, datetime))
    moment: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment


def _date(value: Any, kind: FieldType) -> date:
    value = date.fromisoformat(value) if isinstance(value, str) else value
    _require(isinstance(value, date) and not isinstance(value, datetime))
    day: date = value
    return day


def _time(value: Any, kind: FieldType) -> time:
    value = time.fromisoformat(value) if isinstance(value, str) else value
    _require(isinstance(value, time) and value.tzinfo is None)
    moment: time = value
    return moment


def _timedelta(value: Any, kind: FieldType) -> timedelta:
    _require(isinstance(value, timedelta) and -BIG <= value // timedelta(microseconds=1) < BIG)
    span: timedelta = value
    return span


def _uuid(value: Any, kind: FieldType) -> UUID:
    return value if isinstance(value, UUID) else UUID(value if isinstance(value, str) else None)


def _bytes(value: Any, kind: FieldType) -> bytes:
    _require(isinstance(value, bytes | bytearray | memoryview))
    return bytes(value)


def _json(value: Any, kind: FieldType) -> Any:
    _require(kind.python is object or isinstance(value, kind.python))
    return _plain_json(value, 31)


def _plain_json(value: Any, levels: int) -> Any:
    if isinstance(value, dict | list | tuple):
        _require(levels > 0)
    if isinstance(value, dict):
        return {_str(key, _NO_TYPE): _plain_json(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(item, levels - 1) for item in value]
    if isinstance(value, str):
        return _str(value, _NO_TYPE)
    if value is None or isinstance(value, bool):
        return value
    return _int(value, _NO_TYPE) if isinstance(value, int) else _json_float(value)


def _json_float(value: Any) -> float:
    _require(isinstance(value, float) and math.isfinite(value))
    number: float = value
    return number + 0.0


_NO_TYPE = FieldType(Kind.JSON, object)
_CONVERT: dict[Kind, Callable[[Any, FieldType], Any]] = {
    Kind.STR: _str,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.DECIMAL: _decimal,
    Kind.DATETIME: _datetime,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMEDELTA: _timedelta,
    Kind.UUID: _uuid,
    Kind.BYTES: _bytes,
    Kind.JSON: _json,
}
