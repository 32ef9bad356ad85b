"""Values on their way to a driver and back, chosen once per model and database.

``bind`` coerces a value to its field's type and gives it the form the driver takes; ``decode`` does the reverse.
Row decoders are generated as one dict display per shape, which is about twice as fast as ``dict(zip(…))``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

import msgspec

from dataflow.databases.interface import Dialect, Row
from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec

Convert = Callable[[Any], Any]
RowDecoder = Callable[[Row], dict[str, Any]]

_ONE = Decimal(1)
#: Wide enough for any Decimal field.
_WIDE = Context(prec=65)
#: A number such as 1e16, or text that looks like one.
_EXPONENT = re.compile(r"\de\+?\d")
#: Floats from here on have no digits after the point.
_LEAST_WHOLE = 2.0**53
_MICROSECOND = timedelta(microseconds=1)
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FieldCodec:
    """How one field travels.

    Attributes:
        spec: The field.
        bind: User's value → driver's value; raises an InputError, or NotNullViolationError for an unwanted None.
        encode: Value in the field's Python type (not None) → driver's value; None if they are the same.
        decode: Driver's value (not None) → value in the field's Python type; None if they are the same.
    """

    spec: FieldSpec
    bind: Convert
    encode: Convert | None
    decode: Convert | None

    @property
    def key(self) -> str:
        """What stands for the field in a filter's shape."""
        return self.spec.name


class ModelCodec:
    """How the rows of a model travel to and from one kind of database."""

    def __init__(self, spec: ModelSpec, dialect: Dialect) -> None:
        self.spec = spec
        self.fields: Mapping[str, FieldCodec] = {
            item.name: field_codec(spec.name, item, dialect) for item in spec.fields
        }
        #: Decodes a row that holds all fields in column order.
        self.row: RowDecoder = self.row_decoder(spec.names)

    def row_decoder(self, names: Sequence[str]) -> RowDecoder:
        """A function from a row with these fields, in this order, to a dict."""
        return compile_row_decoder([(name, self.fields[name].decode) for name in names])


def compile_row_decoder(columns: Sequence[tuple[str, Convert | None]]) -> RowDecoder:
    """A function from a row to a dict, for these keys and their conversions (applied where not None)."""
    converters = {f"c{index}": convert for index, (_, convert) in enumerate(columns) if convert is not None}
    parts = [
        f"{name!r}: r[{index}]"
        if convert is None
        else f"{name!r}: None if r[{index}] is None else c{index}(r[{index}])"
        for index, (name, convert) in enumerate(columns)
    ]
    decoder: RowDecoder = eval(f"lambda r: {{{', '.join(parts)}}}", converters)
    return decoder


def encoder(field_type: FieldType, dialect: Dialect) -> Convert | None:
    """From a field's Python type to the driver's; None if they are the same."""
    if field_type.enum is not None:
        return _enum_value
    return _ENCODE[dialect].get(field_type.kind)


def decoder(field_type: FieldType, dialect: Dialect) -> Convert | None:
    """From the driver's type to a field's Python type; None if they are the same."""
    if field_type.enum is not None:
        return field_type.enum
    if field_type.kind is Kind.DECIMAL and field_type.scale == 0 and dialect is Dialect.POSTGRESQL:
        return _decode_whole_decimal
    return _DECODE[dialect].get(field_type.kind)


def field_codec(owner: str, item: FieldSpec, dialect: Dialect) -> FieldCodec:
    """How a field of ``owner``, a model's name in messages, travels to and from one kind of database."""
    encode = encoder(item.type, dialect)
    coerce = item.coerce

    def bind(value: Any) -> Any:
        return coerce(value, owner)

    def bind_encoded(value: Any) -> Any:
        value = coerce(value, owner)
        return None if value is None else encode(value)  # type: ignore[misc]

    return FieldCodec(item, bind if encode is None else bind_encoded, encode, decoder(item.type, dialect))


def _enum_value(value: Any) -> Any:
    return value.value


def _encode_json(value: Any) -> str:
    """JSON without -0.0, which PostgreSQL does not keep."""
    text = msgspec.json.encode(value).decode()
    return msgspec.json.encode(_floats(value, lambda number: number + 0.0)).decode() if "-0.0" in text else text


def _encode_jsonb(value: Any) -> str:
    """As ``_encode_json``; floats that JSON writes with an exponent get a point instead.

    JSONB keeps numbers as decimals and would give back 1e16 as the int 10000000000000000.
    """
    text = _encode_json(value)
    return msgspec.json.encode(_floats(value, _with_point)).decode() if _EXPONENT.search(text) else text


