"""Rows of the outbox, decoded: what the triggers wrote of a row, in the Python types of the model's fields."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from dataflow.events.sources.interface import UNREADABLE
from dataflow.models import FieldSpec, Kind, ModelSpec

#: Gives the row, and the columns whose values could not be read.
Decode = Callable[[str | bytes], tuple[dict[str, Any], tuple[str, ...]]]

logger = logging.getLogger("dataflow.events")

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
    """A function from what a trigger wrote of a row of this model.

    A value that its field cannot have, as tables may hold that others write to, is left out and named: by every source.
    """
    columns = [(item.name, _from_text(item)) for item in spec.fields]

    warned: set[str] = set()

    def decode(text: str | bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
        told = _json.decode(text)
        if isinstance(told, list):
            told = {name: value for part in told for name, value in part.items()}
        row: dict[str, Any] = {}
        unreadable: tuple[str, ...] = ()
        for name, convert in columns:
            if name not in told:
                continue
            value = told[name]
            if value is not None:
                if type(value) is list and len(value) == 2:
                    value = _stored(*value)
                if convert is not None:
                    try:
                        value = convert(value)
                    except (ValueError, TypeError, ArithmeticError) as error:
                        unreadable = (*unreadable, name)
                        if name not in warned:
                            warned.add(name)
                            logger.warning(UNREADABLE, spec.table_name, name, type(error).__name__)
                        continue
            row[name] = value
        return row, unreadable

    return decode


def _stored(kind: Any, text: Any) -> Any:
    """A value of SQLite that JSON cannot hold."""
    return float(text) if kind == "r" else bytes.fromhex(text)


def _from_text(item: FieldSpec) -> Callable[[Any], Any] | None:
    convert = _FROM_TEXT.get(item.type.kind)
    enum = item.type.enum
    if enum is None:
        return convert
    return (lambda value: enum(convert(value))) if convert is not None else enum
