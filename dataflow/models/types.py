"""The types a field may have, and what each accepts.

A value is coerced to its field's Python type before it is bound to a statement, so that the three databases are
handed the same thing, and what one of them would refuse or silently change is refused on all:

======================  ==========================================================================================
field type              accepts
======================  ==========================================================================================
``str``                 str without NUL characters or lone surrogates
``int``                 int in 64 bits; never bool
``float``               float or int, finite
``bool``                bool
``Decimal``             Decimal, int, or text such as ``"12.50"``; finite, within the field's precision and scale
``datetime``            datetime (naive is taken as UTC), or ISO 8601 text; kept as aware UTC, microseconds
``date`` ``time``       the type itself, or ISO 8601 text; a time has no zone
``timedelta``           timedelta, microseconds in 64 bits (292,271 years)
``UUID``                UUID, or its text form
``bytes``               bytes, bytearray, memoryview
``dict`` ``list``       JSON: str, int, float, bool, None, lists, and dicts with text keys; 31 levels
an ``Enum`` class       a member, or a member's value
======================  ==========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation, localcontext
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

#: A coercer returns the value in its field's Python type, or raises ValueError with the reason.
Coercer = Callable[[Any], Any]

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
#: The longest timedeltas that fit into the column they are stored in.
MIN_TIMEDELTA, MAX_TIMEDELTA = timedelta(microseconds=_INT_MIN), timedelta(microseconds=_INT_MAX)
#: Dicts and lists within each other; MariaDB takes no more.
MAX_JSON_DEPTH = 31


class Kind(StrEnum):
    """How a field is stored."""

    STR = "str"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    DECIMAL = "Decimal"
    DATETIME = "datetime"
    DATE = "date"
    TIME = "time"
    TIMEDELTA = "timedelta"
    UUID = "UUID"
    BYTES = "bytes"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a field.

    Attributes:
        kind: How it is stored. An enum is stored by its values, as STR or INT.
        python: The Python type that results carry (``dict``, ``list`` or ``object`` for JSON).
        enum: The Enum class, for an enum field.
        max_length: Characters (text) or bytes at most; None is unlimited.
        precision: Significant decimal digits of a Decimal.
        scale: Decimal digits after the point of a Decimal.
    """

    kind: Kind
    python: type[Any]
    enum: type[Enum] | None = None
    max_length: int | None = None
    precision: int = 38
    scale: int = 10

    @property
    def label(self) -> str:
        """The type's name in messages, such as ``int`` or ``Status``."""
        return self.python.__name__ if self.python is not object else "JSON"

    def coercer(self) -> Coercer:
        """The function that checks and converts values of this type."""
        if self.enum is not None:
            return _enum_coercer(self.enum)
        if self.kind is Kind.STR and self.max_length is not None:
            return _limited(_coerce_str, self.max_length, "characters")
        if self.kind is Kind.BYTES and self.max_length is not None:
            return _limited(_coerce_bytes, self.max_length, "bytes")
        if self.kind is Kind.DECIMAL:
            return _decimal_coercer(self.precision, self.scale)
        if self.kind is Kind.JSON:
            return _json_coercer(self.python)
        return _COERCERS[self.kind]


