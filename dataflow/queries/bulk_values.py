"""Whole columns of values coerced at once.

The meaning is that of ``FieldSpec.coerce`` for each value. A column of plain values of its own type, which most are,
is recognised with a few passes that run in C; any other is coerced value by value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext
from types import NoneType
from typing import Any, TypeVar
from uuid import UUID

from dataflow.errors import DataFlowError, InputError, NotNullViolationError
from dataflow.models import FieldType, Kind
from dataflow.models.types import MAX_TIMEDELTA, MIN_TIMEDELTA
from dataflow.queries.codecs import FieldCodec

#: Takes values that are all of one type; returns them coerced, or None where they must be looked at one by one.
Coerce = Callable[[list[Any]], list[Any] | None]
RowError = TypeVar("RowError", bound=DataFlowError)

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class ColumnBinder:
    """Turns the values of one field into what the driver takes.

    Args:
        codec: The field.
        model: Name of the model, for messages.
    """

    __slots__ = ("_at_once", "_codec", "_model", "_type")

    def __init__(self, codec: FieldCodec, model: str) -> None:
        self._codec = codec
        self._model = model
        self._type, self._at_once = _at_once(codec.spec.type)

    def bind(self, values: list[Any], positions: Sequence[int] | None) -> list[Any]:
        """Driver values; the list may be the one that was given.

        Args:
            values: One per row.
            positions: The rows' numbers, for messages; None where there is only one row and it has no number.

        Raises:
            TypeMismatchError: A value is of another type; the message names its row.
            NotNullViolationError: A value is None and the field is required.
        """
        types = set(map(type, values))
        present = values
        if NoneType in types:
            if not self._codec.spec.nullable:
                raise self._failure(values, positions)
            types.discard(NoneType)
            present = [value for value in values if value is not None]
        bound = self._at_once(present) if types == {self._type} else None
        try:
            if bound is None:
                bound = list(map(self._codec.spec.coercer, present))
        except ValueError:
            raise self._failure(values, positions) from None
        if self._codec.encode is not None:
            bound = list(map(self._codec.encode, bound))
        if present is values:
            return bound
        left = iter(bound)
        return [None if value is None else next(left) for value in values]

    def _failure(self, values: list[Any], positions: Sequence[int] | None) -> InputError | NotNullViolationError:
        for index, value in enumerate(values):
            try:
                self._codec.bind(value)
            except (InputError, NotNullViolationError) as error:
                return error if positions is None else at_row(error, positions[index])
        raise AssertionError(f"{self._model}.{self._codec.spec.name}: a column was refused, but none of its values")


def at_row(error: RowError, row: int) -> RowError:
    """The error, saying at which row of the input it happened."""
    error.message = f"Row {row}: {error.message}"
    error.context["row"] = row
    return error


def _at_once(field_type: FieldType) -> tuple[type[Any] | None, Coerce]:
    """The type whose values may be coerced at once, None if there is no such type, and how."""
    if field_type.enum is not None:
        return None, _as_they_are
    match field_type.kind:
        case Kind.STR:
            return str, lambda values: _text(values, field_type.max_length)
        case Kind.BYTES:
            return bytes, lambda values: _short(values, field_type.max_length)
        case Kind.DECIMAL:
            return Decimal, lambda values: _decimals(values, field_type.precision, field_type.scale)
    return _AT_ONCE.get(field_type.kind, (None, _as_they_are))


def _as_they_are(values: list[Any]) -> list[Any] | None:
    return values


def _short(values: list[Any], max_length: int | None) -> list[Any] | None:
    return None if max_length is not None and max(map(len, values)) > max_length else values


def _text(values: list[Any], max_length: int | None) -> list[Any] | None:
    joined = "".join(values)
    if "\x00" in joined:
        return None
    if not joined.isascii():
        try:
            joined.encode()
        except UnicodeEncodeError:
            return None
    return _short(values, max_length)


def _ints(values: list[Any]) -> list[Any] | None:
    return values if min(values) >= _INT_MIN and max(values) <= _INT_MAX else None


def _floats(values: list[Any]) -> list[Any] | None:
    # A sum is finite only where all values are; finite ones may add up to more than a float holds.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        return None
    # Zero may be negative.
    return [value + 0.0 for value in values] if 0.0 in values else values


def _decimals(values: list[Any], precision: int, scale: int) -> list[Any] | None:
    step = Decimal(1).scaleb(-scale)
    with localcontext() as context:
        context.prec = precision
        try:
            rounded = [value.quantize(step) for value in values]
        except InvalidOperation:
            return None
    if rounded != values:  # NaN is not equal to itself
        return None
    # Zero may be negative.
    return [value or abs(value) for value in rounded] if 0 in rounded else rounded


def _timedeltas(values: list[Any]) -> list[Any] | None:
    return values if min(values) >= MIN_TIMEDELTA and max(values) <= MAX_TIMEDELTA else None


def _datetimes(values: list[Any]) -> list[Any] | None:
    return values if all(value.tzinfo is UTC for value in values) else None


_AT_ONCE: dict[Kind, tuple[type[Any] | None, Coerce]] = {
    Kind.INT: (int, _ints),
    Kind.FLOAT: (float, _floats),
    Kind.DATETIME: (datetime, _datetimes),
    Kind.BOOL: (bool, _as_they_are),
    Kind.DATE: (date, _as_they_are),
    Kind.TIMEDELTA: (timedelta, _timedeltas),
    Kind.UUID: (UUID, _as_they_are),
}
