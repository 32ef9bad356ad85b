"""Rows of the outbox, decoded: what the triggers wrote of a row, in the Python types of the model's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from dataflow.models import FieldSpec, Kind, ModelSpec

Decode = Callable[[str | bytes], dict[str, Any]]

_json = msgspec.json.Decoder()


def _moment(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _own_moment(text: str) -> datetime:
    # Our text has no zone; parsing one is several times faster than replacing it.
    try:
        return datetime.fromisoformat(text + "+00:00")
    except ValueError:
        return _moment(text)


_FROM_TEXT: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: lambda value: bool(int(value)),
    Kind.DECIMAL: lambda value: Decimal(str(value)),
    Kind.DATETIME: _own_moment,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: time.fromisoformat,
    Kind.TIMEDELTA: lambda value: timedelta(microseconds=int(value)),
    Kind.UUID: UUID,
    Kind.BYTES: lambda value: value if isinstance(value, bytes) else bytes.fromhex(value),
    Kind.JSON: lambda value: _json.decode(value) if isinstance(value, str | bytes) else value,
}


def row_decoder(spec: ModelSpec) -> Decode:
    """A function from what a trigger wrote of a row of this model. A value that is none of its field's type, as tables
    may hold that others write to, comes as the database told it.
    """
    columns = [(item.name, _from_text(item)) for item in spec.fields]

    def decode(text: str | bytes) -> dict[str, Any]:
        told = _json.decode(text)
        if isinstance(told, list):
            told = {name: value for part in told for name, value in part.items()}
        row = {}
        for name, convert in columns:
            if name not in told:
                continue
            value = told[name]
            if value is not None:
                if type(value) is list and len(value) == 2:
                    value = _stored(*value)
                if convert is not None:
                    value = _converted(convert, value)
            row[name] = value
        return row

    return decode


def _converted(convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except (ValueError, TypeError, ArithmeticError):
        return value


def _stored(kind: Any, text: Any) -> Any:
    """A value of SQLite that JSON cannot hold."""
    return float(text) if kind == "r" else bytes.fromhex(text)


def _from_text(item: FieldSpec) -> Callable[[Any], Any] | None:
    convert = _FROM_TEXT.get(item.type.kind)
    enum = item.type.enum
    if enum is None:
        return convert
    return (lambda value: enum(convert(value))) if convert is not None else enum