def _coerce_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text")
    if "\x00" in value:
        raise ValueError("text must not contain NUL characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("text must not contain lone surrogates") from None
    return value if type(value) is str else str.__str__(value)


def _coerce_int(value: Any) -> int:
    if not isinstance(value, int) or value is True or value is False:
        raise ValueError("expected a whole number")
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError("outside the range of a 64-bit integer")
    return value if type(value) is int else int(value)


def _coerce_float(value: Any) -> float:
    if not isinstance(value, int | float) or value is True or value is False:
        raise ValueError("expected a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("too large for a float") from None
    if not math.isfinite(number):
        raise ValueError("must be finite: NaN and infinity cannot be stored the same way on every database")
    # -0.0 and 0.0 are one value on SQLite and MySQL.
    return number + 0.0


def _coerce_bool(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise ValueError("expected True or False")


def _coerce_datetime(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a datetime, or ISO 8601 text such as '2026-01-31T12:00:00Z'") from None
    if not isinstance(value, datetime):
        raise ValueError("expected a datetime, or ISO 8601 text such as '2026-01-31T12:00:00Z'")
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if value.tzinfo is UTC:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999 once in UTC") from None


def _coerce_date(value: Any) -> date:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a date, or ISO 8601 text such as '2026-01-31'") from None
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("expected a date, or ISO 8601 text such as '2026-01-31'")
    return value


def _coerce_time(value: Any) -> time:
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a time, or ISO 8601 text such as '12:30:00'") from None
    if not isinstance(value, time):
        raise ValueError("expected a time, or ISO 8601 text such as '12:30:00'")
    if value.tzinfo is not None:
        raise ValueError("a time has no time zone; use a datetime")
    return value


def _coerce_timedelta(value: Any) -> timedelta:
    if not isinstance(value, timedelta):
        raise ValueError("expected a timedelta")
    if not MIN_TIMEDELTA <= value <= MAX_TIMEDELTA:
        raise ValueError("longer than 64 bits of microseconds, about 292,000 years")
    return value


def _coerce_uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        # Drivers bring UUID subclasses of their own; results and keys are plain ones.
        return value if type(value) is UUID else UUID(int=value.int)
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            pass
    raise ValueError("expected a UUID, or its text form")


def _coerce_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise ValueError("expected bytes")


def _decimal_coercer(precision: int, scale: int) -> Coercer:
    limit = Decimal(10) ** (precision - scale)
    step = Decimal(1).scaleb(-scale)

    def coerce(value: Any) -> Decimal:
        if isinstance(value, str):
            try:
                value = Decimal(value)
            except InvalidOperation:
                raise ValueError("expected a Decimal, or text such as '12.50'") from None
        elif isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal):
            raise ValueError("expected a Decimal, or text such as '12.50' (a float would not be exact)")
        if not value.is_finite():
            raise ValueError("must be finite")
        # abs() would round to the 28 digits of the default context.
        if value.copy_abs() >= limit:
            raise ValueError(f"more than {precision - scale} digits before the point")
        with localcontext() as context:
            context.prec = precision + 1
            rounded = value.quantize(step)
        if rounded != value:
            raise ValueError(f"more than {scale} digits after the point; round it, or declare a larger scale")
        return rounded or abs(rounded)

    return coerce


def _json_coercer(container: type[Any]) -> Coercer:
    def coerce(value: Any) -> Any:
        if container is not object and not isinstance(value, container):
            raise ValueError(f"expected a {container.__name__}")
        _check_json(value, 0)
        return value

    return coerce


def _check_json(value: Any, depth: int) -> None:
    if depth >= MAX_JSON_DEPTH and isinstance(value, dict | list | tuple):
        raise ValueError(f"JSON nested deeper than {MAX_JSON_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"JSON keys are text, not {type(key).__name__}")
            _check_json_text(key)
            _check_json(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(item, depth + 1)
    elif isinstance(value, str):
        _check_json_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("JSON has no NaN or infinity")
    elif isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise ValueError("a JSON number is outside the range of a 64-bit integer")
    elif value is not None:
        raise ValueError(f"{type(value).__name__} is not a JSON type; use text, numbers, lists and dicts")


def _check_json_text(value: str) -> None:
    try:
        _coerce_str(value)
    except ValueError as error:
        raise ValueError(f"JSON {error}") from None


def _enum_coercer(enum: type[Enum]) -> Coercer:
    def coerce(value: Any) -> Enum:
        if isinstance(value, enum):
            return value
        try:
            return enum(value)
        except ValueError:
            values = ", ".join(repr(member.value) for member in enum)
            raise ValueError(f"expected one of {values}") from None

    return coerce


def _limited(coerce: Coercer, limit: int, unit: str) -> Coercer:
    def coerce_limited(value: Any) -> Any:
        value = coerce(value)
        if len(value) > limit:
            raise ValueError(f"longer than {limit} {unit}")
        return value

    return coerce_limited


_COERCERS: dict[Kind, Coercer] = {
    Kind.STR: _coerce_str,
    Kind.INT: _coerce_int,
    Kind.FLOAT: _coerce_float,
    Kind.BOOL: _coerce_bool,
    Kind.DATETIME: _coerce_datetime,
    Kind.DATE: _coerce_date,
    Kind.TIME: _coerce_time,
    Kind.TIMEDELTA: _coerce_timedelta,
    Kind.UUID: _coerce_uuid,
    Kind.BYTES: _coerce_bytes,
}