def _with_point(number: float) -> Any:
    return msgspec.Raw(f"{number:.1f}".encode()) if abs(number) >= _LEAST_WHOLE else number + 0.0


def _floats(value: Any, change: Callable[[float], Any]) -> Any:
    """A JSON value with its floats changed."""
    if isinstance(value, float):
        return change(value)
    if isinstance(value, dict):
        return {key: _floats(item, change) for key, item in value.items()}
    return [_floats(item, change) for item in value] if isinstance(value, list | tuple) else value


def _decode_json(value: Any) -> Any:
    return msgspec.json.decode(value)


def _encode_timedelta(value: timedelta) -> int:
    return value // _MICROSECOND


def _decode_timedelta(value: int) -> timedelta:
    return timedelta(microseconds=value)


def _naive(value: datetime) -> datetime:
    return value.replace(tzinfo=None)


def _aware(value: datetime) -> datetime:
    # Replacing the zone takes nine times as long.
    return _FIRST_MOMENT + (value - datetime.min)


def _with_zone(value: datetime) -> datetime:
    """The first and the last moment there are arrive naive: asyncpg takes them for PostgreSQL's infinities."""
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _plain_uuid(value: UUID) -> UUID:
    return UUID(int=value.int)


def _time_of_day(value: timedelta | time) -> time:
    """MySQL's TIME arrives as a timedelta."""
    return (datetime.min + value).time() if isinstance(value, timedelta) else value


def _encode_datetime_text(value: datetime) -> str:
    # The zone is at the end, and always UTC.
    return value.isoformat(" ", "microseconds").removesuffix("+00:00")


def _decode_datetime_text(value: str) -> datetime:
    try:
        # Our own text has no zone; parsing one is several times faster than replacing it.
        moment = datetime.fromisoformat(value + "Z")
    except ValueError:
        return _decode_foreign_datetime_text(value)
    return moment if moment.tzinfo is UTC else _decode_foreign_datetime_text(value)


def _decode_foreign_datetime_text(value: str) -> datetime:
    """Tables that we did not create may name a zone, or only a day."""
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _encode_time_text(value: time) -> str:
    return value.isoformat("microseconds")


def _decode_whole_decimal(value: Decimal) -> Decimal:
    """From asyncpg, which gives 100000 as ``Decimal("1.0E+5")``."""
    return value.quantize(_ONE, context=_WIDE)


def _encode_decimal_text(value: Decimal) -> str:
    return format(value, "f")


def _decode_decimal_text(value: str | float) -> Decimal:
    """Tables that we did not create may hold numbers."""
    return Decimal(str(value))


_ENCODE: dict[Dialect, dict[Kind, Convert]] = {
    Dialect.POSTGRESQL: {
        Kind.JSON: _encode_jsonb,
        Kind.TIMEDELTA: _encode_timedelta,
    },
    Dialect.MYSQL: {
        Kind.JSON: _encode_json,
        Kind.TIMEDELTA: _encode_timedelta,
        Kind.DATETIME: _naive,
        Kind.UUID: str,
    },
    Dialect.SQLITE: {
        Kind.JSON: _encode_json,
        Kind.TIMEDELTA: _encode_timedelta,
        Kind.BOOL: int,
        Kind.DECIMAL: _encode_decimal_text,
        Kind.DATETIME: _encode_datetime_text,
        Kind.DATE: date.isoformat,
        Kind.TIME: _encode_time_text,
        Kind.UUID: str,
    },
}

_DECODE: dict[Dialect, dict[Kind, Convert]] = {
    Dialect.POSTGRESQL: {
        Kind.JSON: _decode_json,
        Kind.TIMEDELTA: _decode_timedelta,
        Kind.DATETIME: _with_zone,
        Kind.UUID: _plain_uuid,
    },
    Dialect.MYSQL: {
        Kind.JSON: _decode_json,
        Kind.TIMEDELTA: _decode_timedelta,
        Kind.DATETIME: _aware,
        Kind.TIME: _time_of_day,
        Kind.BOOL: bool,
        Kind.UUID: UUID,
    },
    Dialect.SQLITE: {
        Kind.JSON: _decode_json,
        Kind.TIMEDELTA: _decode_timedelta,
        Kind.BOOL: bool,
        # RETURNING gives 2.0 as 2: SQLite keeps whole numbers of REAL columns as integers.
        Kind.FLOAT: float,
        Kind.DECIMAL: _decode_decimal_text,
        Kind.DATETIME: _decode_datetime_text,
        Kind.DATE: date.fromisoformat,
        Kind.TIME: time.fromisoformat,
        Kind.UUID: UUID,
    },
}
