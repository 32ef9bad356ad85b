"""Rows of a model as JSON holds them, and back; one converter per model, made when it is first needed."""

from __future__ import annotations

import base64
import math
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from dataflow.models import FieldSpec, ModelSpec
from dataflow.models.types import Kind

#: What stands for a masked value.
MASK = "***"

Convert = Callable[[Any], Any]
_MICROSECOND = timedelta(microseconds=1)


def _datetime_text(value: datetime) -> str:
    moment = value if value.tzinfo is UTC else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


#: Kind → what JSON holds of a value; kinds that are not here travel as they are.
TO_JSON: Mapping[Kind, Convert] = {
    Kind.FLOAT: _float,
    Kind.DECIMAL: lambda value: format(value, "f"),
    Kind.DATETIME: _datetime_text,
    Kind.DATE: date.isoformat,
    Kind.TIME: lambda value: value.isoformat(timespec="microseconds"),
    Kind.TIMEDELTA: lambda value: value // _MICROSECOND,
    Kind.UUID: str,
    Kind.BYTES: lambda value: base64.b64encode(value).decode(),
}

#: The reverse.
FROM_JSON: Mapping[Kind, Convert] = {
    Kind.FLOAT: float,
    Kind.DECIMAL: Decimal,
    Kind.DATETIME: datetime.fromisoformat,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: time.fromisoformat,
    Kind.TIMEDELTA: lambda value: timedelta(microseconds=value),
    Kind.UUID: UUID,
    Kind.BYTES: lambda value: base64.b64decode(value, validate=True),
}


def row_to_json(spec: ModelSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a model as JSON holds it: its columns in the model's order, masked or left out where the model says so.

    Columns that the model does not have are left out: nobody said that they may be told. A value that is not of its
    field's type, as tables may hold that others write to, is left as it is.
    """
    return _converter(spec, _writers, _to_json)(row)


def row_from_json(spec: ModelSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse: values in the Python types of the model's fields. What cannot be one is left as it is."""
    return _converter(spec, _readers, _from_json)(row)


RowConvert = Callable[[Mapping[str, Any]], dict[str, Any]]
#: By the id of the model, which takes a while to hash.
_writers: dict[int, RowConvert] = {}
_readers: dict[int, RowConvert] = {}


def _converter(spec: ModelSpec, known: dict[int, RowConvert], of: Callable[[FieldSpec], Convert | None]) -> RowConvert:
    made = known.get(id(spec))
    if made is None:
        made = known[id(spec)] = _compile([(item.name, of(item)) for item in spec.fields if item.events != "omit"])
        weakref.finalize(spec, known.pop, id(spec), None)
    return made


def _compile(columns: list[tuple[str, Convert | None]]) -> RowConvert:
    """One dict display for rows that have all columns in their types; column by column for others."""
    names = {f"c{index}": convert for index, (_, convert) in enumerate(columns) if convert is not None}
    parts = [
        f"{name!r}: r[{name!r}]"
        if convert is None
        else f"{name!r}: None if r[{name!r}] is None else c{index}(r[{name!r}])"
        for index, (name, convert) in enumerate(columns)
    ]
    whole: RowConvert = eval(f"lambda r: {{{', '.join(parts)}}}", names)

    def convert_row(row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return whole(row)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            return {name: _one(convert, row[name]) for name, convert in columns if name in row}

    return convert_row


def _one(convert: Convert | None, value: Any) -> Any:
    if convert is None or value is None:
        return value
    try:
        return convert(value)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return value


def _to_json(item: FieldSpec) -> Convert | None:
    if item.events == "mask":
        return lambda _value: MASK
    if item.type.enum is not None:
        return lambda value: value.value
    return TO_JSON.get(item.type.kind)


def _from_json(item: FieldSpec) -> Convert | None:
    if item.events == "mask":
        return None
    if item.type.enum is not None:
        return item.type.enum
    return FROM_JSON.get(item.type.kind)
